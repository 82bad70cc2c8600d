"""Are these the rows you meant?  The data report, before training.

Counts, lengths, labels, duplicates, train rows in dev, ten rows in words.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
from datasets import Dataset
from transformers import PreTrainedTokenizerFast

from finetune.questions.encoding import Encoded
from finetune.tasks.fields import join_words
from finetune.tasks.task import Rows, Task

SAMPLE = 10_000  # rows of a split whose tokens are counted
SHOWN = 10  # rows in words, evenly over the training rows


def write_report(
    task: Task, rows: Rows, encoded: Mapping[str, Encoded], tokenizer: PreTrainedTokenizerFast, max_length: int
) -> str:
    """Describe the rows of every split of a task as Markdown, and what of those in `encoded` is not read."""
    lines = [f"# {task.name}", "", "| | rows | read from |", "|---|---:|---|"]
    lines += [f"| {split} | {len(table):,} | {table.info.description} |" for split, table in rows.items()]
    answered = {split: table for split, table in rows.items() if task.question.answer_column in table.column_names}
    lines += ["", "## Answers", ""]
    lines += [f"- {split}: {task.question.describe_answers(task, table)}" for split, table in answered.items()]
    lines += ["", f"## Tokens (max_seq_length {max_length})", "", *token_lines(task, rows, tokenizer, max_length)]
    lines += ["", "## Cut off", "", *cut_lines(task, encoded)]
    lines += ["", "## The same text twice", "", *repeat_lines(task, rows)]
    lines += ["", "## Ten rows", "", *row_lines(task, rows[task.train_split])]
    return "\n".join(lines) + "\n"


def token_lines(task: Task, rows: Rows, tokenizer: PreTrainedTokenizerFast, max_length: int) -> list[str]:
    """Lengths of the inputs, of at most SAMPLE rows a split, and the share of unknown tokens. Errors: ValueError where
    all tokens to train on are unknown."""
    lines, unknown = ["| | median | 95 % | longest | beyond max_seq_length |", "|---|---:|---:|---:|---:|"], []
    for split, table in rows.items():
        some = table.select(range(0, len(table), -(-len(table) // SAMPLE))) if len(table) > SAMPLE else table
        inputs = tokenizer(*task.question.input_texts(task, some), verbose=False)["input_ids"]
        lengths = np.array([len(ids) for ids in inputs])
        middle, most = np.quantile(lengths, [0.5, 0.95])
        of = f"{split}, {len(some):,} of {len(table):,}" if len(some) < len(table) else split
        beyond = (lengths > max_length).mean()
        lines.append(f"| {of} | {middle:.0f} | {most:.0f} | {lengths.max()} | {beyond:.1%} |")
        share = share_unknown(inputs, tokenizer)
        if share == 1 and split == task.train_split:
            raise ValueError(
                f"{table.info.description}: all tokens of the {len(some):,} rows to train on are unknown to the "
                "tokenizer, so nothing could be learnt: take a model of these words"
            )
        unknown += [f"{split} {share:.1%}"] if share else []
    lines += ["", f"What is beyond max_seq_length {task.question.beyond}."]
    return [
        *lines,
        *(["", f"Unknown tokens, of which the model learns nothing: {', '.join(unknown)}."] if unknown else []),
    ]


def share_unknown(inputs: Sequence[Sequence[int]], tokenizer: PreTrainedTokenizerFast) -> float:
    """The share of the tokens, special ones aside, that stand for what the tokenizer does not know."""
    own = tokenizer.unk_token_id
    special = set(tokenizer.all_special_ids) - {own}
    if own is None or own in (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id):
        return 0.0  # of bytes nothing is unknown
    counts = Counter(number for ids in inputs for number in ids if number not in special)
    return counts[own] / max(1, counts.total())


def cut_lines(task: Task, encoded: Mapping[str, Encoded]) -> list[str]:
    """How many rows and tokens the model never reads, of all rows of the training and dev splits."""
    lost = task.question.lost
    head = [f"{task.question.unit} cut", "tokens cut", "of all tokens", *([lost] if lost else [])]
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
    texts = [map(join_words, table[column][:]) for column in columns]
    return [hash(tuple(map(normalise, row))) for row in zip(*texts, strict=True)]


def normalise(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.lower())) or text


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
    places = np.unique(np.linspace(0, len(table) - 1, SHOWN).round().astype(int)).tolist()
    return [line for place in places for line in task.question.show_row(task, table[place])]
