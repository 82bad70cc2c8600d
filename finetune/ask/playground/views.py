"""What can a model be asked on the page, and how is its answer shown?  One view for each ability.

A view's `ask` takes a model and what was written, and gives HTML: several times where the answer grows. Errors are
ValueErrors in words for the person at the page.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from transformers import LogitsProcessorList, TemperatureLogitsWarper, TopPLogitsWarper

from finetune.ask.playground import neighbours
from finetune.ask.playground.boxes import Box, Drop, Number, Stage, Text
from finetune.ask.playground.markup import bars, highlight, with_title
from finetune.ask.playground.models import LoadedModel
from finetune.ask.playground.pictures import color, find_near_pictures, guess_place
from finetune.questions import KINDS
from finetune.questions.question import Question


@dataclass(frozen=True)
class View:
    """One kind of question: its tab's title, what is asked of the person, and of the model."""

    title: str
    fields: tuple[Box, ...]
    ask: Callable[..., Iterator[str]]


# Masked and causal language models


@torch.inference_mode()
def fill_mask(loaded: LoadedModel, text: str, best: float) -> Iterator[str]:
    """The likeliest tokens for each mask of a text."""
    x = loaded.encode(text)
    shares = predict_logits(loaded, x)[loaded.find_gaps(x["input_ids"][0])].softmax(-1).topk(int(best))  # (M, best)
    yield "".join(
        with_title(f"Gap {number}", bars(list(zip(loaded.tokens(ids), values, strict=True))))
        for number, (ids, values) in enumerate(zip(shares.indices.tolist(), shares.values.tolist(), strict=True), 1)
    )


@torch.inference_mode()
def judge_next_sentence(loaded: LoadedModel, first: str, second: str) -> Iterator[str]:
    """How likely the second text is the first one's continuation (Devlin et al. 2019, task #2: label 0)."""
    found = loaded.model(**loaded.encode(first, second))
    logits = found.seq_relationship_logits if "seq_relationship_logits" in found else found.logits
    follows, random = logits[0].softmax(-1).tolist()
    yield bars([("B follows A", follows), ("B is from elsewhere", random)])


@torch.inference_mode()
def continue_text(
    loaded: LoadedModel, text: str, temperature: float, top_p: float, most: float, seed: float
) -> Iterator[str]:
    """The text with what the model generates, longer by a token each time, until it ends the document.

    Temperature 0 takes the likeliest token; else it is drawn from the `top_p` nucleus (Holtzman et al. 2020).
    """
    chance = torch.Generator().manual_seed(int(seed))
    for ids in generate(loaded, text, temperature, top_p, int(most), chance):
        yield highlight(str(loaded.tokenizer.decode(ids, skip_special_tokens=True)))


def generate(
    loaded: LoadedModel, text: str, temperature: float, top_p: float, most: int, chance: torch.Generator
) -> Iterator[list[int]]:
    """The tokens of a text and of its continuation, one more each time, as many as the model has positions for."""
    start = [loaded.tokenizer.eos_token_id] if loaded.tokenizer.eos_token_id is not None else []  # between documents
    ids = start + loaded.encode(text)["input_ids"][0].tolist()
    warp = LogitsProcessorList([TopPLogitsWarper(top_p)])
    if temperature > 0:
        warp.insert(0, TemperatureLogitsWarper(temperature))
    for _ in range(min(most, loaded.most_tokens - len(ids))):
        given: Any = torch.tensor([ids], device=loaded.model.device)
        logits = warp(given, loaded.model(input_ids=given, use_cache=False).logits[:, -1].float())[0].cpu()
        drawn = logits.argmax() if temperature == 0 else logits.softmax(-1).multinomial(1, generator=chance)
        if int(drawn) == loaded.tokenizer.eos_token_id:
            return
        ids = [*ids, int(drawn)]
        yield ids


def predict_logits(loaded: LoadedModel, x: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """What the model says of each place's token: logits (T, V)."""
    found = loaded.model(**x)
    return (found.prediction_logits if "prediction_logits" in found else found.logits)[0].float()


# Fine-tuned models


def view_of(question: Question) -> View:
    """What a fine-tuned model is asked, and its answer, beside which stands how much of it was cut off."""

    def ask(loaded: LoadedModel, *values: str) -> Iterator[str]:
        assert loaded.task is not None
        answer = loaded.answer(question.read_boxes(loaded.task, values))
        cut = answer.get("tokens_cut", 0)
        note = f"<p>This is {cut} tokens longer than the model reads: they were cut off.</p>" if cut else ""
        yield question.show(answer) + note

    return View(question.page_title, question.page_boxes, ask)


VIEWS: dict[str, View] = {
    "fill": View(
        "Fill mask",
        (Text("Text with gaps", "The capital of France is [MASK]."), Number("Guesses for each gap", 5, 1, 20, 1)),
        fill_mask,
    ),
    "follow": View(
        "Next sentence",
        (Text("A", "The old man went down to the sea."), Text("B", "He sat in his boat and waited for the fish.")),
        judge_next_sentence,
    ),
    "continue": View(
        "Continue",
        (
            Text("Beginning", "The history of the city begins with"),
            Number("Temperature (0: the likeliest token)", 0.8, 0, 2, 0.05),
            Number("Top-p", 0.95, 0.05, 1, 0.05),
            Number("Tokens at most", 60, 1, 400, 1),
            Number("Seed", 0, 0, 999, 1),
        ),
        continue_text,
    ),
    "neighbours": View("Neighbours", (neighbours.WORD, neighbours.COUNT), neighbours.find_near_words),
    "occurrences": View("Occurrences", (neighbours.SENTENCES,), neighbours.compare_occurrences),
    "color": View(
        "Colour",
        (Drop("Picture"), Number("Temperature (1: the mean of what may be, 0: the likeliest)", 0.38, 0, 1, 0.01)),
        color,
    ),
    "place": View(
        "Guess the place",
        (Drop("Picture"), Number("Patch around the middle, row by row", 1, 1, 8, 1)),
        guess_place,
    ),
    "near": View("Nearest pictures", (Drop("Picture"), Stage("Stage of the network")), find_near_pictures),
    **{question.name: view_of(question) for question in KINDS},
}
