"""Does the page say what the runs have left, and of which arm?  On made results of the four systems of Table 1."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from compare.amount import count_steps, find_slowest, read_amount
from compare.checks import check_settings, check_text, keep_settings
from compare.commands import Commands
from compare.page import write_page
from compare.recipe import Arm, CompareRecipe
from compare.run import Steps
from engine.run.recipe import load
from finetune.recipe import FinetuneRecipe
from pretrain.recipe import PretrainRecipe
from tokenizer.recipe import TokenizerRecipe

RECIPE = Path("recipes/table-1/table-1.yaml")
TASKS = {"glue/cola": "matthews_correlation", "glue/rte": "accuracy"}
ARMS: tuple[Arm, ...] = ("untrained", "minutes", "text")
SCORES: dict[Arm, list[Any]] = {
    "untrained": [0.1, 0.1, 0.1, 0.1],
    "minutes": [0.2, 0.3, 0.5, 0.4],
    "text": [0.2, None, 0.4, 0.5],
}
STEPS: dict[Arm, list[Any]] = {"minutes": [5000, 100, 400, 300], "text": [10, None, 200, 120]}  # ELMo is the slowest


def write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value) + "\n")


def write_results(folder: Path, label: str, init: str, score: float) -> None:
    lines = [
        {
            "task": task, "label": label, "init": init, "seed": seed, "hyperparameters": {}, "drawn_from": 8551,
            "metrics": {"dev": {metric: score + seed / 100}}, "headline": {"name": metric, "value": score + seed / 100},
            "majority": {"dev": {metric: 0.0}}, "sizes": {"train": 500, "dev": 100}, "commit": "0123456789abcdef",
        }
        for task, metric in TASKS.items()
        for seed in (0, 1)
    ]  # fmt: skip
    folder.mkdir(parents=True)
    (folder / "results.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def make_comparison() -> CompareRecipe:
    """A finished comparison, in the folder where this process is."""
    recipe = replace(load(CompareRecipe, RECIPE), minutes=2.0)
    for number, system in enumerate(recipe.systems):
        write_json(recipe.vocabulary(system) / "report.json", {"measures": [{"characters_a_token": 4.0}]})
        for arm, of_all in STEPS.items():
            if steps := of_all[number]:
                run = recipe.pretrained(system, arm)
                write_json(run / "finished.json", {"seconds": 120.0, "steps": steps, "parameters": 5_000_000})
                write_json(run / "metrics.jsonl", {"step": 1, "padding_rate": 0.5 * (system.name == "BERT")})
                with (run / "metrics.jsonl").open("a") as file:
                    file.write('{"step": 2, "eval_word_loss": 3.21, "baseline_word_loss": 6.54}\n')
        for arm, scores in SCORES.items():
            if score := scores[number]:
                init = "random" if arm == "untrained" else "pretrained"
                write_results(recipe.finetuned(system, arm), system.name, init, score)
    write_json(recipe.folder / "processor.json", {"minutes/bert": 90.0})
    return recipe


@pytest.fixture
def made(tmp_path, monkeypatch) -> CompareRecipe:
    monkeypatch.chdir(tmp_path)
    return make_comparison()


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("comparison")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        return folder / write_page(make_comparison())


def test_the_order_of_each_arm_is_told(page):
    found = json.loads(page.with_suffix(".json").read_text())
    minutes, text = (found["agreements"][arm][-1] for arm in ("minutes", "text"))
    assert minutes["column"] == text["column"] == "Average"
    assert minutes["order"] == "Word vectors < ELMo < BERT < GPT"
    assert minutes["tau"] == pytest.approx(4 / 6)  # five of six pairs are right
    assert text["order"] == "Word vectors < ELMo < GPT < BERT"  # ELMo's own score of the minutes stands in
    assert (text["tau"], text["exact"]) == (1, 1)
    published = {one["column"]: one["published"] for one in found["agreements"]["minutes"]}
    assert published == {"CoLA": 1, "RTE": pytest.approx(1 / 3), "Average": 1}  # 56.8, 56.0, 66.4 on RTE
    assert found["averages"]["untrained"]["BERT"]["value"] == pytest.approx(10.5)


def test_the_page_has_both_tables_beside_the_published_rows(page):
    text = page.read_text()
    assert text.count("<h2") == 5
    for heading in ("Does the order appear?", "What pretraining is worth", "Same minutes: GLUE", "Same text: GLUE"):
        assert f">{heading}</h2>" in text
    assert text.count("OpenAI GPT") == 2 * 1
    assert "Word vectors &lt; ELMo &lt; BERT &lt; GPT" in text
    assert "† Trained on a part: glue/cola on 500 of 8,551 rows" in text
    assert "word 3.21 (6.54)" in text
    assert not any(link in text for link in ('href="http', "src=", "<script"))
    assert "Word vectors < ELMo < BERT < GPT" in page.with_suffix(".md").read_text()


def test_what_is_not_finished_is_left_open(made):
    for arm in ARMS:
        (made.finetuned(made.systems[-1], arm) / "results.jsonl").unlink()
    text = write_page(replace(made, same=("minutes",))).read_text()
    assert "Same minutes: not all systems are finished yet." in text
    assert "What pretraining is worth" not in text


def test_once_stopped_no_step_is_announced(made, capsys):
    commands = Commands(threads=1)
    commands.stopped.set()
    with pytest.raises(SystemExit) as ended:
        Steps(made, commands).take_minutes(made.systems[1])
    assert (ended.value.code, capsys.readouterr().out) == (3, "")


def test_as_much_text_is_as_many_characters(made):
    """ELMo reads 100 x 32 x 128 tokens, GPT's steps are half as large, and half of BERT's are padding."""
    elmo, gpt, bert = made.systems[1:]
    assert find_slowest(made) == elmo
    assert read_amount(made, elmo, "minutes").characters == 4 * 100 * 32 * 128
    assert [count_steps(made, system) for system in (elmo, gpt, bert)] == [100, 200, 200]


def test_another_setting_is_refused_and_more_seeds_are_not(made):
    keep_settings(made)
    check_settings(replace(made, seeds=(0, 1, 2, 3, 4, 5), tasks=("glue/rte",)))
    with pytest.raises(ValueError, match=r"begun with other settings \(minutes: 2.0 there, 3.0 here\); restore them"):
        check_settings(replace(made, minutes=3.0))


def test_a_recipe_that_was_edited_since_is_refused_and_what_is_operational_is_not(made, tmp_path):
    text = (Path(__file__).parents[2] / made.systems[-1].pretrain).read_text()
    (tmp_path / "own.yaml").write_text(text)
    recipe = replace(made, systems=(*made.systems[:-1], replace(made.systems[-1], pretrain="own.yaml")))
    keep_settings(recipe)
    (tmp_path / "own.yaml").write_text(text + "\nmixed_precision: no\n")
    check_settings(recipe)
    (tmp_path / "own.yaml").write_text(text.replace("num_hidden_layers: 4", "num_hidden_layers: 2"))
    with pytest.raises(ValueError, match=r"recipes.own.yaml.model.num_hidden_layers: 4 there, 2 here"):
        check_settings(recipe)


def test_systems_read_the_same_text(made, tmp_path):
    check_text(made)
    changed = (
        (Path(__file__).parents[2] / made.systems[-1].pretrain).read_text().replace("held_out: 0.02", "held_out: 0.1")
    )
    (tmp_path / "own.yaml").write_text(changed)
    systems = (*made.systems[:-1], replace(made.systems[-1], pretrain="own.yaml"))
    with pytest.raises(ValueError, match=r"word-vectors.yaml and own.yaml differ in their `corpus:` section"):
        check_text(replace(made, systems=systems))


def test_the_recipes_of_table_1_can_be_called_by_themselves():
    """Each says of itself what the comparison says to it, but for the budget."""
    comparison = load(CompareRecipe, RECIPE)
    for system in comparison.systems:
        vocabulary = load(TokenizerRecipe, Path(system.tokenizer))
        pretrain = load(PretrainRecipe, Path(system.pretrain))
        finetune = load(FinetuneRecipe, Path(system.finetune))
        folder = comparison.vocabulary(system)
        assert Path("runs", vocabulary.name) == folder
        assert Path(pretrain.tokenizer) == folder / "tokenizer"
        assert Path("runs", pretrain.name) == Path(finetune.model) == comparison.pretrained(system, "minutes")
        assert Path("runs", finetune.name) == comparison.finetuned(system, "minutes")
        assert pretrain.plan.minutes == comparison.minutes
        assert set(finetune.task) == {*comparison.tasks, *comparison.large_tasks}


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"minutes": 0}, "minutes is 0; it must be above 0"),
        ({"tasks": ()}, "tasks and seeds must name one each"),
        ({"large_tasks": ("glue/rte",)}, "glue/rte is among tasks and among large_tasks"),
        ({"systems": ()}, "systems must name two or more"),
        ({"same": ()}, "same is empty"),
    ],
)
def test_an_impossible_comparison_is_refused(changes, complaint):
    with pytest.raises(ValueError, match=complaint):
        replace(load(CompareRecipe, RECIPE), **changes)


def test_an_unknown_published_row_is_named_at_once():
    recipe = load(CompareRecipe, RECIPE)
    with pytest.raises(ValueError, match=r"published is 'BERT'; those are Pre-OpenAI SOTA, .*BERT-base"):
        replace(recipe.systems[-1], published="BERT")
