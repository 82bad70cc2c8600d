"""What do the tests of fine-tuning share?  A small network, and labelled files in the official layouts.

In the files one word decides, so a small network learns them in a second; the words around it are drawn by chance. The
dev sets have 37 rows, which nothing divides.
"""

import json
import random
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from transformers import BertConfig, BertForPreTraining, GPT2Config, GPT2LMHeadModel

from finetune.run import main
from tokenizer.learn import BytePairs, WordPiece

FILLERS = ["the", "a", "cat", "dog", "sat", "ran", "on", "near", "old", "new", "red", "blue", "it", "was", "is"]
SIZES = {"train": 160, "dev": 37, "dev_matched": 37, "dev_mismatched": 23, "test": 11, "test_matched": 11}
NLI = {"entailment": "so", "neutral": "maybe", "contradiction": "never"}  # label → the word that decides it
ENTAILMENT = {"entailment": "yes", "not_entailment": "no"}
ACCEPTED = {"0": "bad", "1": "good"}
SCORES = {"0.500": "low", "2.500": "middle", "4.500": "high"}
NAMES = {"I-PER": ["anna", "bob"], "I-LOC": ["paris", "rome"], "I-ORG": ["acme"]}
PLACES = ["paris", "rome", "oslo"]  # answers
VOCABULARY = [FILLERS, NLI.values(), ENTAILMENT.values(), ACCEPTED.values(), SCORES.values(), PLACES, *NAMES.values()]
EVERY_WORD = " ".join(word for words in VOCABULARY for word in words) + " in where ? ."


def text(chance: random.Random, *deciding: str) -> list[str]:
    """Three to twelve chance words, and the deciding ones among them in their order."""
    words = chance.choices(FILLERS, k=chance.randint(3, 12))
    place = chance.randint(0, len(words))
    return [*words[:place], *deciding, *words[place:]]


