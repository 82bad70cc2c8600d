"""Does each spelling of an option for a dictionary's key mean what the recipe's file would say?"""

from dataclasses import dataclass, field
from typing import Any

import pytest
import yaml

from engine.run.recipe import read


@dataclass(frozen=True)
class Data:
    files: dict[str, str] = field(default_factory=dict)
    hold_out: float = 0.0


@dataclass(frozen=True)
class Recipe:
    name: str
    data: Data
    model: dict[str, Any] = field(default_factory=dict)
    grid: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)


@pytest.fixture(params=[{}, {"files": {"train": "train.csv"}}], ids=["no files named", "a file named"])
def recipe(request, tmp_path) -> str:
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump({"name": "it", "data": request.param, "model": {"hidden_size": 32, "tied": False}}))
    return str(path)


@pytest.mark.parametrize(
    "argv",
    [
        ["--data.files.train", "a.csv", "--data.files.dev", "b.csv"],
        ["--data.files", "train", "a.csv", "dev", "b.csv"],
        ["--data.files.train=a.csv", "--data.files", "dev", "b.csv"],
        ["--data.files", "{train: a.csv, dev: b.csv}"],
    ],
    ids=" ".join,
)
def test_keys_are_given_one_by_one_in_pairs_or_as_yaml(recipe, argv):
    found = read(Recipe, [recipe, *argv, "--data.hold_out", "0.1"])
    assert found.data == Data({"train": "a.csv", "dev": "b.csv"}, 0.1)
    assert found.model == {"hidden_size": 32, "tied": False}


def test_values_are_what_a_file_would_say(recipe):
    model = ["--model.hidden-size", "64", "--model.rate", "1e-4", "--model.tied", "--model", "from", "runs/x"]
    grid = ["--grid", "optimizer.learning_rate", "[5e-5, 1e-4]"]
    found = read(Recipe, [recipe, *model, "layers", "2", *grid, "--settings.glue/sst2.plan.steps", "1"])
    assert found.model == {"hidden_size": 64, "rate": 1e-4, "tied": True, "from": "runs/x", "layers": 2}
    assert found.grid == {"optimizer.learning_rate": [5e-5, 1e-4]}
    assert found.settings == {"glue/sst2": {"plan.steps": 1}}


@pytest.mark.parametrize(
    ("argv", "complaint"),
    [
        (
            ["--data.files", "train"],
            "takes keys, each with its value: --data.files KEY VALUE; found 'train'",
        ),
        (["--data.files.train"], "--data.files.train has no value; say --data.files.train VALUE"),
        (["--data.files", "{train"], '--data.files "{key: value}", or --data.files KEY VALUE'),
        (["--data.file.train", "a.csv"], "unknown option --data.file.train"),
    ],
    ids=str,
)
def test_what_cannot_be_meant_is_one_line(tmp_path, argv, complaint):
    path = tmp_path / "recipe.yaml"
    path.write_text("name: it\ndata: {files: {train: train.csv}}\n")
    with pytest.raises(ValueError) as raised:  # noqa: PT011
        read(Recipe, [str(path), *argv])
    assert complaint in str(raised.value)
    assert "\n" not in str(raised.value)


@dataclass(frozen=True)
class Blocks:
    size: int


@dataclass(frozen=True)
class Fitting:
    """A recipe whose blocks must fit the model."""

    blocks: Blocks
    model: dict[str, Any]
    name: str = "it"

    def __post_init__(self) -> None:
        if self.blocks.size > self.model["positions"]:
            raise ValueError(
                f"blocks.size is {self.blocks.size}, but the model has {self.model['positions']} positions"
            )


@pytest.mark.parametrize("size", [4, 16])
def test_two_options_that_are_right_together_are_taken_in_either_order(tmp_path, size):
    path = tmp_path / "recipe.yaml"
    path.write_text("blocks: {size: 8}\nmodel: {positions: 8}\n")
    model, blocks = ["--model.positions", str(size)], ["--blocks.size", str(size)]
    for argv in ([*model, *blocks], [*blocks, *model]):
        assert read(Fitting, [str(path), *argv]) == Fitting(Blocks(size), {"positions": size})


@pytest.mark.parametrize("others", [[], ["--name", "other"]])
def test_what_does_not_go_together_is_refused_whatever_else_is_said(tmp_path, others):
    path = tmp_path / "recipe.yaml"
    path.write_text("blocks: {size: 8}\nmodel: {positions: 8}\n")
    for argv in (["--model.positions", "4"], ["--blocks.size", "16"]):
        with pytest.raises(ValueError, match=r"blocks.size is \d+, but the model has \d+ positions"):
            read(Fitting, [str(path), *argv, *others])
