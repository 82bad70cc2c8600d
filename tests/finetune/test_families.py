"""Does any encoder or decoder of transformers get a head, learn with all its weights, and answer a row as if alone?"""

import json

import numpy as np
import pytest
import torch
from datasets import Dataset
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModel

from engine.run.architecture import count_positions
from finetune.ask.predict_split import encode
from finetune.batches import make_batch, pad_examples
from finetune.decoder import add_frame
from finetune.model import open_model
from finetune.run import main
from finetune.tasks.task import find_task
from tests.shards import SHARDS
from tokenizer.load import load_tokenizer

POSITIONS = 40
USUAL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
GPT = {"n_embd": 32, "n_layer": 2, "n_head": 4}
FAMILIES = {
    "bert": USUAL,
    "roberta": USUAL,
    "distilbert": {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64},
    "electra": {**USUAL, "embedding_size": 16},
    "albert": {**USUAL, "embedding_size": 16},
    "deberta-v2": {**USUAL, "relative_attention": True, "pos_att_type": ["p2c", "c2p"]},
    "mpnet": USUAL,
    "modernbert": USUAL,
    "openai-gpt": GPT,
    "gpt2": GPT,
    "opt": {**USUAL, "ffn_dim": 64, "word_embed_proj_dim": 32},
    "llama": {**USUAL, "num_key_value_heads": 2},
}
ROWS = {
    "glue/rte": {"sentence1": ["the cat sat on", "a dog"], "sentence2": ["it ran", "old"], "label": [0, 1]},
    "conll2003": {"words": [["the", "cat", "ran"], ["anna"]], "label": [[0, 1, 0], [2]]},
    "squad/v1.1": {
        "question": ["where is the cat ?", "where"],
        "context": ["the cat sat in paris . " * 8, "rome is old"],
        "answers": [{"text": ["paris"], "answer_start": [15]}, {"text": ["rome"], "answer_start": [0]}],
    },
}
WITHOUT = {("opt", "conll2003"), ("openai-gpt", "conll2003"), ("openai-gpt", "squad/v1.1")}  # no class in transformers
HEAD = ("classifier", "score", "qa_outputs", "pooler", "pre_classifier", "head.", "the embeddings of")


@pytest.fixture(scope="module", params=FAMILIES)
def pretrained(request, small_model, tmp_path_factory):
    family, tokenizer = request.param, load_tokenizer(small_model)
    folder = tmp_path_factory.mktemp(family)
    positions = "n_positions" if "n_embd" in FAMILIES[family] else "max_position_embeddings"
    config = AutoConfig.for_model(
        family, **FAMILIES[family], vocab_size=len(tokenizer), pad_token_id=tokenizer.pad_token_id,
        **{positions: POSITIONS},
    )  # fmt: skip
    torch.manual_seed(0)
    AutoModel.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return family, str(folder)


@pytest.fixture
def loaded(pretrained):
    def load(name):
        family, folder = pretrained
        if (family, name) in WITHOUT:
            pytest.skip(f"transformers has no class for {name} on {family}")
        task, tokenizer = find_task(name), add_frame(load_tokenizer(folder))
        return task, tokenizer, *open_model(folder, task.question, task, tokenizer, {}, False)

    return load


def examples_of(task, columns, index, pad):
    index = np.array(index)
    x = pad_examples(columns, index, pad, longest=max(len(columns["input_ids"][row]) for row in index))
    y = task.question.target(columns, index.tolist(), x["input_ids"].shape[-1])
    return make_batch(x, y, task.question.counts(x, y))


@pytest.mark.parametrize("name", ROWS)
def test_a_head_is_all_that_is_new_and_everything_learns(loaded, name):
    task, tokenizer, model, random = loaded(name)
    assert all(any(part in weight for part in HEAD) for weight in random), random
    rows = Dataset.from_dict({"id": ["0", "1"], **ROWS[name]})
    columns = encode(task, rows, tokenizer, min(32, count_positions(model))).columns
    head, batch = task.question, examples_of(task, columns, range(len(columns["input_ids"])), tokenizer.pad_token_id)
    head.loss(model, batch)["loss"].backward()
    assert [weight for weight, value in model.named_parameters() if value.grad is None] == []


def test_a_row_in_company_is_answered_as_alone(loaded):
    task, tokenizer, model, _ = loaded("glue/rte")
    rows = Dataset.from_dict({"id": ["0", "1"], **ROWS["glue/rte"]})
    columns, pad = encode(task, rows, tokenizer, 32).columns, tokenizer.pad_token_id
    model.eval()
    with torch.inference_mode():
        together = task.question.predict(model, examples_of(task, columns, [0, 1], pad))
        alone = [task.question.predict(model, examples_of(task, columns, [row], pad))[0] for row in (0, 1)]
    np.testing.assert_allclose(np.array(together), np.array(alone), atol=1e-5)


def test_the_longest_input_fits_the_positions(loaded, pretrained):
    """RoBERTa and its like keep the first positions for padding."""
    _, _, model, _ = loaded("glue/rte")
    longest = count_positions(model)
    assert longest == {"roberta": POSITIONS - 1, "mpnet": POSITIONS - 2}.get(pretrained[0], POSITIONS)
    x = {"input_ids": torch.full((1, longest), 7), "attention_mask": torch.ones(1, longest, dtype=torch.long)}
    with torch.inference_mode():
        assert torch.isfinite(model.eval()(**x).logits).all()


def test_weights_that_no_loss_uses_are_named_by_two_processes_and_spared_in_shards(
    small_model, write_finetune_recipe, launch_together, tmp_path
):
    """BigBird brings its pooler along to where nothing is pooled."""
    tokenizer = load_tokenizer(small_model)
    config = AutoConfig.for_model(
        "big_bird", **USUAL, vocab_size=len(tokenizer), max_position_embeddings=64, attention_type="original_full"
    )
    AutoModel.from_config(config).save_pretrained(tmp_path / "bird")
    tokenizer.save_pretrained(tmp_path / "bird")
    write_finetune_recipe(tmp_path, model=str(tmp_path / "bird"), task=["conll2003"], plan={"num_train_epochs": 1})
    for ended in launch_together(main, tmp_path, "recipe.yaml"):
        assert ended.status == 2, ended.said
        assert "2 of the model's parameters, such as bert.pooler.weight" in ended.said
    for ended in launch_together(main, tmp_path, "recipe.yaml", "--name", "shards", **SHARDS):
        assert ended.status == 0, ended.said
    (line,) = map(json.loads, (tmp_path / "runs/shards/results.jsonl").read_text().splitlines())
    assert line["processes"] == 2
    before, after = (load_file(tmp_path / f / "model.safetensors") for f in
                     ("bird", "runs/shards/conll2003/seed-0/model"))  # fmt: skip
    assert torch.equal(before["pooler.weight"], after["bert.pooler.weight"])
    learnt = "encoder.layer.1.output.dense.weight"
    assert not torch.equal(before[learnt], after[f"bert.{learnt}"])
