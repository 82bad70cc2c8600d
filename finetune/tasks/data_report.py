"""Are these the rows you meant?  Counts, lengths, labels, doubles, train in dev, ten rows in words, before training."""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from datasets import Dataset
from transformers import PreTrainedTokenizerFast

from finetune.questions.encoding import Encoded
from finetune.tasks.task import Head, Rows, Task

SAMPLE = 10_000  # rows of a split whose tokens are counted
SHOWN = 10  # rows in words, evenly over the training rows
LONGEST_SHOWN = 300  # characters


def data_report(
    task: Task, rows: Rows, encoded: Mapping[str, Encoded], tokenizer: PreTrainedTokenizerFast, max_length: int
) -> str:
    """Describe the rows of every split of a task as Markdown, and what of those in `encoded` is not read."""
    lines = [f"# {task.name}", "", "| | rows | read from |", "|---|---:|---|"]
    lines += [f"| {split} | {len(table):,} | {table.info.description} |" for split, table in rows.items()]
    lines += ["", "## Answers", ""]
    lines += [f"- {split}: {answers(task, table)}" for split, table in rows.items() if has_answers(table)]
    lines += ["", f"## Tokens (max_seq_length {max_length})", "", *token_lines(task, rows, tokenizer, max_length)]
    lines += ["", "## Cut off", "", *cut_lines(task, encoded)]
    lines += ["", "## The same text twice", "", *repeat_lines(task, rows)]
    lines += ["", "## Ten rows", "", *row_lines(task, rows[task.train_split])]
    return "\n".join(lines) + "\n"


def has_answers(table: Dataset) -> bool:
    return "label" in table.column_names or "answers" in table.column_names


def answers(task: Task, table: Dataset) -> str:
    """How the answers of a split are distributed."""
    return ANSWERS[task.head](task, table)


def of_labels(task: Task, table: Dataset) -> str:
    counts = np.bincount(table["label"][:], minlength=len(task.labels))
    names = task.labels or [f"choice {number}" for number in range(len(counts))]
    return ", ".join(f"{name} {count:,} ({count / len(table):.1%})" for name, count in zip(names, counts, strict=True))


def of_scores(task: Task, table: Dataset) -> str:
    low, quarter, middle, three, high = np.quantile(table["label"][:], [0, 0.25, 0.5, 0.75, 1])
    return f"from {low:g} to {high:g}; quartiles {quarter:g}, {middle:g}, {three:g}"


def of_tags(task: Task, table: Dataset) -> str:
    counts = Counter(tag for tags in table["label"] for tag in tags)
    total = counts.total()
    named = ((task.labels[tag], count) for tag, count in counts.most_common())
    return f"{total:,} words: " + ", ".join(f"{name} {count:,} ({count / total:.1%})" for name, count in named)


def of_spans(task: Task, table: Dataset) -> str:
    given = [answer["text"] for answer in table["answers"]]
    lengths = [len(text.split()) for texts in given for text in texts[:1]]
    without = sum(not texts for texts in given)
    several = sum(map(len, given)) / max(1, len(given) - without)
    return (
        f"{len(given) - without:,} questions with {several:.1f} references each, of {np.median(lengths or [0]):.0f} "
        f"words in the median, {max(lengths or [0])} at most; {without:,} without an answer"
    )


ANSWERS: dict[Head, Callable[[Task, Dataset], str]] = {
    "classification": of_labels,
    "choice": of_labels,
    "regression": of_scores,
    "tagging": of_tags,
    "span": of_spans,
}


