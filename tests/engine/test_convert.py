"""Is a converted model the same model still, for whoever opens it?"""

import json

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertConfig,
    BertForPreTraining,
    BertForQuestionAnswering,
    BertForSequenceClassification,
    BertForTokenClassification,
    GPT2Config,
    GPT2LMHeadModel,
    pipeline,
)

from engine.convert import answers_of, convert, main, most_different
from engine.run.saved import opened

SIZES = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64,
    "max_position_embeddings": 40, "initializer_range": 0.5,
}  # fmt: skip
LABELS = {0: "no", 1: "perhaps", 2: "yes"}
CLASSES = {
    "pretrained": BertForPreTraining, "labels": BertForSequenceClassification, "spans": BertForQuestionAnswering,
    "tags": BertForTokenClassification,
}  # fmt: skip


@pytest.fixture(scope="module")
def save(tokenizer_folder, tmp_path_factory):
    """`save(kind)`: the folder of a run with a small model of that kind, its weights large and random."""
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder)

    def saved(kind):
        run = tmp_path_factory.mktemp("runs") / kind
        torch.manual_seed(0)
        if kind == "gpt":
            sizes = {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 40, "initializer_range": 0.3}
            model = GPT2LMHeadModel(GPT2Config(vocab_size=len(tokenizer), **sizes))
        else:
            named = {"id2label": LABELS} if kind in ("labels", "tags") else {}
            model = CLASSES[kind](BertConfig(vocab_size=len(tokenizer), **SIZES, **named))
        model.save_pretrained(run / "model")
        tokenizer.save_pretrained(run / "model")
        (run / "model/README.md").write_text("---\nlicense: mit\n---\n# A card\n")
        return run

    return saved


@pytest.mark.parametrize(("dtype", "stored"), [("fp32", "F32"), ("fp16", "F16"), ("bf16", "BF16")])
def test_safetensors_hold_the_precision_that_was_asked_for(save, launch_program, tmp_path, dtype, stored):
    run = save("labels")
    ended = launch_program(main, tmp_path, str(run), "--to", "safetensors", "--dtype", dtype)
    assert ended.status == 0, ended.said
    folder = run / f"model-{dtype}"
    with safe_open(folder / "model.safetensors", "pt") as weights:
        assert {weights.get_slice(name).get_dtype() for name in weights.keys()} == {stored}  # noqa: SIM118
    text = "rala mo sen ."
    judges = [pipeline("text-classification", str(where), top_k=None) for where in (run / "model", folder)]
    right, found = ({one["label"]: one["score"] for one in judge([text])[0]} for judge in judges)
    assert set(found) == set(LABELS.values())
    assert found == pytest.approx(right, abs={"fp32": 0, "fp16": 0.01, "bf16": 0.1}[dtype])
    assert (folder / "README.md").read_text() == (run / "model/README.md").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["pretrained", "labels", "spans", "tags", "gpt"])
def test_onnx_answers_alike_for_any_batch_and_length(save, launch_program, tmp_path, kind):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    run = save(kind)
    ended = launch_program(main, tmp_path, str(run), "--to", "onnx", "--out", str(tmp_path / "out"))
    assert ended.status == 0, ended.said
    session = onnxruntime.InferenceSession(tmp_path / "out/model.onnx", providers=["CPUExecutionProvider"])
    model = (CLASSES.get(kind) or GPT2LMHeadModel).from_pretrained(run / "model").eval()
    names = [output.name for output in session.get_outputs()]
    for rows, length in ((1, 3), (5, 17), (2, 38)):
        ids = torch.randint(5, model.config.vocab_size, (rows, length))
        x = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        if kind != "gpt":
            x["token_type_ids"] = torch.zeros_like(ids)
        with torch.inference_mode():
            right = model(**x)
        found = session.run(names, {name: values.numpy() for name, values in x.items()})
        for name, answer in zip(names, found, strict=True):
            np.testing.assert_allclose(answer, right[name].numpy(), atol=2e-4, rtol=1e-3)
    assert json.loads((tmp_path / "out/config.json").read_text())["model_type"] == ("gpt2" if kind == "gpt" else "bert")
    assert AutoTokenizer.from_pretrained(tmp_path / "out").tokenize("rala")


def test_a_weight_that_half_precision_cannot_hold_is_refused_and_nothing_is_left(save, tmp_path):
    run = save("labels")
    model = AutoModelForSequenceClassification.from_pretrained(run / "model")
    with torch.no_grad():
        model.classifier.weight[0, 0] = 1e5
    model.save_pretrained(run / "model")
    with pytest.raises(ValueError, match=r"classifier\.weight holds 1e\+05, and fp16 ends at 6\.55e\+04: say bf16"):
        convert(str(run / "model"), tmp_path / "out", "fp16")
    assert not list(tmp_path.iterdir())


def test_a_precision_that_changes_the_answers_is_refused_and_nothing_is_left(save, tmp_path):
    run = save("labels")
    model = AutoModelForSequenceClassification.from_pretrained(run / "model")
    with torch.no_grad():  # bf16 counts by 512 there, and the answers differ by a few
        model.classifier.bias.fill_(100_100)
    model.save_pretrained(run / "model")
    with pytest.raises(ValueError, match="answers otherwise"):
        convert(str(run / "model"), tmp_path / "out", "bf16")
    assert not list(tmp_path.iterdir())


def test_answers_are_compared_by_their_spread():
    right = {"a": np.array([0.0, 2.0], np.float32), "b": np.array([0.0, 200.0], np.float32)}
    found = {"a": np.array([0.0, 2.5], np.float32), "b": np.array([10.0, 200.0], np.float32)}
    assert most_different(found, right) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--to", "onnx", "--dtype", "bf16"), "ONNX is written in fp32 here, not bf16"),
        (("--to", "safetensors", "--out", "."), "is there already"),
    ],
)
def test_mistakes_are_told(save, launch_program, tmp_path, options, said):
    ended = launch_program(main, tmp_path, str(save("labels")), *options)
    assert ended.status == 2
    assert said in ended.said.splitlines()[-1]


def test_a_hub_id_has_no_folder_beside_it(launch_program, tmp_path):
    ended = launch_program(main, tmp_path, "user/name", "--to", "safetensors")
    assert ended.status == 2
    assert "user/name is on the Hub: say with --out" in ended.said.splitlines()[-1]


@pytest.mark.parametrize("kind", ["pretrained", "gpt"])
def test_checkpoints_as_they_were_first_converted_open_and_answer_the_same(save, tmp_path, kind):
    """Google's BERT calls a norm's weights gamma and beta; OpenAI's GPT-2 has no name for the network as a whole."""
    folder = save(kind) / "model"
    right = answers_of(opened(str(folder)))
    old = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta", "transformer.": ""}
    weights = {}
    for name, weight in load_file(folder / "model.safetensors").items():
        for now, before in old.items():
            name = name.replace(now, before)
        weights[name] = weight
    assert not any("LayerNorm.weight" in name or name.startswith("transformer.") for name in weights)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    found = answers_of(opened(str(folder)))
    for name, answer in right.items():
        np.testing.assert_array_equal(found[name], answer)
