"""How probable is each option?  log p of what is judged, with all that options share read once.

The options of a question stand side by side in one sequence, behind what they share: each sees that and itself, and has
the positions that it would have alone (a prefix tree under an attention mask). What all questions share, such as the
examples of a few-shot prompt, is read once and kept (the KV cache). The vocabulary meets judged positions only.

A model whose attention takes no such mask, or that has none (the LSTM), reads each option alone: the same figures, more
slowly. Which it is, is tried on a few tokens. So does one whose layers see a part of the text, where a question is
longer than that: side by side, options would be further from what they share than they are.
"""

import copy
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor
from transformers import DynamicCache

from engine.run.architecture import UNLIMITED, count_seen
from networks import heads
from probe.few_shot.prompts import count_shared
from probe.language_models import AT_ONCE, LanguageModel
from probe.losses import Window, judge_places, padded

SHORTEST = 16  # tokens that all questions share and that are worth a cache of their own
PADDING = -1  # no option's number: what stands behind the last option


@dataclass(frozen=True)
class Score:
    """Of one option: log p in nats, over how many tokens, and whether each was the likeliest."""

    log_p: float
    tokens: int
    is_greedy: bool = False


@dataclass(frozen=True)
class Packed:
    """A question in one sequence of T tokens."""

    ids: list[int]
    places: list[int]  # of each token in its own option's text
    branch: list[int]  # 0: shared by all options; else the option's number from 1
    asked: list[tuple[int, int, int]]  # option, place in `ids` that guesses, token to be guessed


@torch.inference_mode()
def score_questions(model: LanguageModel, questions: Sequence[Sequence[Window]]) -> list[list[Score]]:
    """Score the options of each question, one or more of them, each with a judged token at least."""
    if model.is_masked:
        return score_masked(model, questions)
    shares = shares_prefixes(model) and sees_whole(model, questions)
    units = list(questions) if shares else [[window] for question in questions for window in question]
    found: list[list[Score]] = [[] for _ in units]
    prefix = shared_prefix(units) if shares else []
    cache = read_prefix(model, prefix) if prefix else None
    packed = [pack(unit, len(prefix)) for unit in units]
    for numbers in batches([len(one.ids) for one in packed], len(prefix)):
        for number, scores in zip(numbers, read_batch(model, [packed[n] for n in numbers], shares, cache), strict=True):
            found[number] = scores
    if shares:
        return found
    flat = iter(scores[0] for scores in found)
    return [[next(flat) for _ in question] for question in questions]


def sees_whole(model: LanguageModel, questions: Sequence[Sequence[Window]]) -> bool:
    """Whether a token that stands behind a whole question, its options side by side, still sees all of it."""
    seen = count_seen(model.model)
    return seen == UNLIMITED or all(len(pack(question, 0).ids) <= seen for question in questions)


def score_masked(model: LanguageModel, questions: Sequence[Sequence[Window]]) -> list[list[Score]]:
    """Pseudo-log-likelihood (Salazar et al. 2020): each judged token is hidden alone, and guessed from all others."""
    words = model.vocabulary
    words.require(("pad", "cls", "sep", "mask"))
    windows = [window for question in questions for window in question]
    framed = [[words.cls, *window.ids, words.sep] for window in windows]
    places = [(n, 1 + place) for n, one in enumerate(windows) for place in range(one.first, len(one.ids))]
    losses = judge_places(model, framed, places)
    sums = torch.zeros(len(windows), dtype=torch.float64)
    sums.index_add_(0, torch.tensor([number for number, _ in places]), -losses.double())
    scores = iter(Score(log_p, len(w.ids) - w.first) for log_p, w in zip(sums.tolist(), windows, strict=True))
    return [[next(scores) for _ in question] for question in questions]


def shared_prefix(questions: Sequence[Sequence[Window]]) -> list[int]:
    """The tokens that all windows begin with, up to the first place that guesses; none where they are few."""
    windows = [window for question in questions for window in question]
    if len(questions) < 2:
        return []
    most = min(window.first for window in windows) - 1
    shared = min(most, count_shared([window.ids for window in windows]))
    return windows[0].ids[:shared] if shared >= SHORTEST else []


def read_prefix(model: LanguageModel, prefix: list[int]) -> DynamicCache:
    """Keys and values (1, heads, P, size) of each layer."""
    cache = DynamicCache(config=model.model.config)
    encode(model, {"input_ids": torch.tensor([prefix])}, cache)
    return cache


def pack(windows: Sequence[Window], skip: int) -> Packed:
    """Lay options out behind what they share, less its first `skip` tokens. The last token of each is not read."""
    rows = [window.ids[:-1] for window in windows]
    shared = count_shared(rows)
    ids, places = rows[0][skip:shared], list(range(skip, shared))
    branch, asked = [0] * len(ids), []
    for number, window in enumerate(windows):
        begins = len(ids) - shared  # of this option's own tokens, less their place in it
        ids = [*ids, *rows[number][shared:]]
        places += range(shared, len(rows[number]))
        branch += [number + 1] * (len(rows[number]) - shared)
        for place in range(window.first, len(window.ids)):
            guesses = place - 1
            at = guesses - skip if guesses < shared else begins + guesses
            asked.append((number, at, window.ids[place]))
    return Packed(ids, places, branch, asked)


