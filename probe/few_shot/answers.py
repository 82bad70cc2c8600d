"""What does a model write as its answer?  Greedy or by beam search, up to where the task says that an answer ends."""

import re
from collections.abc import Sequence
from functools import lru_cache

import torch

from probe.few_shot.prompts import encode_context
from probe.language_models import AT_ONCE, LanguageModel

LENGTH_PENALTY = 0.6  # of beam search: Brown et al. 2020, section 2.4
BEHIND = 2  # tokens that may follow an answer as long as the longest: whether it ends there, too


def write_answers(
    model: LanguageModel, contexts: Sequence[str], longest: int, stop: str, beams: int, bos: bool | None
) -> tuple[list[str], int]:
    """The answer behind each context, and how many contexts were cut off on their left.

    `longest` is the number of tokens of the longest right answer. Errors: ValueError where it leaves no context.
    """
    most = longest + BEHIND
    room = model.most_tokens - most
    if room < 1:
        raise ValueError(f"answers have up to {longest} tokens, and {model.name} reads {model.most_tokens}")
    encoded = [encode_context(model, context.rstrip(), bos) for context in contexts]
    order = sorted(range(len(encoded)), key=lambda number: -len(encoded[number]))
    written = [""] * len(encoded)
    while order:
        size = max(1, AT_ONCE // (beams * (min(room, len(encoded[order[0]])) + most)))
        batch, order = order[:size], order[size:]
        texts = generate(model, [encoded[number][-room:] for number in batch], most, stop, beams)
        for number, text in zip(batch, texts, strict=True):
            written[number] = cut_answer(text, stop)
    return written, sum(len(ids) > room for ids in encoded)


@torch.inference_mode()
def generate(model: LanguageModel, rows: Sequence[list[int]], most: int, stop: str, beams: int) -> list[str]:
    """What follows each row, at most `most` tokens."""
    width = max(map(len, rows))
    ids = torch.tensor([[*[0] * (width - len(row)), *row] for row in rows])  # padded on the left
    seen = torch.tensor([[*[0] * (width - len(row)), *[1] * len(row)] for row in rows])
    ends = ending_tokens(model, stop)
    made = model.model.generate(  # type: ignore[operator]
        ids, attention_mask=seen, max_new_tokens=most, do_sample=False, num_beams=beams, eos_token_id=ends or None,
        pad_token_id=ends[0] if ends else 0, **({"length_penalty": LENGTH_PENALTY} if beams > 1 else {}),
    )  # fmt: skip
    return list(model.tokenizer.batch_decode(made[:, width:], skip_special_tokens=True))


@lru_cache(maxsize=1)
def ending_tokens(model: LanguageModel, stop: str) -> list[int]:
    """The tokens with which an answer ends: those that hold what `stop` finds, and the end of a text."""
    texts = model.tokenizer.batch_decode([[number] for number in range(len(model.tokenizer))])
    ends = model.tokenizer.eos_token_id
    found = [number for number, text in enumerate(texts) if re.search(stop, text.strip(" ")) and number != ends]
    return ([] if ends is None else [ends]) + found


def cut_answer(text: str, stop: str) -> str:
    """The text up to the first match of `stop`, without blanks around it."""
    return re.split(stop, text.lstrip(" "), maxsplit=1)[0].strip()
