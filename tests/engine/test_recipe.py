"""Is what a person wrote read as they meant it, or refused at the line where they went wrong?"""

import importlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
import yaml

from engine.recipe import data_path, how, identity, load, read, resolved

RECIPES = Path(__file__).parents[2] / "recipes"
CLASSES = {
    "tokenizer": ("tokenizer.train", "Recipe"),
    "pretrain": ("pretrain.recipe", "PretrainRecipe"),
    "finetune": ("finetune.recipe", "FinetuneRecipe"),
}


@dataclass(frozen=True)
class Section:
    rate: float = 0.5
    kind: Literal["linear", "constant"] = "linear"

    def __post_init__(self) -> None:
        if self.rate > 1:
            raise ValueError(f"rate is {self.rate}; at most 1")


@dataclass(frozen=True)
class Recipe:
    name: str
    steps: int = 10
    section: Section = field(default_factory=Section)
    model: dict[str, Any] = field(default_factory=dict)
    parts: tuple[Section, ...] = ()
    betas: tuple[float, ...] = (0.9, 0.999)
    limit: int | None = 7
    folder: Path = Path("runs")
    shuffle: bool = True


def written(folder: Path, text: str) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def complaint(folder: Path, text: str) -> str:
    path = written(folder, text)
    with pytest.raises(ValueError) as raised:  # noqa: PT011
        load(Recipe, path)
    return str(raised.value).replace(str(path), "FILE")


def test_every_type_is_read_as_it_is_meant(tmp_path):
    text = """
name: 12
steps: 3
section: {rate: 1e-4, kind: constant}
model: {hidden_size: 32, layer_norm_eps: 1e-12, hidden_act: gelu, quoted: "1e-4", deep: {values: [1e-3, 2]}}
parts: [{rate: 1}, {}]
betas: [0, 1e-1]
limit: null
folder: some/where
shuffle: False
"""
    assert load(Recipe, written(tmp_path, text)) == Recipe(
        name="12",
        steps=3,
        section=Section(1e-4, "constant"),
        model={
            "hidden_size": 32,
            "layer_norm_eps": 1e-12,
            "hidden_act": "gelu",
            "quoted": "1e-4",
            "deep": {"values": [1e-3, 2]},
        },
        parts=(Section(1.0), Section()),
        betas=(0.0, 0.1),
        limit=None,
        folder=Path("some/where"),
        shuffle=False,
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("name: a\nstesp: 3", "FILE:2: unknown key 'stesp'; did you mean 'steps'?"),
        ("name: a\nsection:\n  rate: 1\n  kin: linear", "FILE:4: unknown key 'section.kin'; did you mean 'kind'?"),
        ("name: a\nsteps: 3\nsteps: 4", "FILE:3: steps is given twice"),
        ("name: a\nmodel:\n  size: 1\n  size: 2", "FILE:4: model.size is given twice"),
        ("name: a\nsteps: 3.5", "FILE:2: steps must be one whole number; found '3.5'"),
        ("name: a\nsteps: [3]", "FILE:2: steps must be one whole number; found a list"),
        ("name: a\nsteps:", "FILE:2: steps must be one whole number; found ''"),
        ("name: a\nsection: {rate: much}", "FILE:2: section.rate must be one number; found 'much'"),
        ("name: a\nsection: {kind: cosine}", "FILE:2: section.kind is 'cosine'; allowed: linear, constant"),
        ("name: a\nsection: linear", "FILE:2: section must be a section"),
        ("name: a\nsection:\n  rate: 2", "FILE:3: section: rate is 2.0; at most 1"),
        ("name: a\nparts:\n  - {rate: 1}\n  - {rat: 1}", "FILE:4: unknown key 'parts.rat'"),
        ("name: a\nbetas: 0.9", "FILE:2: betas must be a list"),
        ("name: a\nshuffle: maybe", "FILE:2: shuffle must be true or false; found 'maybe'"),
        ("name: a\nmodel: {act: !!python/name:os.system x}", "FILE:2: model.act is tagged"),
        ("steps: 3", "FILE:1: the recipe lacks name"),
        ("- a", "FILE:1: the recipe must be a section"),
        ("name: [a", "FILE is not YAML"),
        ("", "FILE is empty"),
    ],
)
def test_a_mistake_is_told_with_its_place_and_its_mend(tmp_path, text, expected):
    assert complaint(tmp_path, text).startswith(expected)


def test_the_command_line_overrides_the_file(tmp_path):
    path = str(written(tmp_path, "name: a\nsection: {rate: 1}\nmodel: {hidden_size: 32}"))
    options = ["--name", "b", "--section.rate", "1e-4", "--shuffle", "False", "--limit", "None"]
    assert read(Recipe, [path, *options, "--model.hidden-size", "64", "--betas", "0.5", "0.6"]) == Recipe(
        name="b", section=Section(1e-4), model={"hidden_size": 64}, limit=None, shuffle=False, betas=(0.5, 0.6)
    )


