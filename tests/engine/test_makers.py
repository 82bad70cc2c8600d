"""Does a message about what is missing name the command that makes it?"""

import shutil
from pathlib import Path

import pytest

from engine.run.makers import advise
from engine.run.saved import located
from tokenizer.load import load_tokenizer
from tokenizer.train import main as tokenizer_main


@pytest.mark.parametrize(
    ("missing", "command"),
    [
        ("runs/bert-wordpiece/tokenizer", "cloze tokenizer recipes/tokenizer/bert-wordpiece.yaml"),
        ("runs/demo/pretrain/model", "cloze pretrain recipes/pretrain/demo.yaml"),
        ("runs/bert-mini", "cloze pretrain recipes/pretrain/bert-mini.yaml"),
        ("/somewhere/runs/glue/glue-rte/seed-0", "cloze finetune recipes/finetune/glue.yaml"),
        ("runs/mine/tokenizer", "cloze tokenizer RECIPE.yaml --name mine"),
        ("runs/mine/model", "cloze pretrain RECIPE.yaml --name mine"),
    ],
)
def test_the_recipe_of_that_name_is_found(tmp_path, monkeypatch, missing, command):
    monkeypatch.chdir(tmp_path)
    assert advise(missing) == f"; make it with  {command}"
    assert advise("some/folder/model") == ""


def test_the_command_that_is_named_makes_the_tokenizer_that_was_missing(tmp_path, monkeypatch, corpus, launch_program):
    monkeypatch.chdir(tmp_path)
    Path("recipes").mkdir()
    Path("recipes/own.yaml").write_text(
        f"name: 'own'  # mine\nsources: [{{kind: text, path: {corpus}}}]\n"
        "vocabulary: {name: wordpiece, vocab_size: 400}\n"
    )
    with pytest.raises(
        FileNotFoundError, match=r"no tokenizer runs/own/tokenizer: nothing at .*; make it with  "
    ) as error:
        load_tokenizer("runs/own/tokenizer")
    assert "\n" not in str(error.value)
    command = str(error.value).rpartition("make it with  cloze tokenizer ")[2].split()
    assert launch_program(tokenizer_main, tmp_path, *command).status == 0
    assert len(load_tokenizer("runs/own/tokenizer")) == 400


def test_a_model_that_is_not_there_is_no_hub_id_and_an_unfinished_run_is_resumed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        FileNotFoundError, match=r"no model runs/bert-mini: nothing at .*recipes/pretrain/bert-mini\.yaml"
    ):
        located("runs/bert-mini")
    run = tmp_path / "runs/bert-mini"
    run.mkdir(parents=True)
    (run / "recipe.yaml").write_text("name: bert-mini\n")
    with pytest.raises(ValueError, match=r"the run is not finished; make it with  cloze pretrain .*, which resumes it"):
        located("runs/bert-mini")
    shutil.rmtree(run)
    run.write_text("")
    with pytest.raises(ValueError, match="is a file; a model is the folder"):
        located("runs/bert-mini")
