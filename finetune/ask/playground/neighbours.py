"""What is near to a word?  Other words, of word vectors; other occurrences, of any model that reads text, by layer."""

from collections.abc import Iterator

import torch

from finetune.ask.playground.boxes import Number, Text
from finetune.ask.playground.markup import table, with_title
from finetune.ask.playground.models import LoadedModel
from networks.occurrences import BANK, LECTURE, Occurrence, cosines, read_marked, read_occurrences
from networks.states import NOTES, StateReader
from networks.word_vectors import WordVectors, nearest

EXAMPLES = "\n".join([LECTURE, *(text for texts in BANK.values() for text in texts[1:5])])
SENTENCES = Text("Sentences, a line each, with the word between asterisks; the first line is asked", EXAMPLES, 9)
WORD, COUNT = Text("Word", "bank", 1), Number("Neighbours", 10, 1, 50, 1)
AROUND = 30  # characters that are shown on each side


@torch.inference_mode()
def find_near_words(loaded: LoadedModel, word: str, count: float) -> Iterator[str]:
    """The words whose vectors are nearest to that of a word, with their cosines. Errors: ValueError."""
    assert isinstance(loaded.model, WordVectors)
    ids, special = loaded.encode(word)["input_ids"][0].tolist(), loaded.tokenizer.all_special_ids
    if len(ids) != 1 or ids[0] in special:
        raise ValueError(f"{word.strip()!r} is none of the {len(loaded.tokenizer):,} words of {loaded.name}")
    vectors = loaded.model.vectors()
    others = torch.tensor([number for number in range(len(vectors)) if number not in {*special, ids[0]}])
    values, near = nearest(vectors[others.to(vectors.device)], vectors[ids], int(count))
    yield table(
        ["word", "cosine"],
        [
            [name, f"{value:.3f}"]
            for name, value in zip(loaded.tokens(others[near[0].cpu()].tolist()), values[0].tolist(), strict=True)
        ],
    )


def compare_occurrences(loaded: LoadedModel, sentences: str) -> Iterator[str]:
    """How near the marked words of the first line are to all others, layer by layer, the nearest at the last layer
    first. Errors: ValueError."""
    lines = [read_marked(line) for line in sentences.splitlines() if line.strip()]
    found = [one for line in lines for one in line]
    if len(found) < 2 or not lines[0]:
        raise ValueError("Write a sentence in each line, with the word between asterisks: the *bank* of the river")
    reader = StateReader(loaded.model, loaded.tokenizer, loaded.most_tokens)
    layers, known = read_occurrences(reader, found)
    if False in known:
        strange = found[known.index(False)]
        raise ValueError(f"{loaded.name} does not know {strange.word!r}, or it stands behind what the model reads")
    near = [cosines(layer[: len(lines[0])], layer).tolist() for layer in layers]  # by layer, asked, other
    head = ["", *(["embeddings", *map(str, range(1, len(layers)))] if len(layers) > 1 else ["cosine"])]
    answer = f"<p>{NOTES[reader.context]}</p>" if NOTES[reader.context] else ""
    for asked, one in enumerate(lines[0]):
        others = sorted(set(range(len(found))) - {asked}, key=lambda other: -near[-1][asked][other])
        rows = [[show(found[other]), *(f"{layer[asked][other]:.3f}" for layer in near)] for other in others]
        answer += with_title(f"{show(one)}: cosine by layer", table(head, rows))
    yield answer


def show(one: Occurrence) -> str:
    """The word between asterisks, with some text on both sides."""
    before, behind = one.text[: one.start], one.text[one.end :]
    first = f"…{before[-AROUND:]}" if len(before) > AROUND else before
    return f"{first}*{one.word}*{behind[:AROUND]}{'…' * (len(behind) > AROUND)}"
