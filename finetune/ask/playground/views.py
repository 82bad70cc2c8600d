"""What can a model be asked on the page, and how is its answer shown?  One view for each ability.

A view's `ask` takes a model and what was written, and gives HTML: several times where the answer grows. Errors are
ValueErrors in words for the person at the page.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from transformers import (
    LogitsProcessorList,
    TemperatureLogitsWarper,
    TopPLogitsWarper,
)

from finetune.ask.playground.guests import Guest
from finetune.ask.playground.markup import bars, percent, running, table, titled

BEST_ANSWERS = 10  # that are listed


@dataclass(frozen=True)
class Text:
    """A text that a person writes."""

    label: str
    value: str
    lines: int = 2
    for_pairs: bool = False  # shown where a model may read pairs, filled where one does


@dataclass(frozen=True)
class Number:
    """A number that a person slides."""

    label: str
    value: float
    low: float
    high: float
    step: float


@dataclass(frozen=True)
class View:
    """One kind of question: its tab's title, what is asked of the person, and of the model."""

    title: str
    fields: tuple[Text | Number, ...]
    ask: Callable[..., Iterator[str]]


# Masked and causal language models


@torch.inference_mode()
def fill(guest: Guest, text: str, best: float) -> Iterator[str]:
    """The likeliest tokens for each mask of a text."""
    x = guest.encoded(text)
    shares = guess(guest, x)[guest.gaps(x["input_ids"][0])].softmax(-1).topk(int(best))  # (M, best)
    yield "".join(
        titled(f"Gap {number}", bars(list(zip(guest.tokens(ids), values, strict=True))))
        for number, (ids, values) in enumerate(zip(shares.indices.tolist(), shares.values.tolist(), strict=True), 1)
    )


@torch.inference_mode()
def follow(guest: Guest, first: str, second: str) -> Iterator[str]:
    """How likely the second text is the first one's continuation (Devlin et al. 2019, task #2: label 0)."""
    found = guest.model(**guest.encoded(first, second))
    logits = found.seq_relationship_logits if "seq_relationship_logits" in found else found.logits
    follows, stranger = logits[0].softmax(-1).tolist()
    yield bars([("B follows A", follows), ("B is from elsewhere", stranger)])


@torch.inference_mode()
def go_on(guest: Guest, text: str, temperature: float, top_p: float, most: float, seed: float) -> Iterator[str]:
    """The text with what the model makes up, longer by a token each time, until it ends the document.

    Temperature 0 takes the likeliest token; else it is drawn from the `top_p` nucleus (Holtzman et al. 2020).
    """
    chance = torch.Generator().manual_seed(int(seed))
    for ids in made_up(guest, text, temperature, top_p, int(most), chance):
        yield running(str(guest.tokenizer.decode(ids, skip_special_tokens=True)))


def made_up(
    guest: Guest, text: str, temperature: float, top_p: float, most: int, chance: torch.Generator
) -> Iterator[list[int]]:
    """The tokens of a text and of its continuation, one more each time, as many as the model has positions for."""
    start = [guest.tokenizer.eos_token_id] if guest.tokenizer.eos_token_id is not None else []  # between documents
    ids = start + guest.encoded(text)["input_ids"][0].tolist()
    warp = LogitsProcessorList([TopPLogitsWarper(top_p)])
    if temperature > 0:
        warp.insert(0, TemperatureLogitsWarper(temperature))
    for _ in range(min(most, guest.most_tokens - len(ids))):
        given: Any = torch.tensor([ids], device=guest.model.device)
        logits = warp(given, guest.model(input_ids=given, use_cache=False).logits[:, -1].float())[0].cpu()
        drawn = logits.argmax() if temperature == 0 else logits.softmax(-1).multinomial(1, generator=chance)
        if int(drawn) == guest.tokenizer.eos_token_id:
            return
        ids = [*ids, int(drawn)]
        yield ids


