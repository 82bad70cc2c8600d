"""Is a model's folder that is not whole reported in one line, and are pickled weights never opened?"""

import json
import pickle
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import GPT2Config, GPT2LMHeadModel

from engine.convert import main as convert
from engine.run.saved import opened
from finetune.ask.playground.__main__ import main as playground
from finetune.ask.predict import main as predict
from tests.finetune.conftest import small_model  # noqa: F401, a fixture


class Planted:
    def __reduce__(self):
        return (open, ("RAN", "w"))


def pickled(folder):
    weights = load_file(folder / "model.safetensors")
    torch.save(weights, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def planted(folder):
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Planted()))


def another(folder):
    GPT2LMHeadModel(GPT2Config(n_embd=32, n_layer=1, n_head=2, vocab_size=50)).save_pretrained(folder / "other")
    shutil.copy(folder / "other/model.safetensors", folder / "model.safetensors")


def headless(folder):
    weights = load_file(folder / "model.safetensors")
    kept = {name: weight for name, weight in weights.items() if "seq_relationship" not in name}
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})


def cut(name):
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:-60])


def without(*names):
    return lambda folder: [(folder / name).unlink(missing_ok=True) for name in names]


def said(name, text):
    return lambda folder: (folder / name).write_text(text)


DAMAGE = {
    "pickled": (pickled, "pickled, such as pytorch_model.bin, are never opened"),
    "planted": (planted, "pickled, such as pytorch_model.bin, are never opened"),
    "no weights": (without("model.safetensors"), "no model here that transformers opens"),
    "half the weights": (cut("model.safetensors"), "the weights are damaged"),
    "another's weights": (another, "weights are missing or have another shape"),
    "no head": (headless, "2 of its weights are missing or have another shape"),
    "half the config": (cut("config.json"), "config.json"),
    "a list for a config": (said("config.json", "[]"), "config.json"),
    "no kind": (said("config.json", "{}"), "config.json"),
    "a class that is none": (said("config.json", json.dumps({"model_type": "bert", "architectures": ["pipeline"]})),
                             "names the architecture 'pipeline', which transformers has not"),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGE)
def test_one_line_says_what_is_wrong(small_model, tmp_path, monkeypatch, damage):  # noqa: F811
    monkeypatch.chdir(tmp_path)
    folder = shutil.copytree(small_model, tmp_path / "model")
    change, expected = DAMAGE[damage]
    change(folder)
    with pytest.raises((ValueError, FileNotFoundError), match="model") as raised:
        opened(str(folder))
    assert expected in str(raised.value)
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "RAN").exists()


@pytest.mark.parametrize("program", [predict, playground, convert])
@pytest.mark.parametrize(
    "change",
    [
        pickled,
        pytest.param(without("config.json"), marks=pytest.mark.slow),
        pytest.param(cut("config.json"), marks=pytest.mark.slow),
        without("tokenizer.json", "tokenizer_config.json"),
    ],
)
def test_every_program_ends_with_one_line(small_model, tmp_path, launch_program, program, change):  # noqa: F811
    folder = shutil.copytree(small_model, tmp_path / "model")
    (tmp_path / "in.txt").write_text("the cat\n")
    change(folder)
    more = {predict: ("in.txt",), playground: (), convert: ("--to", "safetensors")}[program]
    ended = launch_program(program, tmp_path, str(folder), *more)
    assert ended.status == 2, ended.said
    assert ended.said.splitlines()[-1].startswith("error: ")
    assert ended.said.count("error: ") == 1
