"""Does one command come from texts to a table, and go on where it was stopped?  On a small text and small files."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import yaml

from compare.run import main
from tests.finetune.conftest import labelled  # noqa: F401, a fixture

PLAN = {"global_batch_size": 16, "per_device_train_batch_size": 16, "logging_steps": 2}
GLUE = {
    "name": "own", "model": "own", "task": ["glue/rte"], "max_seq_length": 32,
    "optimizer": {"learning_rate": 1e-3}, "schedule": {"warmup_ratio": 0.1}, "plan": {**PLAN, "num_train_epochs": 1},
}  # fmt: skip
SYSTEMS: dict[str, dict[str, Any]] = {
    "words": {
        "vocabulary": {"name": "words", "min_frequency": 1},
        "model": {"hidden_size": 8}, "objective": {"name": "skip_gram", "block_size": 64},
        "optimizer": {"name": "adagrad", "learning_rate": 0.1},
        "config": {"encoder_size": 8, "encoder_layers": 1, "classifier_size": 8},
    },
    "bert": {
        "vocabulary": {"name": "wordpiece", "vocab_size": 300},
        "model": {"num_hidden_layers": 1, "hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32,
                  "max_position_embeddings": 32},
        "objective": {"name": "bert", "max_seq_length": 32}, "optimizer": {"learning_rate": 1e-3}, "config": {},
    },
}  # fmt: skip


def write_recipes(folder: Path, text: Path, rows: Path) -> None:
    sources = [{"kind": "text", "path": str(text)}]
    found = {}
    for name, own in SYSTEMS.items():
        vocabulary = {"name": "own", "sources": sources, "vocabulary": own["vocabulary"], "held_out": 0.1}
        pretrain = {
            "name": "own", "tokenizer": "own", "corpus": {"sources": sources, "held_out": 0.15},
            "schedule": {"warmup_ratio": 0.1}, "plan": {**PLAN, "minutes": 1}, "max_eval_samples": 8,
            **{key: own[key] for key in ("model", "objective", "optimizer")},
        }  # fmt: skip
        finetune = {**GLUE, "config": own["config"], "data": {"source": "folder", "path": str(rows)}}
        parts = {"tokenizer": vocabulary, "pretrain": pretrain, "finetune": finetune}
        for part, recipe in parts.items():
            (folder / f"{name}-{part}.yaml").write_text(yaml.safe_dump(recipe))
        found[name] = {"name": name, **{part: f"{name}-{part}.yaml" for part in parts}}
    recipe = {"name": "both", "systems": list(found.values()), "tasks": ["glue/rte"], "minutes": 0.02, "seeds": [0, 1]}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))


@pytest.mark.slow
def test_one_command_makes_the_table_and_goes_on_where_it_was_stopped(tmp_path, launch_program, corpus, labelled):  # noqa: F811
    write_recipes(tmp_path, corpus, labelled)
    sent: list[int] = []
    log = tmp_path / "runs/both/minutes/bert/metrics.jsonl"

    def watch(pid: int) -> None:
        if not sent and log.exists():
            os.kill(pid, signal.SIGTERM)
            sent.append(pid)

    ended = launch_program(main, tmp_path, "recipe.yaml", watch=watch)
    assert sent
    assert ended.status == 3, ended.said
    assert ended.said.rstrip().endswith("stopped; the same command resumes from here")
    done = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs/both").rglob("finished.json")}
    assert len(done) in (
        5,
        6,
    )  # the word vectors, two seeds of them and of the untrained network; BERT at its last step

    ended = launch_program(main, tmp_path, "recipe.yaml", "--jobs", "2")
    assert ended.status == 0, ended.said
    assert "it says more in runs/both/bert.log" in ended.said
    assert "step " in (tmp_path / "runs/both/bert.log").read_text()
    assert all(path.stat().st_mtime_ns == time for path, time in done.items())
    found = json.loads((tmp_path / "runs/both/comparison.json").read_text())
    assert {one["system"] for one in found["pretraining"] if one["arm"] == "minutes"} == {"words", "bert"}
    assert len(found["pretraining"]) == 3  # the slowest reads the same text once
    assert all(one["processor_minutes"] > 0 for one in found["pretraining"])
    assert [one["column"] for one in found["agreements"]["text"]] == ["RTE"]
    assert set(found["averages"]) == {"untrained", "minutes", "text"}
    for table in found["tables"]:
        systems = [row["system"] for row in table["rows"] if row["kind"] in ("random", "pretrained")]
        assert systems == ["words, random init", "words", "bert, random init", "bert"]

    before = (tmp_path / "runs/both/comparison.html").read_bytes()
    ended = launch_program(main, tmp_path, "recipe.yaml")
    assert (ended.status, ended.said.count("==")) == (0, 0)
    assert (tmp_path / "runs/both/comparison.html").read_bytes() == before


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"tasks": ["glue/rtee"]}, "unknown task 'glue/rtee'; did you mean 'glue/rte'?"),
        ({"systems": {1: {"finetune": "nowhere.yaml"}}}, "no recipe at nowhere.yaml"),
        ({"systems": {1: {"tokenizer": "other/words-tokenizer.yaml"}}}, "would be kept in one folder, as vocabularies"),
        ({"systems": {1: {"finetune": "words-pretrain.yaml"}}}, "words-pretrain.yaml:"),
        ({"systems": {1: {"finetune": "grid.yaml"}}}, "grid.yaml tries the settings of a `grid:`"),
        ({"tasks": ["glue/wnli"]}, "glue/wnli: no column in the GLUE table"),
        ({"tasks": ["glue/rte", "glue/rte"]}, "tasks has glue/rte twice"),
        ({"tasks": ["glue/rte", "glue/ax"]}, "glue/ax has no training rows"),
        ({"systems": {1: {"finetune": "elsewhere.yaml"}}}, "no/such/rows"),
        ({"systems": {1: {"tokenizer": "misspelt.yaml"}}}, "misspelt.yaml:1"),
        ({"systems": {1: {"pretrain": "phases.yaml"}}}, "last_phase begins at a share of the steps"),
        (
            {"systems": {1: {"finetune": "start.yaml"}}},
            "start_from: glue/rte starts from glue/mnli, which is not among the tasks",
        ),
    ],
)
def test_what_would_fail_hours_later_is_refused_at_once(tmp_path, launch_program, corpus, labelled, change, said):  # noqa: F811
    write_recipes(tmp_path, corpus, labelled)
    recipe = yaml.safe_load((tmp_path / "recipe.yaml").read_text())
    for number, system in change.pop("systems", {}).items():
        recipe["systems"][number] |= system
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe | change))
    tried = yaml.safe_load((tmp_path / "bert-finetune.yaml").read_text())
    (tmp_path / "grid.yaml").write_text(yaml.safe_dump(tried | {"grid": {"optimizer.learning_rate": [1e-3, 1e-4]}}))
    (tmp_path / "start.yaml").write_text(yaml.safe_dump(tried | {"start_from": {"glue/rte": "glue/mnli"}}))
    elsewhere = {"data": {"source": "folder", "path": "no/such/rows"}}
    (tmp_path / "elsewhere.yaml").write_text(yaml.safe_dump(tried | elsewhere))
    (tmp_path / "misspelt.yaml").write_text("vocabularies: {}\n" + (tmp_path / "bert-tokenizer.yaml").read_text())
    pretrain = yaml.safe_load((tmp_path / "bert-pretrain.yaml").read_text())
    pretrain["plan"] = {**PLAN, "max_steps": 10}
    pretrain["last_phase"] = {"share": 0.1, "max_seq_length": 64, "per_device_train_batch_size": 8}
    pretrain["model"]["max_position_embeddings"] = 64
    (tmp_path / "phases.yaml").write_text(yaml.safe_dump(pretrain))
    ended = launch_program(main, tmp_path, "recipe.yaml")
    assert ended.status == 2, ended.said
    assert said in ended.said
    assert not (tmp_path / "runs/both/vocabularies").exists()


def test_a_vocabulary_of_which_no_document_was_held_out_ends_a_comparison_before_it_trains(
    tmp_path,
    launch_program,
    corpus,
    labelled,  # noqa: F811
):
    write_recipes(tmp_path, corpus, labelled)
    path = tmp_path / "words-tokenizer.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | {"held_out": 0.0}))
    ended = launch_program(main, tmp_path, "recipe.yaml")
    assert ended.status == 2, ended.said
    assert "words-tokenizer.yaml held no document out" in ended.said
    assert not (tmp_path / "runs/both/minutes").exists()
