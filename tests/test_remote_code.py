"""Is a model's own code never run, and never asked for?  By every program that opens one, and in every call."""

import ast
import json
import shutil
import sys
from pathlib import Path

import pytest
from transformers import AutoModelForSequenceClassification

from engine.convert import main as convert
from finetune.ask.playground.__main__ import main as playground
from finetune.ask.predict import main as predict
from finetune.run import main as finetune
from pretrain.plan import main as plan
from tests.finetune.conftest import (  # noqa: F401, fixtures
    labelled,
    small_model,
    write_finetune_recipe,
)

ROOT = Path(__file__).parents[1]
PARTS = ("benchmarks", "compare", "corpus", "demo", "engine", "finetune", "pretrain", "tokenizer")
CODE = (
    "open('{mark}', 'w')\nfrom transformers import BertConfig, BertTokenizer\nclass C(BertConfig): model_type = 'zzz'\n"
)


def test_every_call_that_opens_something_says_that_remote_code_is_off():
    """A new call cannot forget it: whoever leaves it out asks the user, who may say yes."""
    found = 0
    for path in (path for part in PARTS for path in (ROOT / part).rglob("*.py")):
        for call in (node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Call)):
            name = getattr(call.func, "attr", getattr(call.func, "id", ""))
            said = {keyword.arg: getattr(keyword.value, "value", None) for keyword in call.keywords}
            if name in ("from_pretrained", "from_config", "pipeline"):
                found += 1
                assert said.get("trust_remote_code", "nothing") is False, f"{path}:{call.lineno}"
            assert not said.get("trust_remote_code"), f"{path}:{call.lineno}"
    assert found > 8


@pytest.fixture
def planted(small_model, tmp_path):  # noqa: F811
    """`planted(config, tokenizer_config)`: a whole classifier whose files are changed so, with code beside them."""

    def made(config, tokenizer_config=None):
        folder = tmp_path / "planted"
        model = AutoModelForSequenceClassification.from_pretrained(small_model)
        shutil.copytree(small_model, folder)
        model.save_pretrained(folder)
        for name, changes in (("config.json", config), ("tokenizer_config.json", tokenizer_config or {})):
            held = json.loads((folder / name).read_text())
            (folder / name).write_text(json.dumps(held | changes))
        for name in ("evil.py", "custom_generate/generate.py", "custom_generate/requirements.txt"):
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(CODE.format(mark=tmp_path / "RAN") if name.endswith("py") else "")
        return folder

    return made


@pytest.fixture
def saying_yes(monkeypatch, tmp_path, launch_program):
    """`saying_yes(main, *argv)`: a launch with a yes for every question, and with what an environment may say."""

    def start(main, *argv):
        for name in ("TRUST_REMOTE_CODE", "HF_DATASETS_TRUST_REMOTE_CODE", "TRANSFORMERS_TRUST_REMOTE_CODE"):
            monkeypatch.setenv(name, "1")
        (tmp_path / "yes").write_text("y\n" * 100)
        with (tmp_path / "yes").open() as yes:
            monkeypatch.setattr(sys, "stdin", yes)
            ended = launch_program(main, tmp_path, *argv)
        assert not (tmp_path / "RAN").exists()
        assert "[y/N]" not in ended.said
        return ended

    return start


@pytest.mark.parametrize("program", [predict, finetune, playground, convert])
def test_a_model_that_only_its_own_code_opens_is_refused_in_one_line(
    planted,
    saying_yes,
    tmp_path,
    write_finetune_recipe,  # noqa: F811
    program,
):
    folder = str(planted({"model_type": "zzz", "auto_map": {"AutoConfig": "evil.C"}}))
    (tmp_path / "in.txt").write_text("the cat\n")
    write_finetune_recipe(tmp_path)
    argv = {
        predict: (folder, "in.txt"),
        finetune: ("recipe.yaml", "--model", folder),
        playground: (folder,),
        convert: (folder, "--to", "safetensors"),
    }[program]
    ended = saying_yes(program, *argv)
    assert ended.status == 2, ended.said
    (line,) = [line for line in ended.said.splitlines() if line.startswith("error:")]
    assert "code that comes with a model or a tokenizer is never run here" in line
    assert line == ended.said.splitlines()[-1]


def test_a_tokenizer_that_only_its_own_code_opens_is_refused(planted, saying_yes, tmp_path, write_recipe):
    own = {"auto_map": {"AutoTokenizer": ["evil.T", "evil.T"]}, "tokenizer_class": "Own"}
    folder = str(planted({"model_type": "zzz", "tokenizer_class": "Own"}, own))
    (tmp_path / "in.txt").write_text("the cat\n")
    write_recipe(tmp_path, tokenizer=folder)
    for main, argv in ((predict, (folder, "in.txt")), (plan, ("recipe.yaml", "--hardware", "a100"))):
        ended = saying_yes(main, *argv)
        assert ended.status == 2, ended.said
        assert ended.said.splitlines()[-1].startswith("error: ")


def test_a_model_that_transformers_knows_opens_without_the_code_it_brings_along(planted, saying_yes, tmp_path):
    """And what is saved anew no longer names it: nobody else is asked to run it."""
    classes = ("AutoConfig", "AutoModel", "AutoModelForSequenceClassification")
    folder = planted(
        {"auto_map": dict.fromkeys(classes, "evil.C")}, {"auto_map": {"AutoTokenizer": ["evil.T", "evil.T"]}}
    )
    (tmp_path / "in.txt").write_text("the cat\n")
    ended = saying_yes(predict, str(folder), "in.txt")
    assert ended.status == 0, ended.said
    ended = saying_yes(convert, str(folder), "--to", "safetensors", "--out", "anew")
    assert ended.status == 0, ended.said
    assert "evil" not in (tmp_path / "anew/config.json").read_text()
