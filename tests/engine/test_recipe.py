"""Is what a person wrote read as they meant it, or refused at the line where they went wrong?"""

import importlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
import yaml

from cloze.recipes import load_recipe
from engine.run.recipe import changed, data_path, identity, load, operational, read, resolved

RECIPES = Path(__file__).parents[2] / "recipes"
CLASSES = {
    "tokenizer": ("tokenizer.recipe", "TokenizerRecipe"),
    "pretrain": ("pretrain.recipe", "PretrainRecipe"),
    "finetune": ("finetune.recipe", "FinetuneRecipe"),
    "probe": ("probe.recipe", "ProbeRecipe"),
    "few-shot": ("probe.few_shot.task", "Task"),
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
def test_a_bad_option_is_told_in_one_line(tmp_path, options):
    path = str(written(tmp_path, "name: a"))
    with pytest.raises(ValueError, match="for all options") as raised:  # status 2 of `engine.run.runtime.program`
        read(Recipe, [path, *options])
    said = str(raised.value)
    assert options[0].lstrip("-").split(".")[-1] in said
    assert "\n" not in said
    assert said.endswith(f"; for all options say {path} --help")


def test_an_option_of_the_objective_is_found_by_the_objectives_name():
    recipe_class = class_of("pretrain")
    recipe = read(recipe_class, [str(RECIPES / "pretrain/bert-mini.yaml"), "--objective.mlm-probability", "0.4"])
    assert recipe.objective.mlm_probability == 0.4


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
    recipe = load_recipe(path)
    recipe_class = type(recipe)
    again = load(recipe_class, written(tmp_path, yaml.safe_dump(resolved(recipe))))
    assert resolved(again) == resolved(recipe)


@dataclass(frozen=True)
class Pass:
    share: float
    per_device_train_batch_size: int = operational()


@dataclass(frozen=True)
class Work:
    name: str
    passes: tuple[Pass, ...]
    model: dict[str, Any]
    workers: int = operational(0)


def work(**changes: Any) -> Work:
    return Work(**{"name": "a", "passes": (Pass(0.9, 4), Pass(0.1, 2)), "model": {"workers": 3}, **changes})


def test_a_field_without_a_default_that_says_how_must_still_be_given(tmp_path):
    with pytest.raises(ValueError, match="lacks per_device_train_batch_size"):
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
    assert resolved(sections) == {"passes": [{"share": 0.9, "per_device_train_batch_size": 4}], "folder": "runs"}
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


BOMB = "model:\n  a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"  a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 8)
)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"[" * 5000, "FILE:1: more than 32 lists and sections lie within each other"),
        (b"? [a, b]\n: 1", "FILE:1: a key of the recipe must be one word"),
        (b"name: a\nmodel:\n  ? {a: 1}\n  : 1", "FILE:3: a key of model must be one word"),
        (BOMB.encode(), "FILE has more than 100,000 values"),
        (b"name: a\nmodel: {a: &a [*a]}", "FILE has more than 100,000 values"),
        ("name: ä".encode("latin1"), "FILE is not UTF-8 (byte 6)"),
        ("name: a".encode("utf-16"), "FILE is not UTF-8 (byte 0)"),
        (b"name: a\n---\nname: b", "FILE is not YAML: "),
        (b"name: a\nmodel: {act: !!int abc}", "FILE:2: model.act is tagged tag:yaml.org,2002:int, which 'abc' is not"),
        (b"name: a\nmodel: {act: 2020-13-45}", "FILE:2: model.act is tagged"),
        (b"name: a\nsteps: " + b"9" * 5000, "FILE:2: steps must be one whole number; found '99999"),
    ],
    ids=lambda value: repr(value)[:24],
)
def test_what_no_person_would_write_is_told_in_one_line_as_well(tmp_path, content, expected):
    path = tmp_path / "recipe.yaml"
    path.write_bytes(content)
    with pytest.raises(ValueError) as raised:  # noqa: PT011
        load(Recipe, path)
    said = str(raised.value).replace(str(path), "FILE")
    assert said.startswith(expected)
    assert "\n" not in said
    assert len(said) < 400


WRONG = {
    "pretrain/bert-mini": (
        "plan.max_steps -1, plan.global_batch_size 0, plan.per_device_train_batch_size -2, plan.logging_steps 0, "
        "plan.eval_steps -1, plan.save_steps -1, plan.save_total_limit 0, plan.max_grad_norm 0, "
        "plan.dataloader_num_workers -1, plan.timeout 0, seed -1, seed 4294967296, objective.max_seq_length -1, "
        "max_eval_samples 0, corpus.held_out 1.5, corpus.chapter_tokens 0, "
        "model.hidden_size 0, model.num_hidden_layers -2, model.num_attention_heads 0, model.hidden_dropout_prob 1.5, "
        "model.max_position_embeddings -1, objective.mlm_probability 1.5, objective.short_seq_probability -0.1, "
        "optimizer.learning_rate -1, optimizer.weight_decay -1, optimizer.eps 0, optimizer.ema 1, "
        "schedule.warmup_ratio 1.1, schedule.min_lr_ratio -1, "
        "schedule.cooldown_ratio -1, last_phase.share 1.5, last_phase.max_seq_length 0, "
        "last_phase.per_device_train_batch_size 0"
    ),
    "finetune/glue": (
        "plan.num_train_epochs 0, plan.global_batch_size 0, plan.per_device_train_batch_size -1, plan.logging_steps 0, "
        "plan.save_steps -1, plan.max_grad_norm -1, max_seq_length 0, auxiliary_lm -1, seeds [-1], data.hold_out 1.5, "
        "optimizer.learning_rate 0, schedule.warmup_ratio -1, config.hidden_dropout_prob 2"
    ),
    "tokenizer/bert-wordpiece": (
        "model_max_length 0, max_bytes 0, held_out 1, vocabulary.vocab_size -1, vocabulary.min_frequency 0, "
        "vocabulary.limit_alphabet 0"
    ),
}


@pytest.mark.parametrize(
    ("recipe", "key", "value"),
    [(recipe, *change.split()) for recipe, changes in WRONG.items() for change in changes.split(", ")],
)
def test_a_number_of_a_wrong_sign_or_size_is_told_with_file_and_key(tmp_path, recipe, key, value):
    values = yaml.safe_load((RECIPES / f"{recipe}.yaml").read_text())
    *sections, last = key.split(".")
    section = values
    for name in sections:
        section = section.setdefault(name, {})
    section[last] = yaml.safe_load(value)
    path = written(tmp_path, yaml.safe_dump(values))
    with pytest.raises(ValueError, match=rf"^{path}:\d+: .*{last.removesuffix('s')}") as raised:
        load(class_of(recipe.split("/")[0]), path)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(("said", "expected"), [("max_steps", (7, 0.0)), ("minutes", (0, 7.0))])
def test_one_budget_takes_the_place_of_another(said, expected):
    path, option = RECIPES / "pretrain/demo.yaml", f"plan.{said}"
    recipe = load(class_of("pretrain"), path)
    for plan in (
        read(class_of("pretrain"), [str(path), f"--{option}", "7"]).plan,
        read(class_of("pretrain"), [str(path), f"--{option}=7"]).plan,
        changed(recipe, {option: 7}, "the changes").plan,
    ):
        assert (plan.max_steps, plan.minutes) == expected


def test_two_budgets_at_once_are_refused():
    path = RECIPES / "pretrain/demo.yaml"
    with pytest.raises(ValueError, match="max_steps and minutes are given"):
        read(class_of("pretrain"), [str(path), "--plan.max_steps", "7", "--plan.minutes", "7"])