@pytest.mark.parametrize(
    "options", [["--stesp", "3"], ["--steps", "many"], ["--section.kind", "cosine"], ["--section.rate", "2"], ["3"]]
)
def test_a_bad_option_ends_with_status_2(tmp_path, options, capsys):
    path = str(written(tmp_path, "name: a"))
    with pytest.raises((SystemExit, ValueError)) as raised:
        read(Recipe, [path, *options])
    if raised.type is SystemExit:  # a ValueError becomes status 2 in `engine.runtime.program`
        assert raised.value.code == 2
        assert options[0].lstrip("-").split(".")[-1] in capsys.readouterr().err
    else:
        assert "rate is 2.0; at most 1" in str(raised.value)


def test_an_option_of_the_objective_is_found_by_the_objectives_name():
    recipe_class = class_of("pretrain")
    recipe = read(recipe_class, [str(RECIPES / "pretrain/bert-mini.yaml"), "--objective.mask-rate", "0.4"])
    assert recipe.objective.mask_rate == 0.4


def test_an_unknown_objective_names_the_nearest(tmp_path):
    text = (RECIPES / "pretrain/bert-mini.yaml").read_text().replace("name: bert,", "name: brt,")
    with pytest.raises(ValueError, match=r"recipe.yaml:\d+: unknown objective 'brt'; did you mean 'bert'?"):
        load(class_of("pretrain"), written(tmp_path, text))


def test_without_a_recipe_the_usage_is_told(capsys):
    with pytest.raises(SystemExit) as raised:
        read(Recipe, [])
    assert raised.value.code == 2
    assert "RECIPE.yaml" in capsys.readouterr().out
    with pytest.raises(ValueError, match=r"first argument must be a recipe.*--name"):
        read(Recipe, ["--name", "a"])
    with pytest.raises(FileNotFoundError, match=r"no/such\.yaml"):
        read(Recipe, ["no/such.yaml"])


@pytest.mark.parametrize("path", sorted(RECIPES.rglob("*.yaml")), ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_recipe_of_ours_loads_and_survives_a_round_trip(path, tmp_path):
    recipe_class = class_of(path.parent.name)
    recipe = load(recipe_class, path)
    again = load(recipe_class, written(tmp_path, yaml.safe_dump(resolved(recipe))))
    assert resolved(again) == resolved(recipe)


@dataclass(frozen=True)
class Pass:
    share: float
    device_batch: int = how()


@dataclass(frozen=True)
class Work:
    name: str
    passes: tuple[Pass, ...]
    model: dict[str, Any]
    workers: int = how(0)


def work(**changes: Any) -> Work:
    return Work(**{"name": "a", "passes": (Pass(0.9, 4), Pass(0.1, 2)), "model": {"workers": 3}, **changes})


def test_a_field_without_a_default_that_says_how_must_still_be_given(tmp_path):
    with pytest.raises(ValueError, match="lacks device_batch"):
        load(Pass, written(tmp_path, "share: 1"))


@pytest.mark.parametrize(
    ("changes", "is_the_same"),
    [
        ({"workers": 7}, True),
        ({"passes": (Pass(0.9, 1), Pass(0.1, 1))}, True),
        ({"passes": (Pass(0.8, 4), Pass(0.2, 2))}, False),
        ({"passes": (Pass(0.9, 4),)}, False),
        ({"passes": ()}, False),
        ({"model": {"workers": 4}}, False),  # transformers' own key, which happens to have that name
        ({"name": "b"}, False),
    ],
    ids=str,
)
def test_how_a_run_is_carried_out_is_no_part_of_what_it_is(changes, is_the_same):
    before, now = work(), work(**changes)
    assert (identity(before) == identity(now)) is is_the_same
    # A run's folder holds plain values.
    assert (identity(now, yaml.safe_load(yaml.safe_dump(resolved(before)))) == identity(now)) is is_the_same


def test_a_dict_of_sections_is_resolved_as_a_recipe_is():
    sections = {"passes": (Pass(0.9, 4),), "folder": Path("runs")}
    assert resolved(sections) == {"passes": [{"share": 0.9, "device_batch": 4}], "folder": "runs"}
    assert identity(sections) == {"passes": [{"share": 0.9}], "folder": "runs"}


def test_data_is_looked_up_in_its_folder_then_here(tmp_path, monkeypatch):
    here, data = tmp_path / "here", tmp_path / "data"
    for folder in (here / "books", data / "books", here / "notes"):
        folder.mkdir(parents=True)
    monkeypatch.chdir(here)
    monkeypatch.setenv("CLOZE_DATA", str(data))
    assert data_path("books") == data / "books"
    assert data_path("notes").resolve() == here / "notes"
    assert data_path(str(here / "books")) == here / "books"
    with pytest.raises(FileNotFoundError, match=f"{data / 'songs'} and {here / 'songs'}"):
        data_path("songs")
    monkeypatch.delenv("CLOZE_DATA")
    assert data_path("books").resolve() == here / "books"
    with pytest.raises(FileNotFoundError, match="CLOZE_DATA"):
        data_path("songs")


def class_of(room: str) -> type:
    module, name = CLASSES[room]
    return getattr(importlib.import_module(module), name)
