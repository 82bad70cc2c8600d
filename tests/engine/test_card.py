"""Does a model card say under which licence, in which language and beside which baseline, and guess none of them?"""

import json
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from engine.publish.card import Card, Journey, Score, write_card
from pretrain.run import main as pretrain


def card_of(folder: Path, **facts) -> ModelCard:
    card = Card(summary="A model.", usage="", data="Some text.", limits="Many.", pipeline="fill-mask", **facts)
    write_card(folder, card, Journey(folder, 0.1, 1, "an abacus", None))
    return ModelCard.load(folder / "README.md")


@pytest.mark.parametrize(
    ("said", "license", "name"),
    [("Apache-2.0", "apache-2.0", None), ("for our own use", "other", "for our own use"), ("", None, None)],
)
def test_a_licence_is_the_hubs_name_of_it_or_words_or_nothing(tmp_path, said, license, name):
    card = card_of(tmp_path, license=said, language=("de", "en"))
    assert (card.data.license, card.data.license_name) == (license, getattr(card.data, "license_name", name))
    assert getattr(card.data, "license_name", None) == name
    assert card.data.language == ["de", "en"]
    assert f"Of this model: {said or 'not stated'}." in card.content


def test_what_nobody_said_is_not_in_the_metadata(tmp_path):
    found = card_of(tmp_path).data.to_dict()
    assert not found.keys() & {"license", "license_name", "language"}


def test_a_score_stands_beside_its_baseline(tmp_path):
    scores = [
        Score("fill-mask", "held-out", "texts", "dev", name, 0.5, baseline=b) for name, b in (("f1", 0.25), ("x", None))
    ]
    content = card_of(tmp_path, scores=tuple(scores)).content
    assert "| texts | dev | f1 | 0.5 | 0.25 |" in content
    assert "| texts | dev | x | 0.5 | – |" in content


def test_a_run_says_what_its_recipe_says(tmp_path, write_recipe, launch_program):
    write_recipe(tmp_path, plan={"max_steps": 2, "eval_steps": 2})
    ended = launch_program(
        pretrain, tmp_path, "recipe.yaml", "--hub.license", "mit", "--hub.language", "en", "--corpus.license", "CC0-1.0"
    )
    assert ended.status == 0, ended.said
    card = ModelCard.load(tmp_path / "runs/small/model/README.md")
    assert (card.data.license, card.data.language) == ("mit", ["en"])
    assert "; licence: CC0-1.0" in card.content
    assert "; licence: CC0-1.0" in (tmp_path / "runs/small/data_report.md").read_text()
    (line,) = [
        json.loads(line) for line in (tmp_path / "runs/small/metrics.jsonl").read_text().splitlines() if "eval_" in line
    ]
    name = "masked_lm_loss"
    assert f"{name} | {line[f'eval_{name}']:.4g} | {line[f'baseline_{name}']:.4g} |" in card.content

    # Nobody said anything: the run goes on, since none of it is part of what it is, and the card guesses nothing.
    ended = launch_program(pretrain, tmp_path, "recipe.yaml", "--name", "silent")
    assert ended.status == 0, ended.said
    card = ModelCard.load(tmp_path / "runs/silent/model/README.md")
    assert card.data.license is None
    assert "; licence: not stated" in card.content


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--hub.language", "English", "ISO 639"),
        ("--corpus.license", "a|b", "one line"),
    ],
)
def test_what_no_card_can_say_is_refused_in_one_line(tmp_path, write_recipe, launch_program, option, value, said):
    write_recipe(tmp_path)
    ended = launch_program(pretrain, tmp_path, "recipe.yaml", option, value)
    assert ended.status == 2
    assert said in ended.said.strip().splitlines()[-1]
