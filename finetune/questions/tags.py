"""Which tag does each word of a sentence have?  Token classification, such as named entities (NER).

The first token of a word stands for it: Devlin et al. 2019, section 5.3.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from datasets import ClassLabel, Dataset, List
from torch import Tensor, nn
from transformers import AutoModelForTokenClassification, PreTrainedModel, PreTrainedTokenizerFast

from engine.train.batch import Batch
from finetune.ask.playground.boxes import Text
from finetune.ask.playground.markup import highlight, percent, table, with_title
from finetune.questions import encoding
from finetune.questions.encoding import NO_LABEL, Columns, Encoded, Predictions
from finetune.questions.own_answers import WORDS, OwnAnswers
from finetune.questions.question import Layout, Question
from finetune.questions.words import add_context, choose_tags, find_first_tokens, place_at_first_tokens
from finetune.table import sections as page
from finetune.tasks.fields import Fields, clean_text, get_text, get_words, shorten, show_value, to_words
from finetune.tasks.metrics.entities import Entity, find_entities
from finetune.tasks.task import Task

# A word as corpora of news have it: U.S., AT&T, don't and 1,000 are one; any other punctuation stands alone.
WORD = re.compile(r"(?:[^\W\d_]\.){2,}|\w+(?:[-'’.,/&]\w+)*|[^\w\s]")
BEGINS = {"E": "I", "L": "I", "S": "B", "U": "B"}  # IOBES (or BILOU) as IOB2
USAGE = """from transformers import pipeline