def tsv(path: Path, header: Sequence[str], rows: list[list[str]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [header, *rows] if header else rows
    path.write_text("".join("\t".join(line) + "\n" for line in lines), encoding="utf-8")


def drawn(words: dict[str, str], split: str) -> list[tuple[str, str, str]]:
    """(label, a text of chance words, a text that holds the label's word) for each row of a split."""
    chance = random.Random(split)
    labels = [chance.choice(list(words)) for _ in range(SIZES[split])]
    return [(label, " ".join(text(chance)), " ".join(text(chance, words[label]))) for label in labels]


def write_glue(folder: Path) -> None:
    """A single text, a pair, a score, and a pair with two dev sets and a ward (AX)."""
    for split in ("train", "dev"):
        tsv(folder / f"CoLA/{split}.tsv", (), [["x01", label, "", b] for label, _, b in drawn(ACCEPTED, split)])
    tsv(
        folder / "CoLA/test.tsv", ("index", "sentence"), [[str(n), r[2]] for n, r in enumerate(drawn(ACCEPTED, "test"))]
    )
    for split in ("train", "dev", "test"):
        answer = () if split == "test" else ("label",)
        rows = [[str(n), a, b, label] for n, (label, a, b) in enumerate(drawn(ENTAILMENT, split))]
        head = ("index", "sentence1", "sentence2", *answer)
        tsv(folder / f"RTE/{split}.tsv", head, [row[: len(head)] for row in rows])
        rows = [[str(n), *["none"] * 6, a, b, score] for n, (score, a, b) in enumerate(drawn(SCORES, split))]
        columns = ["genre", "filename", "year", "old_index", "source1", "source2", "sentence1", "sentence2"]
        head = ("index", *columns, *(("score",) if answer else ()))
        tsv(folder / f"STS-B/{split}.tsv", head, [row[: len(head)] for row in rows])
    parses = [f"sentence{which}_{kind}" for kind in ("binary_parse", "parse") for which in "12"]
    told = ("index", "promptID", "pairID", "genre", *parses, "sentence1", "sentence2")
    for split in ("train", "dev_matched", "dev_mismatched", "test_matched"):
        rows = [[str(n), *["n/a"] * 7, a, b, label, label] for n, (label, a, b) in enumerate(drawn(NLI, split))]
        head = told if split == "test_matched" else (*told, "label1", "gold_label")
        tsv(folder / f"MNLI/{split}.tsv", head, [row[: len(head)] for row in rows])
    rows = [[str(n), a, b] for n, (_, a, b) in enumerate(drawn(NLI, "test"))]
    tsv(folder / "AX/diagnostic.tsv", ("index", "sentence1", "sentence2"), rows)


def write_squad(path: Path, split: str) -> None:
    """Where? The one place of the context."""
    chance = random.Random(split)
    paragraphs = []
    for number in range(SIZES[split]):
        answer = chance.choice(PLACES)
        context = " ".join(text(chance, "in", answer)) + "."
        answers = [{"text": answer, "answer_start": context.index(answer)}]
        asked = {"id": f"{split}-{number}", "question": f"where is the {chance.choice(FILLERS)}?", "answers": answers}
        paragraphs.append({"context": context, "qas": [asked]})
    layout = {"version": "1.1", "data": [{"title": "places", "paragraphs": paragraphs}]}
    path.write_text(json.dumps(layout), encoding="utf-8")


def write_conll(path: Path, split: str) -> None:
    """Words whose entity tag is theirs alone, written IOB1."""
    chance = random.Random(split)
    lines = ["-DOCSTART- -X- O O", ""]
    for _ in range(SIZES[split]):
        tag, names = chance.choice(list(NAMES.items()))
        name = chance.choice(names)
        lines += [f"{word} NN I-NP {tag if word == name else 'O'}" for word in text(chance, name)] + [""]
    path.write_text("\n".join(lines), encoding="utf-8")


@pytest.fixture(scope="session")
def labelled(tmp_path_factory) -> Path:
    """One folder with all the files."""
    folder = tmp_path_factory.mktemp("labelled")
    write_glue(folder)
    for split in ("train", "dev"):
        write_squad(folder / f"{split}-v1.1.json", split)
    for split, name in (("train", "eng.train"), ("dev", "eng.testa"), ("test", "eng.testb")):
        write_conll(folder / name, split)
    return folder


@pytest.fixture(scope="session")
def small_model(tmp_path_factory) -> Path:
    """A BERT of two layers of 32 whose tokens are the words of the files; its weights are large random ones."""
    folder = tmp_path_factory.mktemp("small") / "model"
    tokenizer = WordPiece(name="wordpiece", vocab_size=500).learn(iter([[EVERY_WORD] * 2]), Counter(EVERY_WORD), 64)
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=64, initializer_range=0.1,
    )  # fmt: skip
    BertForPreTraining(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def small_gpt(tmp_path_factory) -> Path:
    """A GPT-2 of the same size."""
    folder = tmp_path_factory.mktemp("small") / "gpt"
    tokenizer = BytePairs(name="byte-bpe", vocab_size=500).learn(iter([[EVERY_WORD] * 2]), Counter(EVERY_WORD), 64)
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    end = tokenizer.eos_token_id
    config = GPT2Config(
        vocab_size=len(tokenizer), n_embd=32, n_layer=2, n_head=2, n_positions=64, initializer_range=0.1,
        bos_token_id=end, eos_token_id=end,
    )  # fmt: skip
    GPT2LMHeadModel(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def write_finetune_recipe(labelled, small_model) -> Callable[..., Path]:
    """Write `recipe.yaml` into a folder: RTE's files, ten passes; `changes` replace keys, or keys of sections."""

    def write(folder: Path, **changes: Any) -> Path:
        recipe: dict[str, Any] = {
            "name": "small",
            "model": str(small_model),
            "task": ["glue/rte"],
            "data": {"source": "folder", "path": str(labelled)},
            "max_seq_length": 48,
            "optimizer": {"learning_rate": 5e-3},
            "schedule": {"warmup_ratio": 0.1},
            "plan": {
                "num_train_epochs": 10,
                "global_batch_size": 16,
                "per_device_train_batch_size": 8,
                "logging_steps": 2,
            },
            "label": "tiny",
        }
        for section, values in changes.items():
            recipe[section] = {**recipe.get(section, {}), **values} if isinstance(values, dict) else values
        path = folder / "recipe.yaml"
        path.write_text(yaml.safe_dump(recipe))
        return path

    return write


@pytest.fixture(scope="session")
def launch(launch_program) -> Callable[..., Any]:
    """`launch(folder, *argv)` runs finetune.run."""
    return partial(launch_program, main)