def token_lines(task: Task, rows: Rows, tokenizer: PreTrainedTokenizerFast, max_length: int) -> list[str]:
    """Lengths of the inputs, of at most SAMPLE rows a split."""
    lines = ["| | median | 95 % | longest | beyond max_seq_length |", "|---|---:|---:|---:|---:|"]
    for split, table in rows.items():
        some = table.select(range(0, len(table), -(-len(table) // SAMPLE))) if len(table) > SAMPLE else table
        lengths = np.array([len(ids) for ids in lengths_of(task, some, tokenizer)])
        middle, most = np.quantile(lengths, [0.5, 0.95])
        of = f"{split}, {len(some):,} of {len(table):,}" if len(some) < len(table) else split
        beyond = (lengths > max_length).mean()
        lines.append(f"| {of} | {middle:.0f} | {most:.0f} | {lengths.max()} | {beyond:.1%} |")
    beyond = {"span": "becomes several windows", "tagging": "loses words, which count as misses"}
    return [*lines, "", f"What is beyond max_seq_length {beyond.get(task.head, 'is cut off')}."]


def cut_lines(task: Task, encoded: Mapping[str, Encoded]) -> list[str]:
    """How many rows and tokens the model never reads, of all rows of the splits that it learns and is judged on."""
    lost = {"tagging": "words without a tag", "span": "answers that no window holds whole"}.get(task.head)
    what = "questions" if task.head == "span" else "rows"
    head = [f"{what} cut", "tokens cut", "of all tokens", *([lost] if lost else [])]
    lines = [f"| | {' | '.join(head)} |", f"|---|{'---:|' * len(head)}"]
    for split, own in encoded.items():
        cells = [
            f"{own.num_cut:,} of {len(own.cut):,} ({own.num_cut / max(1, len(own.cut)):.2%})",
            f"{sum(own.cut):,}",
            f"{sum(own.cut) / max(1, own.num_tokens):.2%}",
            *([f"{own.num_lost:,}"] if lost else []),
        ]
        lines.append(f"| {split} | {' | '.join(cells)} |")
    return lines


def lengths_of(task: Task, table: Dataset, tokenizer: PreTrainedTokenizerFast) -> Iterable[Sequence[int]]:
    texts = [whole_texts(table[column][:]) for column in task.columns]
    if task.head == "choice":  # the longest of a row's choices
        choices = [max(row, key=len) for row in table[task.columns[-1]]]
        texts = [texts[0], choices] if len(texts) > 1 else [choices]
    return tokenizer(*texts, verbose=False)["input_ids"]


def whole_texts(values: Sequence[Any]) -> list[str]:
    """Texts as they are; words and choices joined by blanks."""
    return [value if isinstance(value, str) else " ".join(value) for value in values]


def repeat_lines(task: Task, rows: Rows) -> list[str]:
    """Texts that stand twice in train, and texts of the other splits that stand in train.

    Texts are compared without case, punctuation and extra blanks. A row that stands in train is one that a model may
    know by heart; where its label is another there, knowing it harms.
    """
    train, columns = rows[task.train_split], task.columns
    known = inputs_with_answers(task, train)
    doubles = sum(count - 1 for _, count in known.values())
    contradictions = sum(len(found) > 1 for found, _ in known.values())
    lines = [
        f"- train: {doubles:,} rows repeat another one; {contradictions:,} texts stand there with different answers"
    ]
    for split, table in rows.items():
        if split == task.train_split:
            continue
        same, other = 0, 0
        for key, answer in zip(keys(table, columns), plain_answers(table), strict=True):
            found, _ = known.get(key, (set(), 0))
            same += bool(found)
            other += bool(found) and answer is not None and answer not in found
        lines.append(
            f"- {split}: {same:,} of {len(table):,} rows ({same / len(table):.2%}) stand in train too, {other:,} of "
            "them with another answer"
        )
        if len(columns) > 1:
            shared = [f"{name} {overlap(train, table, name):.1%}" for name in columns]
            lines.append(f"  - texts that stand in train, by column: {', '.join(shared)}")
    return lines


def inputs_with_answers(task: Task, table: Dataset) -> dict[int, tuple[set[str | None], int]]:
    """Input → its answers, and how often it stands there."""
    answers_of: dict[int, set[str | None]] = defaultdict(set)
    counts: Counter[int] = Counter()
    for key, answer in zip(keys(table, task.columns), plain_answers(table), strict=True):
        answers_of[key].add(answer)
        counts[key] += 1
    return {key: (answers_of[key], count) for key, count in counts.items()}


def keys(table: Dataset, columns: Sequence[str]) -> list[int]:
    """A number for each row's input, equal for inputs that differ in case, punctuation and blanks alone."""
    texts = [whole_texts(table[column][:]) for column in columns]
    return [hash(tuple(map(normalised, row))) for row in zip(*texts, strict=True)]


def normalised(text: str) -> str:
    return " ".join(WORD.findall(text.lower())) or text


WORD = re.compile(r"\w+")


def plain_answers(table: Dataset) -> list[str | None]:
    if "label" in table.column_names:
        return [str(label) for label in table["label"]]
    if "answers" in table.column_names:
        return [str(answer["text"][:1]) for answer in table["answers"]]
    return [None] * len(table)


def overlap(train: Dataset, table: Dataset, column: str) -> float:
    """The share of rows whose text in this column stands in train."""
    known = set(keys(train, [column]))
    return float(np.mean([key in known for key in keys(table, [column])]))


def row_lines(task: Task, table: Dataset) -> list[str]:
    """Rows in words, evenly over the table."""
    places = np.unique(np.linspace(0, len(table) - 1, SHOWN).round().astype(int)).tolist()
    return [line for place in places for line in row_in_words(task, table[place])]


def row_in_words(task: Task, row: dict[str, Any]) -> list[str]:
    if task.head == "tagging":
        marked = " ".join(marked_words(row[task.columns[0]], [task.labels[tag] for tag in row["label"]]))
        return [f"- {shortened(marked)}"]
    texts = [f"  - {name}: {shortened(whole_texts([row[name]])[0])}" for name in task.columns]
    if task.head == "span":
        answer = " | ".join(dict.fromkeys(row["answers"]["text"])) or "(none)"
    else:
        answer = task.labels[row["label"]] if task.head == "classification" else f"{row['label']:g}"
    return [f"- **{answer}**", *texts]


def marked_words(words: Sequence[str], tags: Sequence[str]) -> list[str]:
    """Words with their tags: `EU[B-ORG] rejects German[B-MISC] call`."""
    return [word if tag == "O" else f"{word}[{tag}]" for word, tag in zip(words, tags, strict=True)]


def shortened(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= LONGEST_SHOWN else text[:LONGEST_SHOWN] + " …"