find = pipeline("token-classification", model="{model}", aggregation_strategy="first")
print(find("Anna lives in Rome."))"""


class OwnTags(OwnAnswers):
    """Any tags, one a word."""

    name = "tags"
    columns = WORDS
    answer = "tags"
    metric = "tag_accuracy"
    headline = "accuracy"
    is_by_word = True

    def read(self, value: Any, row: Fields) -> list[str]:
        tags = [clean_text(tag).strip() for tag in to_words(value)]
        if len(tags) != len(row["words"]):
            raise ValueError(f"{len(tags)} tags for {len(row['words'])} words")
        return tags

    def feature(self, labels: Sequence[str]) -> List:
        return List(ClassLabel(names=list(labels)))

    def labels_in(self, answer: Sequence[str]) -> set[str]:
        return set(answer)

    def list_labels(self, found: set[str], rows: Sequence[Fields]) -> list[str]:
        return sorted(found, key=lambda tag: (tag != "O", tag))

    def encode(self, answer: Sequence[str], code: Callable[[str], int]) -> list[int]:
        return [code(tag) for tag in answer]


class OwnEntities(OwnTags):
    """Tags of entities, IOB1, IOB2 or IOBES in the file, IOB2 here."""

    name = "entities"
    metric = "entities"
    headline = "f1"

    def read(self, value: Any, row: Fields) -> list[str]:
        tags = [BEGINS.get(tag[:1], tag[:1]) + tag[1:] if tag[1:2] == "-" else tag for tag in super().read(value, row)]
        for place, tag in enumerate(tags):
            if tag != "O" and (tag[:2] not in ("B-", "I-") or len(tag) < 3):
                raise ValueError(
                    f"tag {show_value(tag)} is no entity tag (B-X, I-X, O), of word {place + 1}, "
                    f"{show_value(row['words'][place])}; for other tags there is own/tags"
                )
        return to_iob2(tags)

    def labels_in(self, answer: Sequence[str]) -> set[str]:
        """The types of the entities."""
        return {tag[2:] for tag in answer if tag != "O"}

    def list_labels(self, found: set[str], rows: Sequence[Fields]) -> list[str]:
        if not found:
            raise ValueError("no training row has an entity, every tag is O: nothing to learn")
        return ["O", *(f"{prefix}-{name}" for prefix in "BI" for name in sorted(found))]


class Tags(Question):
    """One of K tags for each word, read at its first token; cross-entropy."""

    name = "tagging"
    auto_class = AutoModelForTokenClassification
    pipeline = "token-classification"
    layouts = ({"words": "words"}, {"words": "tokens"}, {"text": "text"}, {"text": "sentence"})
    own = (OwnEntities(), OwnTags())
    type_scores = ("precision_", "recall_", "f1_")
    beyond = "loses words, which count as misses"
    lost = "words without a tag"
    page_title = "Entities"
    page_boxes = (Text("Text", "Angela Merkel met the president of Siemens in Munich."),)

    def encode(self, task: Task, rows: Dataset, tokenizer: PreTrainedTokenizerFast, max_length: int) -> Encoded:
        """Column "labels" (T,): the tag at the first token of each word, −100 elsewhere.

        Joined by blanks the words are one text; its tokens' places tell which token begins a word. Where rows have the
        words around them ("left", "right"), as many of those as fit are read along, and nothing is asked of them.
        """
        columns = encoding.start_columns(tokenizer)
        firsts: list[npt.NDArray[np.int64]] = []  # a row: (num_words,)
        cut: list[int] = []
        num_tokens = 0
        for part in encoding.split_rows(rows):
            words = part[task.columns[0]]
            texts = [" ".join(row) for row in words]
            batch = tokenizer(texts, truncation=True, max_length=max_length, return_offsets_mapping=True)
            cut += encoding.count_cut_tokens(batch, tokenizer, max_length, texts)
            num_tokens += sum(map(len, batch["input_ids"]))
            own = [find_first_tokens(*pair) for pair in zip(words, batch["offset_mapping"], strict=True)]
            if "left" in part:
                own = add_context(batch, own, part, tokenizer, max_length)
            encoding.append_batch(columns, batch)
            firsts += own
        if "label" in rows.column_names:
            lengths = [len(ids) for ids in columns["input_ids"]]
            columns["labels"] = [
                place_at_first_tokens(*row) for row in zip(rows["label"], firsts, lengths, strict=True)
            ]
        num_lost = sum(int((first < 0).sum()) for first in firsts)
        decode = partial(choose_tags, firsts=firsts, outside=find_outside(task, -1))
        return Encoded(columns, decode, cut, num_tokens + sum(cut), num_lost)

    def target(self, columns: Columns, index: Sequence[int], width: int) -> dict[str, Tensor]:
        tags = np.full((len(index), width), NO_LABEL)
        for row, example in enumerate(index):
            own = columns["labels"][example]
            tags[row, : len(own)] = own
        return {"tags": torch.from_numpy(tags)}  # (B, T)

    def counts(self, x: dict[str, Tensor], y: dict[str, Tensor]) -> dict[str, int]:
        return {"loss": int((y["tags"] != NO_LABEL).sum())}

    def loss(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        logits = model(**batch.x).logits.float()  # (B, T, K)
        tags = batch.y["tags"].flatten()
        return {"loss": nn.functional.cross_entropy(logits.flatten(0, 1), tags, ignore_index=NO_LABEL, reduction="sum")}

    def predict(self, model: nn.Module, batch: Batch) -> list[Any]:
        """The logits at each token (T, K), padding included: which tokens begin words is the encoding's knowledge."""
        return list(model(**batch.x).logits.float().cpu().numpy())

    def align(self, task: Task, predictions: Any, rows: Dataset) -> tuple[list[Any], list[Any]]:
        """The names of the tags."""
        right = rows["label"][:]
        for row, (found, expected) in enumerate(zip(predictions, right, strict=True)):
            if len(found) != len(expected):
                raise ValueError(f"{task.name}: {len(found)} predicted tags for the {len(expected)} words of row {row}")
        return [self.name_answer(task, found) for found in predictions], [self.name_answer(task, one) for one in right]

    def guess(self, task: Task, train: Dataset, rows: Dataset) -> Any:
        """Every word outside of entities, as most are; of tags that know no outside, the commonest one."""
        commonest = np.bincount([tag for tags in train["label"] for tag in tags]).argmax()
        return [[find_outside(task, int(commonest))] * len(words) for words in rows[task.columns[0]]]

    def describe_collapse(self, task: Task, predictions: Predictions) -> str:
        found = {int(tag) for tags in predictions.answers for tag in tags if tag >= 0}
        return f"answers {task.labels[found.pop()]!r} to every word" if len(found) == 1 else ""

    def columns(self, layout: Layout) -> tuple[str, ...]:
        return ("words",)

    def read_fields(self, fields: Fields, layout: Layout) -> Fields:
        """Words are a list, or separated by blanks; running text is cut into words first.

        "places" are characters of "text": of the text, or of the words joined by blanks.
        """
        if "text" in layout:
            text = get_text(fields, layout["text"])
            words = [match.group() for match in WORD.finditer(text)]
            places = [match.span() for match in WORD.finditer(text)]
        else:
            words = get_words(fields, layout["words"])
            ends = np.cumsum([len(word) + 1 for word in words]) - 1
            text, places = " ".join(words), [(int(end) - len(w), int(end)) for w, end in zip(words, ends, strict=True)]
        if not words:
            raise ValueError(f"{next(iter(layout.values()))!r} holds no words")
        return {"words": words, "text": text, "places": places}

    def format_answers(self, task: Task, predictions: Predictions, rows: Sequence[Fields]) -> Iterator[Fields]:
        for row, answer, probabilities in zip(rows, predictions.answers, predictions.probabilities, strict=True):
            tags = self.name_answer(task, answer)
            sure = [float(own[tag]) for tag, own in zip(answer, probabilities, strict=True)]
            found = []
            for first, stop, type_ in find_entities(tags):
                start, end = row["places"][first][0], row["places"][stop - 1][1]
                share = encoding.round_probability(sum(sure[first:stop]) / (stop - first))
                text = row["text"][start:end]
                found.append({"type": type_, "text": text, "start": start, "end": end, "probability": share})
            shares = [encoding.round_probability(value) for value in sure]
            yield {"prediction": tags, "probability": shares, "words": row["words"], "entities": found}

    def name_answer(self, task: Task, answer: Any) -> Any:
        """The names of the tags, "" for a word without one."""
        return [task.labels[tag] if tag >= 0 else "" for tag in answer]

    def confidence(self, answer: Any, probabilities: Any) -> Any:
        """The probability of each word's tag."""
        return [round(float(row[tag]), encoding.DIGITS) for row, tag in zip(probabilities, answer, strict=True)]

    def sections(self, task: Task, rows: Dataset, predictions: Predictions) -> list[page.Section]:
        right = [self.counted(task, tags) for tags in rows["label"]]
        answers = [self.counted(task, tags) for tags in predictions.answers]
        wrong = np.array([len(set(one) ^ set(other)) for one, other in zip(right, answers, strict=True)])
        (column,) = task.columns
        worst = [
            page.Mistake(rows["id"][row], f"{len(right[row])} to find", f"{wrong[row]} wrong or missing", "",
                    [("", page.mark_entities(rows[row][column], right[row], answers[row]))])
            for row in page.find_worst(wrong > 0, wrong)
        ]  # fmt: skip
        return [
            page.by_type(right, answers, "type of entity" if task.metric == "entities" else "tag"),
            page.by_kind_of_error(right, answers),
            page.by_length(task, rows, wrong == 0, "sentences without an error"),
            page.Section(
                "The worst sentences", "What is right is underlined, what the model answers is shaded.", mistakes=worst
            ),
        ]

    def counted(self, task: Task, tags: Sequence[int]) -> list[Entity]:
        """What the task's metric counts in a sentence: entities, or else each word with its tag."""
        names = self.name_answer(task, tags)
        if task.metric == "entities":
            return find_entities(names)
        return [(place, place + 1, name) for place, name in enumerate(names) if name]

    def describe_answers(self, task: Task, table: Dataset) -> str:
        counts = Counter(tag for tags in table["label"] for tag in tags)
        total = counts.total()
        by_name = ((task.labels[tag], count) for tag, count in counts.most_common())
        return f"{total:,} words: " + ", ".join(f"{name} {count:,} ({count / total:.1%})" for name, count in by_name)

    def show_row(self, task: Task, row: Fields) -> list[str]:
        """Words with their tags: `EU[B-ORG] rejects German[B-MISC] call`."""
        tags = self.name_answer(task, row["label"])
        words = [w if tag == "O" else f"{w}[{tag}]" for w, tag in zip(row[task.columns[0]], tags, strict=True)]
        return [f"- {shorten(' '.join(words))}"]

    def usage(self, task: Task, model: PreTrainedModel) -> str:
        return USAGE

    def read_boxes(self, task: Task, values: Sequence[str]) -> Fields:
        return {"text": values[0]}

    def show(self, answer: Fields) -> str:
        """A text with its entities marked, and a list of them."""
        found = answer["entities"]
        rows = [[entity["text"], entity["type"], percent(entity["probability"])] for entity in found]
        listed = with_title("Entities", table(["text", "type", "probability"], rows)) if rows else "<p>No entity.</p>"
        return highlight(answer["text"], [(one["start"], one["end"], one["type"]) for one in found]) + listed


def find_outside(task: Task, default: int) -> int:
    """The number of the tag that stands for no entity."""
    return task.labels.index("O") if "O" in task.labels else default


def to_iob2(tags: Sequence[str]) -> list[str]:
    """The tags with every entity's first one written B-. Tags that are IOB2 already stay as they are.

    >>> to_iob2(["I-LOC", "I-LOC", "B-LOC", "O", "I-ORG", "I-PER"])
    ['B-LOC', 'I-LOC', 'B-LOC', 'O', 'B-ORG', 'B-PER']
    """
    follows = [left[1:] == right[1:] for left, right in zip(["O", *tags], tags)]  # noqa: B905, one pair a tag
    return [tag if tag == "O" or goes_on else f"B{tag[1:]}" for tag, goes_on in zip(tags, follows, strict=True)]
