"""Is the network what the folder holds, is only a head ever random, and is damage refused before any training?"""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from finetune.ask.playground.models import load_models
from finetune.model import open_model
from finetune.questions import QUESTIONS
from finetune.tasks.task import find_task
from tokenizer.load import load_tokenizer

RTE, HEAD = find_task("glue/rte"), QUESTIONS["classification"]
NEW_HEAD = ["classifier.bias", "classifier.weight"]


def opened(folder, task=RTE, changes=None, fresh=False):
    return open_model(str(folder), task.question, task, load_tokenizer(folder), changes or {}, fresh)


@pytest.fixture
def folder(small_model, tmp_path):
    return shutil.copytree(small_model, tmp_path / "model")


def edit_weights(folder, edit):
    path = folder / "model.safetensors"
    weights = load_file(path)
    edit(weights)
    save_file(weights, path, metadata={"format": "pt"})


def edit_config(folder, **values):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_the_encoder_is_the_folders_and_the_head_is_new(folder):
    model, random = opened(folder)
    assert random == NEW_HEAD
    held = load_file(folder / "model.safetensors")
    for name, weight in model.state_dict().items():
        assert name in NEW_HEAD or torch.equal(weight, held[name]), name


def test_half_precision_is_widened(folder):
    edit_weights(folder, lambda weights: weights.update({name: w.half() for name, w in weights.items()}))
    edit_config(folder, dtype="float16")
    model, _ = opened(folder)
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}


def test_random_weights_keep_the_architecture(folder):
    model, random = opened(folder, fresh=True)
    held, _ = opened(folder)
    assert random == ["all"]
    assert model.config.to_dict() == held.config.to_dict()
    assert not torch.equal(model.bert.pooler.dense.weight, held.bert.pooler.dense.weight)


def test_a_setting_may_be_changed(folder):
    model, _ = opened(folder, changes={"hidden_dropout_prob": 0.25})
    assert model.bert.embeddings.dropout.p == 0.25


def test_a_head_goes_on_with_its_own_labels_only(folder, tmp_path):
    """SST-2 has two labels as RTE has, but they mean something else."""
    model, _ = opened(folder)
    model.save_pretrained(tmp_path / "rte")
    load_tokenizer(folder).save_pretrained(tmp_path / "rte")
    same, random = opened(tmp_path / "rte")
    assert random == []
    assert torch.equal(same.classifier.weight, model.classifier.weight)
    for task in ("glue/sst2", "glue/mnli", "glue/stsb"):
        other, random = opened(tmp_path / "rte", find_task(task))
        assert random == NEW_HEAD
        assert len(other.classifier.weight) == len(find_task(task).labels or ["score"])
        assert not torch.equal(other.classifier.weight[:1], model.classifier.weight[:1])
        assert torch.equal(other.bert.pooler.dense.weight, model.bert.pooler.dense.weight)


def test_a_lost_weight_of_the_encoder_is_named(folder):
    edit_weights(folder, lambda weights: weights.pop("bert.encoder.layer.1.output.dense.weight"))
    with pytest.raises(
        ValueError, match=r"lacks weights of the encoder, such as bert\.encoder\.layer\.1\.output.*1 in"
    ):
        opened(folder)


def test_a_pooler_may_be_new(folder):
    """Models pretrained without next sentences have none."""
    edit_weights(folder, lambda weights: [weights.pop(f"bert.pooler.dense.{kind}") for kind in ("weight", "bias")])
    _, random = opened(folder)
    assert random == ["bert.pooler.dense.bias", "bert.pooler.dense.weight", *NEW_HEAD]


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"hiden_size": 16}, r"config\.hiden_size: the model in .* has no such setting \(BertConfig\)"),
        ({"hidden_dropout_prob": "high"}, r"config\.hidden_dropout_prob: .*expected float, got str"),
        (
            {"intermediate_size": 48},
            r"weights have not the shape that the config says, such as bert\..*64.* there, .*48",
        ),
    ],
)
def test_a_setting_that_does_not_fit_is_refused(folder, changes, complaint):
    with pytest.raises(ValueError, match=complaint):
        opened(folder, changes=changes)


def test_an_id_beyond_the_embeddings_is_refused_though_the_count_is_right(folder):
    path = folder / "tokenizer.json"
    made = json.loads(path.read_text())
    last = max(made["model"]["vocab"], key=made["model"]["vocab"].get)
    made["model"]["vocab"][last] += 7000
    path.write_text(json.dumps(made))
    wanted = r"the tokenizer's ids go up to \d+, the model has embeddings for \d+ \(0 to \d+\); they do not belong"
    with pytest.raises(ValueError, match=wanted):
        opened(folder)
    with pytest.raises(ValueError, match=wanted):
        load_models([str(folder)])


def test_a_tokenizer_of_another_model_is_refused(folder):
    edit_config(folder, vocab_size=20)
    with pytest.raises(ValueError, match=r"the tokenizer's ids go up to \d+, the model has embeddings for 20"):
        opened(folder)


def test_damaged_weights_are_named(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"model: the weights are damaged"):
        opened(folder)


def test_missing_weights_are_named(folder):
    (folder / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match="no model here that transformers opens"):
        opened(folder)


def test_a_published_encoder_opens(data):
    """all-MiniLM-L6-v2: half precision on disk, names without `bert.`"""
    model, random = opened(data / "checkpoints/all-MiniLM-L6-v2")
    assert random == NEW_HEAD
    assert model.bert.embeddings.word_embeddings.weight.dtype == torch.float32
