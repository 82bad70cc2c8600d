"""Are a program's options read as they are meant, in either way to say a boolean, and shown by --help?"""

from dataclasses import dataclass
from pathlib import Path

import pytest
import tyro

from engine.run.options import read_options, read_own_options


@dataclass(frozen=True)
class Options:
    """Do it."""

    files: tyro.conf.Positional[tuple[Path, ...]] = ()  # what it is done to
    skip_broken: bool = False  # leave out what cannot be read
    num_tasks: int = 1  # at a time


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["--skip_broken"], Options(skip_broken=True)),
        (["--skip-broken", "a"], Options((Path("a"),), skip_broken=True)),
        (["--skip_broken", "--num_tasks", "3"], Options(skip_broken=True, num_tasks=3)),
        (["--skip_broken", "True"], Options(skip_broken=True)),
        (["a", "--skip_broken", "False"], Options((Path("a"),))),
        (["--skip_broken=True", "a"], Options((Path("a"),), skip_broken=True)),
    ],
    ids=str,
)
def test_a_boolean_is_said_alone_or_with_its_value(argv, expected):
    assert read_options(Options, argv, "it") == expected


def test_the_options_of_a_recipe_are_left_to_it():
    @dataclass(frozen=True)
    class Own:
        num_tasks: int = 1

    with pytest.raises(ValueError, match="'many' is no whole number"):
        read_own_options(Own, ["recipe.yaml", "--task", "glue/rte", "--num_tasks", "many"], "it")
    argv = ["recipe.yaml", "--num-tasks", "3", "--plan.max_steps", "5", "--overwrite"]
    assert read_own_options(Own, argv, "it") == (Own(3), ["recipe.yaml", "--plan.max_steps", "5", "--overwrite"])


def test_help_shows_every_option_with_its_meaning_and_default(capsys):
    with pytest.raises(SystemExit):
        read_options(Options, ["--help"], "python -m it")
    said = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "--skip_broken {True,False} leave out what cannot be read (default: False)" in said
    assert "--num_tasks INT at a time (default: 1)" in said


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (
            ["--num_task", "3"],
            "unknown option --num_task: perhaps you meant --num_tasks; for all options say it --help",
        ),
        (["--num_tasks", "many"], "'many' is no whole number"),
        (["--fp16"], "fp16 is not supported"),
    ],
)
def test_a_mistake_is_one_line(argv, expected):
    with pytest.raises(ValueError, match=expected) as raised:
        read_options(Options, argv, "it")
    assert "\n" not in str(raised.value)
