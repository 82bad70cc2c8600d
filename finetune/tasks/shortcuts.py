"""How far does one get without understanding?  Shortcut baselines, such as a bag of words.

A model that does not beat them has not shown that it reads; a task that they solve does not ask for reading. They learn
from the same training rows as the model, and take seconds.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from datasets import Dataset
from scipy.sparse import hstack
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression, SGDClassifier

from finetune.tasks.task import Task

Answers = Any  # what `finetune.tasks.metrics.score` judges: labels (N,), N lists of tags, or {id: text}
Rule = Callable[[Task, Dataset, Dataset], Answers]


def shortcuts(task: Task, train: Dataset, rows: Dataset) -> dict[str, Answers]:
    """Name of each rule for a task of `finetune.tasks.docs` → its answers to `rows`, learnt from `train`."""
    return {rule.__name__: rule(task, train, rows) for rule in RULES[task.name]}


def bag_of_words(task: Task, train: Dataset, rows: Dataset, longest: int = 1) -> list[int]:
    """Logistic regression on which words (up to `longest` in a row) stand in which column."""
    known, asked = [], []
    for column in task.columns:
        counter = CountVectorizer(ngram_range=(1, longest), token_pattern=r"\w+|[^\w\s]", binary=True)
        known.append(counter.fit_transform(train[column]))
        asked.append(counter.transform(rows[column]))
    model = LogisticRegression(max_iter=1000).fit(hstack(known), train["label"])
    return [int(label) for label in model.predict(hstack(asked))]


def bag_of_word_pairs(task: Task, train: Dataset, rows: Dataset) -> list[int]:
    """The same on neighbouring words as well."""
    return bag_of_words(task, train, rows, longest=2)


def word_overlap(task: Task, train: Dataset, rows: Dataset) -> list[int]:
    """Logistic regression on two numbers: the words that both columns share, and their share of the first's words."""
    model = LogisticRegression().fit(overlaps(task, train), train["label"])
    return [int(label) for label in model.predict(overlaps(task, rows))]


def overlaps(task: Task, rows: Dataset) -> list[tuple[int, float]]:
    pairs = zip(*(rows[column] for column in task.columns), strict=True)
    shared = [(stems(first) & stems(second), stems(first)) for first, second in pairs]
    return [(len(both), len(both) / max(1, len(first))) for both, first in shared]


def stems(text: str) -> set[str]:
    """The first four letters of the words of three letters and more: enough to know `labels` by `label`."""
    return {word[:4] for word in re.findall(r"[a-z]{3,}", text.lower())}


def lexicon(task: Task, train: Dataset, rows: Dataset) -> list[list[int]]:
    """The tag that each word has most often; a new word has the commonest one."""
    seen: dict[str, Counter[int]] = defaultdict(Counter)
    for words, tags in zip(train["words"], train["label"], strict=True):
        for word, tag in zip(words, tags, strict=True):
            seen[word][tag] += 1
    usual = Counter(tag for tags in train["label"] for tag in tags).most_common(1)[0][0]
    return [[seen[word].most_common(1)[0][0] if word in seen else usual for word in words] for words in rows["words"]]


def window(task: Task, train: Dataset, rows: Dataset) -> list[list[int]]:
    """A linear classifier (log loss) on each word, its form, and the two words on either side."""
    counter = CountVectorizer(analyzer=list)
    known = counter.fit_transform(seen for words in train["words"] for seen in views(words))
    asked = counter.transform(seen for words in rows["words"] for seen in views(words))
    tags = [tag for tags in train["label"] for tag in tags]
    found = SGDClassifier(loss="log_loss", alpha=1e-5, random_state=0).fit(known, tags).predict(asked)
    ends = np.cumsum([len(words) for words in rows["words"]])
    return [part.tolist() for part in np.split(found, ends[:-1])]


def views(words: Sequence[str]) -> Iterator[list[str]]:
    """What the window shows of each word: "-1 the" (its neighbours), "form a_a", "end ion"."""
    padded = ["", "", *words, "", ""]
    for place, word in enumerate(words):
        form = re.sub(r"[A-Z]+", "A", re.sub(r"[a-z]+", "a", re.sub(r"\d+", "0", word)))
        around = [f"{offset} {padded[place + 2 + offset].lower()}" for offset in (-2, -1, 0, 1, 2)]
        yield [*around, f"form {form}", f"end {word[-3:]}"]


def next_piece(task: Task, train: Dataset, rows: Dataset) -> dict[str, str]:
    """The sentence or line after the one that begins with a word of the question, or else shares most words with it."""
    columns = (rows[column] for column in ("id", *task.columns))
    return {row: after_best_match(question, context) for row, question, context in zip(*columns, strict=True)}


def after_best_match(question: str, context: str) -> str:
    asked = set(re.findall(r"\w+", question))
    pieces = [piece.strip() for piece in re.split(r"(?<=[.!?])\s+|\n", context)]
    words = [re.findall(r"\w+", piece) for piece in pieces[:-1]]
    match = [(len(asked.intersection(own[:1])), len(asked.intersection(own)) / max(1, len(own))) for own in words]
    return pieces[match.index(max(match)) + 1] if match else context


RULES: dict[str, tuple[Rule, ...]] = {
    "docs/pair": (bag_of_words, bag_of_word_pairs, word_overlap),
    "docs/wording": (bag_of_words, bag_of_word_pairs),
    "docs/tags": (lexicon, window),
    "docs/span": (next_piece,),
}
