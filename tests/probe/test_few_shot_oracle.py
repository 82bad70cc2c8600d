"""Does our scorer agree with lm-evaluation-harness, row by row?  PIQA and ARC-easy, with its own prompts."""

import json
from collections import Counter

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from probe.few_shot.evaluation import Way, few_shot
from probe.few_shot.task import open_task
from probe.language_models import open_language_model
from tokenizer.learn import BytePairs

pytest.importorskip("lm_eval", reason="lm-evaluation-harness is not installed: pip install -r requirements-oracles.txt")
ROWS = 120
FILES = {"piqa": "fewshot/piqa/valid.jsonl", "arc_easy": "fewshot/arc_easy/dev.jsonl"}
THEIRS = {
    "piqa": {
        "doc_to_text": "Question: {{goal}}\nAnswer:",
        "doc_to_choice": "{{[sol1, sol2]}}",
        "doc_to_target": "label",
    },
    "arc_easy": {
        "doc_to_text": "Question: {{question.stem}}\nAnswer:",
        "doc_to_choice": "{{question.choices|map(attribute='text')|list}}",
        "doc_to_target": "{{(question.choices|map(attribute='label')|list).index(answerKey)}}",
    },
}


@pytest.fixture(scope="module")
def gpt2(data, tmp_path_factory):
    """A random GPT-2 of 64 positions, so that some prompts are too long, with a vocabulary of 1,000 byte pairs."""
    texts = [(data / f"fewshot/{name}").read_text() for name in ("piqa/valid.jsonl", "arc_easy/dev.jsonl")]
    tokenizer = BytePairs(name="byte-bpe", vocab_size=1000).learn(iter([texts]), Counter(), 64)
    torch.manual_seed(0)
    config = GPT2Config(
        n_layer=2, n_embd=48, n_head=2, n_positions=64, initializer_range=0.3, vocab_size=len(tokenizer),
        bos_token_id=tokenizer.eos_token_id, eos_token_id=tokenizer.eos_token_id,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("gpt2")
    GPT2LMHeadModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def rows_of(data, name):
    """The first rows whose options are not longer than the model reads, which stops lm-evaluation-harness."""
    found = [json.loads(line) for line in (data / FILES[name]).read_text().splitlines()]
    if name == "arc_easy":
        return found[:ROWS]
    labels = (data / "fewshot/piqa/valid-labels.lst").read_text().split()
    rows = [{**row, "label": int(label)} for row, label in zip(found, labels, strict=True)]
    return [row for row in rows if max(len(row["sol1"]), len(row["sol2"])) < 110][:ROWS]


def ask_theirs(model, name, file, tmp_path, monkeypatch):
    import datasets
    from lm_eval.api.task import ConfigurableTask
    from lm_eval.evaluator import evaluate
    from lm_eval.models.huggingface import HFLM

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    metrics = [{"metric": metric, "aggregation": "mean", "higher_is_better": True} for metric in ("acc", "acc_norm")]
    config = {
        "task": name, "dataset_path": "json", "dataset_kwargs": {"data_files": {"validation": str(file)}},
        "validation_split": "validation", "output_type": "multiple_choice", "metric_list": metrics, **THEIRS[name],
    }  # fmt: skip
    asked = HFLM(pretrained=model, device="cpu", batch_size=8)
    found = evaluate(lm=asked, task_dict={name: ConfigurableTask(config=config)}, bootstrap_iters=0)
    rows = sorted(found["samples"][name], key=lambda row: row["doc_id"])
    return found["results"][name], [[float(answer[0]) for answer in row["filtered_resps"]] for row in rows]


@pytest.mark.parametrize("name", ["piqa", "arc_easy"])
def test_accuracies_are_those_of_lm_eval_to_the_last_digit(name, data, gpt2, tmp_path, monkeypatch):
    file = tmp_path / f"{name}.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows_of(data, name)))
    theirs, log_p = ask_theirs(gpt2, name, file, tmp_path, monkeypatch)
    recipe = tmp_path / f"{name}.yaml"
    ours = open_task(name)
    recipe.write_text(json.dumps({
        "name": name, "eval": {"kind": "jsonl", "path": str(file)}, "prompt": ours.prompt, "options": ours.options,
        "answer": ours.answer,
    }))  # fmt: skip
    found = few_shot(open_language_model(gpt2), open_task(str(recipe)), Way(shots=(0,)))
    assert found["details"]["0"]["truncated"] > 0
    assert found["scores"]["0"]["acc"]["mean"] == theirs["acc,none"]
    assert found["scores"]["0"]["acc_norm"]["mean"] == theirs["acc_norm,none"]
    for ours_of_row, theirs_of_row in zip(found["shown"], log_p, strict=False):
        scores = [option["log_p"] for option in ours_of_row["answers"]]
        assert scores == pytest.approx(theirs_of_row, abs=2e-3)
