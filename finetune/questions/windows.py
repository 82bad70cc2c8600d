"""Which piece of a context do the logits of its windows point at?  The n best spans, and the threshold of no answer.

Devlin et al. 2019, section 4.2: the score of a span is its start logit plus its end logit. A token that stands in
several windows is read in the one where it has most context on its shorter side. Where their script combines the 20
best starts with the 20 best ends, here every span of up to 30 tokens is weighed: none is missed, and every question has
an answer.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
from datasets import Dataset
from numpy.lib.stride_tricks import sliding_window_view

from finetune.questions.encoding import NO_LABEL, Predictions
from finetune.tasks.metrics.answers import with_words

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]
Place = tuple[float, float, int, int]  # start logit, end logit, first character, character after the last one

NUM_BEST = 20
LONGEST_ANSWER = 30  # tokens
OUT_OF_QUESTION = 1e6  # beyond the logits of any model
WINDOWS_AT_ONCE = 256  # times LONGEST_ANSWER times the window's length: 12 MB of scores


@dataclass
class Windows:
    """Where the tokens of each of W windows stand; the windows of a row are neighbours, in the order of its text."""

    row: list[int] = field(default_factory=list)  # the row it is a window of
    offsets: list[npt.NDArray[np.int32]] = field(default_factory=list)  # (T, 2) characters in the context
    first: list[int] = field(default_factory=list)  # its first token that is of the context
    num_context: list[int] = field(default_factory=list)  # how many are
    central: list[npt.NDArray[np.bool_]] = field(default_factory=list)  # (num_context,) no window has it more central
    null: list[int] = field(default_factory=list)  # the token that stands for "no answer"; empty if there always is one


@dataclass(frozen=True)
class Span:
    """A piece of a context, its two logits, and its share among a question's best spans.

    "" is no answer: its start and end are −1.
    """

    text: str
    start_logit: float
    end_logit: float
    probability: float
    start: int  # character in the context
    end: int  # after the last one

    @property
    def score(self) -> float:
        return self.start_logit + self.end_logit


def find_answer_tokens(windows: Windows, answers: list[dict[str, list[Any]]]) -> tuple[Ints, Ints]:
    """Where in each window the first answer of its row begins and ends.  (W,) (W,)

    A window that does not hold it whole points at its `null` token, or has −100 if it has none (Devlin et al. 2019,
    section 4.3).
    """
    found = np.full((2, len(windows.row)), NO_LABEL)
    if windows.null:
        found[:] = windows.null
    for window, row in enumerate(windows.row):
        if not answers[row]["text"]:
            continue
        begin = answers[row]["answer_start"][0]
        end = begin + len(answers[row]["text"][0])
        first, stop = windows.first[window], windows.first[window] + windows.num_context[window]
        starts, ends = windows.offsets[window][first:stop].T
        if first < stop and starts[0] <= begin and end <= ends[-1]:
            start_token = first + np.searchsorted(ends, begin, side="right")  # the first that ends after its beginning
            end_token = first + np.searchsorted(starts, end, side="left") - 1  # the last that starts before its end
            if start_token <= end_token:
                found[:, window] = start_token, end_token
    return found[0], found[1]


def find_most_central(row: Ints, num_context: Ints, overlap: int) -> list[npt.NDArray[np.bool_]]:
    """For each window, which of its context tokens have no better window: (num_context,) each.

    A token's context is what stands on its shorter side, plus a hundredth of the window's length to break ties; of
    equal windows the first has it.
    """
    bounds = np.flatnonzero(np.diff(row, prepend=-1, append=-1))
    central = []
    for begin, end in pairwise(bounds):
        lengths = num_context[begin:end]
        starts = np.concatenate([[0], np.cumsum(lengths[:-1] - overlap)])
        token = np.arange(starts[-1] + lengths[-1])
        left, right = token - starts[:, None], (starts + lengths - 1)[:, None] - token  # (windows, tokens)
        context = np.where((left >= 0) & (right >= 0), np.minimum(left, right) + 0.01 * lengths[:, None], -1)
        winner = context.argmax(axis=0)
        central += [winner[s : s + n] == k for k, (s, n) in enumerate(zip(starts, lengths, strict=True))]
    return central


def find_best_spans(
    start_logits: Floats,
    end_logits: Floats,
    windows: Windows,
    rows: Dataset,
    num_best: int = NUM_BEST,
    longest: int = LONGEST_ANSWER,
) -> dict[str, list[Span]]:
    """{id: its best spans, best first}: those of up to `longest` tokens, read off the window that has most context.

    Where a question may have no answer, that stands among them; its score is the least that a window gives it, since
    every window has to do without. Of spans with the same text the best is kept. Logits are (W, T).
    Raises ValueError for logits that are not numbers: a spoiled model has no best span.
    """
    if np.isnan(start_logits).any() or np.isnan(end_logits).any():
        raise ValueError("the model's start or end logits are NaN: no answer can be read off them")
    window, start, end, score = find_candidates(*mask_logits(start_logits, end_logits, windows), num_best, longest)
    row = np.asarray(windows.row)[window]
    order = np.lexsort((-score, row))
    rank = np.arange(len(order)) - np.searchsorted(row[order], row[order])
    kept = order[rank < num_best]
    ends = np.cumsum([0, *(len(offsets) for offsets in windows.offsets)])  # of the windows, in one long table
    offsets = np.concatenate(windows.offsets)
    begins, stops = offsets[ends[window[kept]] + start[kept], 0], offsets[ends[window[kept]] + end[kept], 1]
    ids, contexts = rows["id"][:], rows["context"][:]
    found: list[list[Place]] = [[] for _ in ids]
    logits = start_logits[window[kept], start[kept]], end_logits[window[kept], end[kept]]
    for of_row, *place in zip(row[kept].tolist(), *(a.tolist() for a in (*logits, begins, stops)), strict=True):
        found[of_row].append(tuple(place))
    for of_row, (start_logit, end_logit) in find_null_logits(start_logits, end_logits, windows).items():
        found[of_row].append((start_logit, end_logit, -1, -1))
    return {id_: add_shares(contexts[number], found[number]) for number, id_ in enumerate(ids)}


def find_null_logits(start_logits: Floats, end_logits: Floats, windows: Windows) -> dict[int, tuple[float, float]]:
    """Row → both logits of "no answer" in the window that gives it least; nothing where there always is an answer."""
    least: dict[int, tuple[float, float]] = {}
    for window, token in enumerate(windows.null):
        found = float(start_logits[window, token]), float(end_logits[window, token])
        least[windows.row[window]] = min(found, least.get(windows.row[window], found), key=sum)
    return least


def add_shares(context: str, found: list[Place]) -> list[Span]:
    """The spans at these places, best first, each with its share: a softmax over all of them."""
    best: dict[str, Place] = {}
    for place in sorted(found, key=lambda place: -(place[0] + place[1])):
        best.setdefault(context[place[2] : place[3]] if place[2] >= 0 else "", place)
    if not best:
        return []
    scores = np.array([start + end for start, end, *_ in best.values()])
    shares = np.exp(scores - scores[0])
    return [
        Span(text, start_logit, end_logit, float(share), start, end)
        for (text, (start_logit, end_logit, start, end)), share in zip(best.items(), shares / shares.sum(), strict=True)
    ]


def choose_answer(spans: Sequence[Span], null_threshold: float) -> str:
    """The best span's text, or "" if no answer beats it by more than the threshold."""
    answers = [span for span in spans if span.start >= 0]
    if not answers:
        return ""
    return "" if compute_null_odds(spans) > null_threshold else answers[0].text