def guess(guest: Guest, x: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """What the model says of each place's token: logits (T, V)."""
    found = guest.model(**x)
    return (found.prediction_logits if "prediction_logits" in found else found.logits)[0].float()


# Fine-tuned models


def classify(guest: Guest, text: str, pair: str) -> Iterator[str]:
    """The label of a text, or of a pair, with the probability of each."""
    told = guest.told(**text_or_pair(guest, text, pair))
    best_first = sorted(told["probabilities"].items(), key=lambda label: -label[1])
    yield bars(best_first) + not_read(told)


def rate(guest: Guest, text: str, pair: str) -> Iterator[str]:
    """The score of a text, or of a pair."""
    told = guest.told(**text_or_pair(guest, text, pair))
    yield table(["score"], [[f"{told['prediction']:.3f}"]]) + not_read(told)


def text_or_pair(guest: Guest, text: str, pair: str) -> dict[str, str]:
    """What a classifier is given: a pair if it was fine-tuned for pairs; where that is not known, if there is one."""
    is_pair = bool(pair.strip()) if guest.reads_pairs is None else guest.reads_pairs
    return {"text": text, "text_pair": pair} if is_pair else {"text": text}


def find(guest: Guest, question: str, context: str) -> Iterator[str]:
    """Where in a context the answer is, and the best other answers."""
    told = guest.told(question=question, context=context)
    found = [(told["start"], told["end"], "")] if told["prediction"] else []
    rows = [[span["text"] or "(no answer)", percent(span["probability"])] for span in told["best"][:BEST_ANSWERS]]
    none = "" if told["prediction"] else "<p>No answer.</p>"
    best = titled("The best answers", table(["answer", "share"], rows))
    yield none + running(context, found) + best + not_read(told)


def entities(guest: Guest, text: str) -> Iterator[str]:
    """A text with its entities marked, and a list of them."""
    told = guest.told(text=text)
    found = told["entities"]
    rows = [[entity["text"], entity["type"], percent(entity["probability"])] for entity in found]
    listed = titled("Entities", table(["text", "type", "probability"], rows)) if rows else "<p>No entity.</p>"
    marked = running(text, [(entity["start"], entity["end"], entity["type"]) for entity in found])
    yield marked + listed + not_read(told)


def choose(guest: Guest, text: str, choices: str) -> Iterator[str]:
    """How likely each choice, a line each, goes on from a text."""
    listed: Any = [line.strip() for line in choices.splitlines() if line.strip()]
    told = guest.told(text=text, choices=listed)
    yield bars(sorted(zip(listed, told["probabilities"], strict=True), key=lambda choice: -choice[1])) + not_read(told)


def not_read(told: Mapping[str, Any]) -> str:
    """A sentence where what was asked is longer than the model reads."""
    cut = told.get("tokens_cut", 0)
    return f"<p>This is {cut} tokens longer than the model reads: they were cut off.</p>" if cut else ""


PAIR = (
    Text("Text", "A man is playing a guitar on the stage."),
    Text("Second text, for pairs", "A man is making music.", for_pairs=True),
)
VIEWS: dict[str, View] = {
    "fill": View(
        "Fill mask",
        (Text("Text with gaps", "The capital of France is [MASK]."), Number("Guesses for each gap", 5, 1, 20, 1)),
        fill,
    ),
    "follow": View(
        "Next sentence",
        (
            Text("A", "The old man went down to the sea."),
            Text("B", "He sat in his boat and waited for the fish."),
        ),
        follow,
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
        go_on,
    ),
    "classification": View(
        "Classify",
        PAIR,
        classify,
    ),
    "regression": View(
        "Score",
        PAIR,
        rate,
    ),
    "span": View(
        "Answer",
        (
            Text("Question", "When was the tower finished?", 1),
            Text(
                "Context",
                "The tower was built by Gustave Eiffel and his company. Work began in 1887, and it was finished in "
                "1889 for the World's Fair in Paris.",
                6,
            ),
        ),
        find,
    ),
    "tagging": View("Entities", (Text("Text", "Angela Merkel met the president of Siemens in Munich."),), entities),
    "choice": View(
        "Choose",
        (
            Text("Beginning", "She opened the umbrella because"),
            Text("Choices, a line each", "it had begun to rain.\nthe sun was too bright to see.\nhe likes cheese.", 4),
        ),
        choose,
    ),
}