def batches(lengths: Sequence[int], prefix: int) -> Iterator[list[int]]:
    """Numbers of sequences, the longest first, of about AT_ONCE tokens with their padding; each of them holds keys and
    values of a prefix, too."""
    order = sorted(range(len(lengths)), key=lambda number: -lengths[number])
    while order:
        longest = lengths[order[0]]
        size = max(1, min(AT_ONCE // longest, 8 * AT_ONCE // (prefix + longest)))
        yield order[:size]
        order = order[size:]


def read_batch(
    model: LanguageModel, batch: Sequence[Packed], shares: bool, cache: DynamicCache | None
) -> list[list[Score]]:
    """The scores of the options of each sequence."""
    x = {"input_ids": padded([one.ids for one in batch])}  # (B, T)
    if shares:
        x["position_ids"] = padded([one.places for one in batch])
        x["attention_mask"] = mask_of(padded([one.branch for one in batch], PADDING), cache)
    held = copy.deepcopy(cache)
    if held is not None:
        held.batch_repeat_interleave(len(batch))
    states = encode(model, x, held).flatten(0, 1)  # (B * T, H)
    width = x["input_ids"].shape[1]
    owners = [(row, option) for row, one in enumerate(batch) for option, _, _ in one.asked]
    places = torch.tensor([row * width + at for row, one in enumerate(batch) for _, at, _ in one.asked])
    tokens = torch.tensor([token for one in batch for _, _, token in one.asked])
    sums: dict[tuple[int, int], Score] = {}
    log_p, greedy = guess(model, states, places, tokens)
    for owner, value, is_likeliest in zip(owners, log_p.tolist(), greedy.tolist(), strict=True):
        before = sums.get(owner, Score(0.0, 0, True))
        sums[owner] = Score(before.log_p + value, before.tokens + 1, before.is_greedy and is_likeliest)
    options = [sorted({option for option, _, _ in one.asked}) for one in batch]
    return [[sums[row, option] for option in options[row]] for row in range(len(batch))]


def mask_of(branch: Tensor, cache: DynamicCache | None) -> Tensor:
    """What each token sees (B, 1, T, P + T), of branches (B, T): 0, or what takes a place out of a softmax."""
    size = branch.shape[1]
    own = (branch[:, None, :] == 0) | (branch[:, None, :] == branch[:, :, None])  # (B, T, T)
    sees = own & torch.ones(size, size, dtype=torch.bool).tril()
    if cache is not None:
        past = torch.ones(len(branch), size, cache.get_seq_length(), dtype=torch.bool)
        sees = torch.cat([past, sees], dim=2)
    return torch.zeros(sees.shape).masked_fill_(~sees, torch.finfo(torch.float32).min)[:, None]


def guess(model: LanguageModel, states: Tensor, places: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """log p (M,) of `tokens` (M,) at `places` (M,) of the states, and whether each is the likeliest there.

    Options that begin alike ask the same place, which meets the vocabulary once.
    """
    log_p, greedy = torch.empty(len(places)), torch.empty(len(places), dtype=torch.bool)
    distinct, row_of = places.unique(return_inverse=True)
    for begin, part in enumerate(distinct.split(AT_ONCE // 4)):
        logits = heads.logits(model.model, states.index_select(0, part.to(states.device))).float()
        here = row_of.div(AT_ONCE // 4, rounding_mode="floor") == begin
        row, token = (row_of[here] % (AT_ONCE // 4)).to(states.device), tokens[here].to(states.device)
        log_p[here] = (logits[row, token] - logits.logsumexp(-1)[row]).cpu()
        greedy[here] = (logits.argmax(-1)[row] == token).cpu()
    return log_p, greedy


def encode(model: LanguageModel, x: dict[str, Tensor], cache: DynamicCache | None) -> Tensor:
    """What `heads.encode` finds first, (B, T, H) or (B, T, V); what is read is added to `cache`."""
    x = {name: values.to(model.model.device) for name, values in x.items()}
    past = {} if cache is None else {"past_key_values": cache}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of 5.24: the argument is called `cache` from 5.40 on
        found: Tensor = heads.encode(model.model, x, **past)[0]
    return found


@lru_cache(maxsize=1)
@torch.inference_mode()
def shares_prefixes(model: LanguageModel) -> bool:
    """Whether a shared prefix, read once, gives the scores that options have alone: tried on a few tokens."""
    length = SHORTEST + 8
    if model.most_tokens < length:
        return False
    ids = [number % model.model.config.vocab_size for number in range(length)]
    question = [Window(ids, SHORTEST + 2), Window([*ids[: SHORTEST + 3], *ids[4:8]], SHORTEST + 2)]
    (alone,) = zip(*(read_batch(model, [pack([window], 0)], False, None)[0] for window in question), strict=True)
    try:
        cache = read_prefix(model, ids[:SHORTEST])
        (shared,) = read_batch(model, [pack(question, SHORTEST)], True, cache)
    except Exception:  # architectures refuse a mask of four dimensions, or a cache, in ways of their own
        return False
    return all(abs(one.log_p - two.log_p) < 1e-3 * abs(one.log_p) for one, two in zip(alone, shared, strict=True))
