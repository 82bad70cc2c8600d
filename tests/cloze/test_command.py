"""Does `cloze` start every program, at once, and does its help say all that a stranger needs?"""

import importlib
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cloze.command import COMMANDS, Command, main, usage
from cloze.recipes import CLASSES, list_recipes, load_recipe
from engine.run.recipe_help import list_sections

ROOT = Path(__file__).parents[2]
THERE = [command for command in COMMANDS if command.exists]
HEAVY = ("torch", "transformers", "accelerate", "datasets", "tokenizers", "pandas", "numpy", "tyro", "yaml")


@pytest.fixture
def call(monkeypatch, capsys):
    """Call `cloze` in this process; its exit status, and what it printed on both streams."""

    def start(*argv: str) -> tuple[int, str, str]:
        before = signal.getsignal(signal.SIGINT)
        monkeypatch.setattr(sys, "argv", ["cloze", *argv])
        try:
            main()
            status = 0
        except SystemExit as ended:
            status = int(ended.code or 0)
        finally:
            signal.signal(signal.SIGINT, before)
        return status, *capsys.readouterr()

    return start


@pytest.mark.parametrize("option", ["--help", "--version", "recipes"])
def test_what_is_only_shown_waits_for_no_library(option):
    code = (
        f"import sys; sys.argv = ['cloze', {option!r}]\n"
        "from cloze.command import main\n"
        "try:\n    main()\nexcept SystemExit as ended:\n    assert not ended.code\n"
        f"print('imported:', *[name for name in {HEAVY} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    *said, last = done.stdout.splitlines()
    assert last == "imported:"
    assert said


def test_help_lists_the_commands_with_examples_that_are_commands(call):
    status, said, _ = call("--help")
    assert status == 0
    assert all(re.search(rf"^  {command.name} +[\[\w]", said, re.MULTILINE) for command in THERE)
    assert max(map(len, said.splitlines())) <= 100
    examples = re.findall(r"^  cloze (\S+)", said, re.MULTILINE)
    assert len(examples) > 3
    assert set(examples) <= {command.name for command in THERE}


def test_a_program_that_is_not_there_is_not_listed():
    nowhere = [Command("sing", "nowhere.sing", "", "sing"), Command("dance", "engine.dance", "", "dance")]
    assert not any(command.exists for command in nowhere)
    assert "pretrain" in usage(THERE)
    for command in COMMANDS:
        path = ROOT.joinpath(*command.module.split(".")).with_suffix(".py")
        assert command.exists == path.is_file()


@pytest.mark.parametrize("name", [command.name for command in THERE])
def test_every_command_has_help_with_its_name_and_an_example(call, name):
    status, said, _ = call(name, "--help")
    assert status == 0
    assert said.startswith(f"usage: cloze {name}")
    assert name == "recipes" or re.search(rf"[Ee]xample: cloze {name} \w", said)


@pytest.mark.parametrize("name", ["pretrain", "finetune", "tokenizer"])
def test_help_of_a_recipes_program_shows_every_key_with_default_and_meaning(call, name, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    _, said, _ = call(name, "--help")
    module, _, recipe = next(kind for kind in CLASSES.values() if kind.startswith(name)).partition(":")
    sections = list(list_sections(getattr(importlib.import_module(module), recipe)))
    assert sections
    for section in sections:
        part = said.split(f"\n{section.name}:\n")[1] if section.name else said
        for key in section.keys:
            assert key.meaning, f"{section.name}.{key.name}: no comment says what it means"
            assert re.search(
                rf"^  {key.name}\*? +{re.escape(key.default)} +{re.escape(key.meaning)}", part, re.MULTILINE
            )


def test_help_knows_defaults_and_choices():
    found = {
        f"{section.name}.{key.name}": key
        for section in list_sections(type(load_recipe(ROOT / "recipes/pretrain/demo.yaml")))
        for key in section.keys
    }
    assert found[".name"].default == "(required)"
    assert found[".seed"].default == "0"
    assert found["optimizer.betas"].default == "[0.9, 0.999]"
    assert found["objective (name: bert).mlm_probability"].default == "0.15"
    assert "linear, cosine" in found["schedule.lr_scheduler_type"].meaning
    assert found["plan.logging_steps"].is_operational
    assert not found["plan.max_steps"].is_operational


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["pretrian"], "error: cloze has no command 'pretrian'; perhaps you meant cloze pretrain; for all commands say "
                       "cloze --help\n"),
        (["pretrain", "none.yaml"], "error: no recipe at none.yaml; cloze recipes lists those that come along\n"),
        (["table", "--formt", "html"], "error: unknown option --formt: perhaps you meant --format; for all options say "
                                       "cloze table --help\n"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line(call, argv, expected):
    status, _, said = call(*argv)
    assert (status, said) == (2, expected)


def test_recipes_are_listed_and_found_from_any_folder(call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, said, _ = call("recipes")
    assert status == 0
    found = dict(list_recipes())
    assert set(found) == {path.relative_to(ROOT).as_posix() for path in (ROOT / "recipes").rglob("*.yaml")}
    for name, line in found.items():
        assert re.search(rf"^{re.escape(name)} +{re.escape(line)}$", said, re.MULTILINE)
        assert len(line) > 20
        assert load_recipe(name).name
    own = tmp_path / "recipes/pretrain/demo.yaml"
    own.parent.mkdir(parents=True)
    own.write_text((ROOT / "recipes/pretrain/demo.yaml").read_text().replace("name: demo/pretrain", "name: mine"))
    assert load_recipe("recipes/pretrain/demo.yaml").name == "mine"  # the working folder comes first
    with pytest.raises(FileNotFoundError, match=r"no recipe at recipes/none\.yaml; cloze recipes lists"):
        load_recipe("recipes/none.yaml")


@pytest.mark.slow
def test_one_process_trains_without_a_launcher_and_without_a_setting(tmp_path, write_recipe):
    write_recipe(tmp_path, plan={"max_steps": 2})
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ACCELERATE_")}
    done = subprocess.run(
        [sys.executable, "-m", "cloze", "pretrain", "recipe.yaml", "--plan.logging_steps", "1"], cwd=tmp_path,
        env={**environment, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "1 process(es) on " in done.stdout
    card = (tmp_path / "runs/small/model/README.md").read_text()
    assert "`accelerate launch -m pretrain.run recipe.yaml --plan.logging_steps 1`" in card