def compute_null_odds(spans: Sequence[Span]) -> float:
    """How much better no answer is than the best one: a difference of scores. −inf where there always is one.

    Finite also where a context has no token to answer with, for files of JSON.
    """
    best = max((span.score for span in spans if span.start >= 0), default=-OUT_OF_QUESTION)
    return max((span.score - best for span in spans if span.start < 0), default=-np.inf)


def find_best_threshold(odds: Floats, answered: Floats, unanswered: Floats) -> float:
    """The threshold that makes the sum of scores largest: of those above it, no answer is given.

    odds (N,); answered, unanswered (N,): what a row scores with its best span, and with none. Of equally good ones the
    least; it lies midway between two rows' odds, where the official script for SQuAD v2.0 takes the lower ones, so that
    the last digit of a logit decides nothing.
    """
    order = np.argsort(odds, kind="stable")
    gains = np.cumsum((answered - unanswered)[order])  # of answering all up to and with the k-th
    ordered = odds[order]
    ends = np.append(ordered[1:] != ordered[:-1], True)  # equal odds are answered together
    best = int(np.where(ends, gains, -np.inf).argmax())
    if gains[best] <= 0:
        return float(ordered[0]) - 1.0
    return float(ordered[best] + ordered[best + 1]) / 2 if best + 1 < len(ordered) else float(ordered[best]) + 1.0


