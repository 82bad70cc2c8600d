"""Which piece of a context do the logits of its windows point at?

Devlin et al. 2019, section 4.2: the score of a span is its start logit plus its end logit. A token that stands in
several windows is judged in the one where it has most context on its shorter side. Where their script combines the 20
best starts with the 20 best ends, here every span of up to 30 tokens is weighed: none is missed, and every question has
an answer.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
from datasets import Dataset
from numpy.lib.stride_tricks import sliding_window_view

from finetune.encoding import NO_LABEL

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]

NUM_BEST = 20
LONGEST_ANSWER = 30  # tokens
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
    """A piece of a context, its score, the sum of its two logits, and its share among a question's best spans.

    "" is no answer: its start and end are −1.
    """

    text: str
    score: float
    probability: float
    start: int  # character in the context
    end: int  # after the last one


def answer_tokens(windows: Windows, answers: list[dict[str, list[Any]]]) -> tuple[Ints, Ints]:
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


def most_central(row: Ints, num_context: Ints, overlap: int) -> list[npt.NDArray[np.bool_]]:
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


def best_spans(
    start_logits: Floats,
    end_logits: Floats,
    windows: Windows,
    rows: Dataset,
    num_best: int = NUM_BEST,
    longest: int = LONGEST_ANSWER,
) -> dict[str, list[Span]]:
    """{id: its best spans, best first}: those of up to `longest` tokens, read off the window that has most context.

    Where a question may have no answer, that stands among them; its score is the least that a window gives it, since
    every window has to do without. Logits are (W, T). Raises ValueError for logits that are not numbers: a spoiled
    model has no best span.
    """
    if np.isnan(start_logits).any() or np.isnan(end_logits).any():
        raise ValueError("the model's start or end logits are NaN: no answer can be read off them")
    window, start, end, score = candidates(*masked(start_logits, end_logits, windows), num_best, longest)
    row = np.asarray(windows.row)[window]
    order = np.lexsort((-score, row))
    rank = np.arange(len(order)) - np.searchsorted(row[order], row[order])
    kept = order[rank < num_best]
    ends = np.cumsum([0, *(len(offsets) for offsets in windows.offsets)])  # of the windows, in one long table
    offsets = np.concatenate(windows.offsets)
    begins, stops = offsets[ends[window[kept]] + start[kept], 0], offsets[ends[window[kept]] + end[kept], 1]
    ids, contexts = rows["id"][:], rows["context"][:]
    found: dict[str, list[tuple[float, int, int]]] = {id_: [] for id_ in ids}
    for of_row, value, begin, stop in zip(row[kept], score[kept], begins, stops, strict=True):
        found[ids[of_row]].append((float(value), int(begin), int(stop)))
    for of_row, value in enumerate(null_scores(start_logits, end_logits, windows, len(ids))):
        found[ids[of_row]].append((float(value), -1, -1))
    return {id_: with_shares(contexts[number], found[id_]) for number, id_ in enumerate(ids)}


def null_scores(start_logits: Floats, end_logits: Floats, windows: Windows, num_rows: int) -> Floats:
    """The score of "no answer" for each row (N,); none where there always is an answer."""
    if not windows.null:
        return np.empty(0, np.float32)
    window = np.arange(len(windows.null))
    scores = start_logits[window, windows.null] + end_logits[window, windows.null]
    least = np.full(num_rows, np.inf, np.float32)
    np.minimum.at(least, windows.row, scores)
    return least


def with_shares(context: str, found: list[tuple[float, int, int]]) -> list[Span]:
    """The spans (score, start, end), best first, each with its share: a softmax over all of them."""
    if not found:
        return []
    ordered = sorted(found, key=lambda span: -span[0])
    shares = np.exp(np.array([score for score, *_ in ordered]) - ordered[0][0])
    shares /= shares.sum()
    return [
        Span(context[start:end] if start >= 0 else "", score, float(share), start, end)
        for (score, start, end), share in zip(ordered, shares, strict=True)
    ]


def chosen(spans: Sequence[Span], null_threshold: float) -> str:
    """The best span's text, or "" if no answer beats it by more than the threshold."""
    answers = [span for span in spans if span.start >= 0]
    if not answers:
        return ""
    return "" if null_odds(spans) > null_threshold else answers[0].text


def null_odds(spans: Sequence[Span]) -> float:
    """How much better no answer is than the best one: a difference of scores. −inf where there always is one."""
    best = max((span.score for span in spans if span.start >= 0), default=-np.inf)
    return max((span.score - best for span in spans if span.start < 0), default=-np.inf)


def best_threshold(odds: Floats, answered: Floats, unanswered: Floats) -> float:
    """The threshold that makes the sum of scores largest: of those above it, no answer is given.

    odds (N,); answered, unanswered (N,): what a row scores with its best span, and with none. Of equal thresholds the
    least. As in the official evaluation script for SQuAD v2.0.
    """
    order = np.argsort(odds, kind="stable")
    gains = np.cumsum((answered - unanswered)[order])  # of answering all up to and with the k-th
    ends = np.append(odds[order][1:] != odds[order][:-1], True)  # equal odds are answered together
    best = int(np.where(ends, gains, -np.inf).argmax())
    return float(odds[order][best]) if gains[best] > 0 else float(odds.min()) - 1.0


def masked(start_logits: Floats, end_logits: Floats, windows: Windows) -> tuple[Floats, Floats]:
    """The logits, −inf where a span may not start (outside the context, more central elsewhere) or end."""
    start, end = np.full_like(start_logits, -np.inf), np.full_like(end_logits, -np.inf)
    for window, (first, central) in enumerate(zip(windows.first, windows.central, strict=True)):
        context = slice(first, first + len(central))
        start[window, context] = np.where(central, start_logits[window, context], -np.inf)
        end[window, context] = end_logits[window, context]
    return start, end


def candidates(start: Floats, end: Floats, num_best: int, longest: int) -> tuple[Ints, Ints, Ints, Floats]:
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
