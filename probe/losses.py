"""What does each token of a text cost a language model?  Windows, what is judged in them, and the figures."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from networks.padding import make_batches, sees_padding
from probe.language_models import AT_ONCE, LanguageModel

PARTS = 8  # of a window, whose losses are told apart


@dataclass(frozen=True)
class Window:
    """Tokens that are read at once; those from `first` on are judged."""

    ids: list[int]
    first: int


def judge_causal(
    asked: LanguageModel, texts: Sequence[str], window: int, stride: int, by_place: bool = False
) -> dict[str, Any]:
    """Loss, perplexity and bits per byte over all texts."""
    encoded = [asked.encode(text) for text in texts]
    windows = [part for ids in encoded for part in cut([*asked.start, *ids], window, stride)]
    losses, tokens, places = [], [], []
    for batch in chunks(windows, max(1, AT_ONCE // window)):
        x = padded([part.ids for part in batch])
        rows = [(row, place) for row, part in enumerate(batch) for place in range(part.first, len(part.ids))]
        row, place = torch.tensor(rows).unbind(1)
        answers = x[row, place]
        losses.append(asked.losses({"input_ids": x}, row * x.shape[1] + place - 1, answers))
        tokens.append(answers)
        places.append(place)
    loss, answers, place = torch.cat(losses), torch.cat(tokens), torch.cat(places)
    size = sum(len(text.encode()) for text in texts)
    found = {
        "kind": "causal", "window": window, "stride": min(stride, window - 1),
        **figures(loss), "bits_per_byte": bits(loss.double().sum().item(), size),
        "unigram_loss": round(unigram(answers), 4),
        "unigram_bits_per_byte": bits(unigram(answers) * len(answers), size),
    }  # fmt: skip
    return found | ({"by_place": loss_by_place(loss, place, window)} if by_place else {})


def judge_masked(
    asked: LanguageModel, texts: Sequence[str], window: int, rate: float, pseudo_tokens: int, seed: int
) -> dict[str, Any]:
    """The masked-LM loss, with `rate` of the tokens hidden as in training; and the pseudo-perplexity, of tokens that
    are hidden each alone."""
    words = asked.vocabulary
    words.require(("pad", "cls", "sep", "mask"))
    size = window - 2
    parts = [ids[begin : begin + size] for ids in map(asked.encode, texts) for begin in range(0, len(ids), size)]
    framed = [[words.cls, *part, words.sep] for part in parts]
    chance = torch.Generator().manual_seed(seed)
    losses, tokens = [], []
    for ids in framed:
        maskable = len(ids) - 2
        hidden = 1 + torch.randperm(maskable, generator=chance)[: max(1, round(rate * maskable))]
        fate = torch.rand(len(hidden), generator=chance)
        other = torch.from_numpy(words.ordinary)[torch.randint(len(words.ordinary), (len(hidden),), generator=chance)]
        x, answers = torch.tensor([ids]), torch.tensor(ids)[hidden]
        x[0, hidden] = torch.where(fate < 0.8, words.mask, torch.where(fate < 0.9, other, answers))
        losses.append(asked.losses(inputs(x, words.pad), hidden, answers))
        tokens.append(answers)
    loss, answers = torch.cat(losses), torch.cat(tokens)
    found = {"kind": "masked", "window": window, **figures(loss), "unigram_loss": round(unigram(answers), 4)}
    if pseudo_tokens:
        alone = judge_alone(asked, framed, pseudo_tokens, chance)
        mean = alone.double().mean().item()
        found |= {
            "pseudo_tokens": len(alone),
            "pseudo_loss": round(mean, 4),
            "pseudo_perplexity": round(math.exp(mean), 2),
        }
    return found


def judge_alone(asked: LanguageModel, framed: list[list[int]], most: int, chance: torch.Generator) -> Tensor:
    """-log p of tokens that are hidden one at a time: all of them, or as many as `most`, drawn at random."""
    every = [(number, place) for number, ids in enumerate(framed) for place in range(1, len(ids) - 1)]
    drawn = torch.randperm(len(every), generator=chance)[:most].sort().values.tolist()
    return judge_places(asked, framed, [every[one] for one in drawn])


def judge_places(asked: LanguageModel, framed: Sequence[list[int]], places: Sequence[tuple[int, int]]) -> Tensor:
    """-log p (M,) of the tokens at `places`, M pairs (row, place in it), each of which is hidden alone."""
    words = asked.vocabulary
    losses = torch.empty(len(places))
    lengths = [len(framed[row]) for row, _ in places]
    for batch in make_batches(lengths, 2 * AT_ONCE, padded=not sees_padding(asked.model)):
        x = padded([framed[places[number][0]] for number in batch], words.pad)
        place = torch.tensor([places[number][1] for number in batch])
        row = torch.arange(len(batch))
        answers = x[row, place]
        x[row, place] = words.mask
        losses[torch.tensor(batch)] = asked.losses(inputs(x, words.pad), row * x.shape[1] + place, answers)
    return losses


def cut(ids: list[int], window: int, stride: int) -> Iterator[Window]:
    """Windows that move on by `stride`: each token but the first is judged once, in the first window that holds it."""
    begin, judged = 0, 1
    while judged < len(ids):
        end = min(begin + window, len(ids))
        yield Window(ids[begin:end], judged - begin)
        judged = end
        begin = end - max(1, window - stride)  # a token is judged behind one at least


def chunks(items: list[Any], size: int) -> Iterator[list[Any]]:
    for begin in range(0, len(items), size):
        yield items[begin : begin + size]


def padded(rows: list[list[int]], pad: int = 0) -> Tensor:
    """Rows of ids in one table (B, T), padded on the right, which a causal LM does not look at."""
    width = max(map(len, rows))
    return torch.tensor([[*row, *[pad] * (width - len(row))] for row in rows])


def inputs(ids: Tensor, pad: int) -> dict[str, Tensor]:
    """What a masked LM reads, of ids (B, T)."""
    return {"input_ids": ids, "attention_mask": (ids != pad).long(), "token_type_ids": torch.zeros_like(ids)}


def figures(loss: Tensor) -> dict[str, Any]:
    mean = loss.double().mean().item()
    return {"tokens": len(loss), "loss": round(mean, 4), "perplexity": round(math.exp(mean), 2)}


def bits(nats: float, size: int) -> float:
    """Bits per byte of a text of `size` bytes."""
    return round(nats / math.log(2) / size, 4)


def unigram(answers: Tensor) -> float:
    """The entropy in nats of the distribution of `answers` (M,): the least loss of a guesser that sees no text."""
    share = torch.bincount(answers).double() / len(answers)
    return abs(torch.special.xlogy(share, share).sum().item())


def loss_by_place(loss: Tensor, place: Tensor, window: int) -> dict[str, float]:
    """Mean losses of equal parts of a window, by their last place."""
    ends = [round(window * part / PARTS) for part in range(1, PARTS + 1)]
    part = torch.bucketize(place, torch.tensor(ends))
    sums, counts = (torch.zeros(PARTS, dtype=torch.float64) for _ in range(2))
    sums.index_add_(0, part, loss.double())
    counts.index_add_(0, part, torch.ones_like(loss, dtype=torch.float64))
    return {
        str(end): round(mean, 4)
        for end, mean, count in zip(ends, (sums / counts).tolist(), counts, strict=True)
        if count
    }