def mask_logits(start_logits: Floats, end_logits: Floats, windows: Windows) -> tuple[Floats, Floats]:
    """The logits, −inf where a span may not start (outside the context, more central elsewhere) or end."""
    start, end = np.full_like(start_logits, -np.inf), np.full_like(end_logits, -np.inf)
    for window, (first, central) in enumerate(zip(windows.first, windows.central, strict=True)):
        context = slice(first, first + len(central))
        start[window, context] = np.where(central, start_logits[window, context], -np.inf)
        end[window, context] = end_logits[window, context]
    return start, end


def find_candidates(start: Floats, end: Floats, num_best: int, longest: int) -> tuple[Ints, Ints, Ints, Floats]:
    """The best spans of each window: window, start token, end token and score, each of up to W × num_best."""
    width = start.shape[1]
    found = []
    for at in range(0, len(start), WINDOWS_AT_ONCE):
        part = slice(at, at + WINDOWS_AT_ONCE)
        ends = np.pad(end[part], ((0, 0), (0, longest - 1)), constant_values=-np.inf)
        scores = (start[part, :, None] + sliding_window_view(ends, longest, axis=1)).reshape(-1, width * longest)
        kept = min(num_best, scores.shape[1])
        best = scores.argmax(1)[:, None] if kept == 1 else np.argpartition(scores, -kept, axis=1)[:, -kept:]
        found.append((best, np.take_along_axis(scores, best, axis=1)))
    best, score = (np.concatenate(halves) for halves in zip(*found, strict=True))  # (W, kept) each
    window, kept_place = np.nonzero(np.isfinite(score))
    start_token, more = np.divmod(best[window, kept_place], longest)
    return window, start_token, start_token + more, score[window, kept_place]


def choose_answers(found: dict[str, list[Span]], null_threshold: float) -> Predictions:
    """The answers to questions with these best spans."""
    return Predictions({id_: choose_answer(spans, null_threshold) for id_, spans in found.items()}, found)


def choose_threshold(measure: Callable[[str, str], float], predictions: Predictions, rows: Dataset) -> float:
    """The null threshold with which the best spans score most on these rows."""
    found = predictions.probabilities
    ids, references = rows["id"][:], [with_words(answers["text"]) for answers in rows["answers"]]
    best = [next((span.text for span in found[id_] if span.start >= 0), "") for id_ in ids]
    answered = [max(measure(text, right) for right in texts) for text, texts in zip(best, references, strict=True)]
    unanswered = [max(measure("", right) for right in texts) for texts in references]
    odds = np.array([compute_null_odds(found[id_]) for id_ in ids])
    return find_best_threshold(odds, np.array(answered), np.array(unanswered))
