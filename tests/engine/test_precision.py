"""Is what computes chosen by measurement, kept by a run, and overruled by whoever says so?"""

import json
import re

import pytest
import torch
import yaml

from engine.run import precision
from engine.run.precision import Precision, choose_precision
from engine.run.recipe import load
from pretrain.recipe import PretrainRecipe
from pretrain.run import main as pretrain

CPU = torch.device("cpu")


@pytest.fixture
def processor(tmp_path, monkeypatch):
    """Return `be(flags, **rates)`: a processor with these instructions, on which each way was measured before."""
    monkeypatch.delenv("ACCELERATE_MIXED_PRECISION", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    before = torch.backends.mkldnn.matmul.fp32_precision

    def be(flags: str, **rates: float) -> None:
        (tmp_path / "cpuinfo").write_text(f"model name : made up\nflags : {flags}\n")
        monkeypatch.setattr(precision, "INSTRUCTIONS", tmp_path / "cpuinfo")
        monkeypatch.setattr(precision, "_has_exact_onednn", lambda: "onednn" in rates)
        if rates:
            (tmp_path / "cache/cloze").mkdir(parents=True, exist_ok=True)
            (tmp_path / "cache/cloze/precision.json").write_text(json.dumps({precision._machine(): rates}))
        precision.measured_rates.cache_clear()

    yield be
    precision.measured_rates.cache_clear()
    torch.backends.mkldnn.matmul.fp32_precision = before


@pytest.mark.parametrize(
    ("flags", "rates", "chosen"),
    [
        ("avx2", {"mkl": 60}, Precision("no", "mkl")),
        ("avx512f", {"mkl": 118, "onednn": 265}, Precision("no", "onednn")),
        ("avx512f", {"mkl": 120, "onednn": 122}, Precision("no", "mkl")),
        ("avx512f avx512_bf16", {"mkl": 118, "onednn": 265, "bf16": 538}, Precision("bf16", "onednn")),
        ("avx512f avx512_bf16", {"mkl": 118, "onednn": 265, "bf16": 200}, Precision("no", "onednn")),
    ],
)
def test_the_fastest_is_chosen(processor, flags, rates, chosen):
    processor(flags, **rates)
    found, words = choose_precision(Precision(), CPU)
    assert found == chosen
    assert all(f"{rate}" in words for rate in rates.values())
    assert ("no bf16 instructions" in words) == ("bf16" not in flags)
    assert "WARNING" not in words


@pytest.mark.parametrize(
    ("asked", "launcher", "chosen", "warned"),
    [
        (Precision("bf16"), "", "bf16", "bf16 was asked for, and is slower"),
        (Precision(), "bf16", "bf16", "bf16 was asked for, and is slower"),
        (Precision("no"), "bf16", "no", ""),
        (Precision(), "no", "no", ""),
    ],
)
def test_who_asks_is_obeyed_and_warned(processor, monkeypatch, asked, launcher, chosen, warned):
    processor("avx2", mkl=60)
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", launcher)
    found, words = choose_precision(asked, CPU)
    assert found.mixed_precision == chosen
    assert warned in words
    assert ("WARNING" in words) == bool(warned)


def test_fp32_on_a_processor_with_bf16_says_what_is_faster(processor):
    processor("avx512_bf16", mkl=118, onednn=265, bf16=538)
    found, words = choose_precision(Precision("no"), CPU)
    assert (found.mixed_precision, found.matmul) == ("no", "onednn")
    assert "bf16 is faster on this processor, and less exact: --mixed_precision bf16" in words


def test_kernels_that_are_not_exact_here_are_not_taken(processor):
    processor("avx2", mkl=60)
    found, words = choose_precision(Precision("no", "onednn"), CPU)
    assert found.matmul == "mkl"
    assert "oneDNN was asked for, but is not exact on this processor" in words


@pytest.mark.parametrize("asked", ["fp16", "fp8"])
def test_what_needs_a_loss_scale_is_refused(monkeypatch, asked):
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", asked)
    with pytest.raises(ValueError, match=f"mixed precision {asked} needs a loss scale"):
        choose_precision(Precision(), CPU)


def test_a_machine_is_measured_once(processor, tmp_path):
    """Every rate is that of a real product, and the second launch reads what the first one wrote."""
    processor("avx2")
    rates = precision.measured_rates()
    assert rates.keys() == {"mkl"}
    assert rates["mkl"] > 0
    file = tmp_path / "cache/cloze/precision.json"
    (key,) = json.loads(file.read_text())
    file.write_text(json.dumps({key: {"mkl": 1234.5}}))
    precision.measured_rates.cache_clear()
    assert precision.measured_rates() == {"mkl": 1234.5}


@pytest.mark.parametrize("content", ["", "{", "[]", "[1]", "7", "null", '{"KEY": 7}', '{"KEY": {"mkl": "fast"}}'])
def test_damaged_figures_are_measured_anew(processor, tmp_path, content):
    processor("avx2", mkl=1234.5)
    key = precision._machine()
    file = tmp_path / "cache/cloze/precision.json"
    file.write_text(content.replace("KEY", key))
    rates = precision.measured_rates()
    assert rates["mkl"] > 0
    assert json.loads(file.read_text()) == {key: rates}


def test_figures_of_another_machine_with_the_same_home_are_kept(processor, tmp_path):
    processor("avx2", mkl=1234.5)
    (other,) = json.loads((tmp_path / "cache/cloze/precision.json").read_text())
    processor("avx2 another")
    rates = precision.measured_rates()
    kept = json.loads((tmp_path / "cache/cloze/precision.json").read_text())
    assert kept == {other: {"mkl": 1234.5}, precision._machine(): rates}


def test_a_run_says_what_it_computes_with_and_keeps_it(tmp_path, write_recipe, launch_program, monkeypatch):
    """It began in bf16, where another launch would choose fp32; what is said on the command line overrules it."""
    monkeypatch.delenv("ACCELERATE_MIXED_PRECISION", raising=False)
    write_recipe(tmp_path, plan={"max_steps": 2, "save_steps": 1})
    say = ["recipe.yaml", "--plan.max_steps", "2"]
    first = launch_program(pretrain, tmp_path, *say, "--mixed_precision", "bf16")
    assert first.status == 0, first.said
    assert "precision bf16, fp32 matrix products by " in first.said
    folder = tmp_path / "runs/small"
    kept = yaml.safe_load((folder / "recipe.yaml").read_text())
    assert kept["mixed_precision"] == "bf16"
    assert kept["matmul"] in ("mkl", "onednn")
    recipe = load(PretrainRecipe, tmp_path / "recipe.yaml")
    assert Precision.asked_by(recipe, folder).mixed_precision == "bf16"
    again = launch_program(pretrain, tmp_path, *say)
    assert again.status == 0, again.said
    assert re.search(r"precision bf16, .*finished", again.said, re.DOTALL)
    assert "leave out" not in again.said  # it is left out
    other = launch_program(pretrain, tmp_path, *say, "--mixed_precision", "no")
    assert "precision fp32" in other.said


@pytest.mark.parametrize("written", ["no", "'no'", "bf16", "auto"])
def test_a_recipe_may_say_it(tmp_path, write_recipe, written):
    path = write_recipe(tmp_path)
    path.write_text(path.read_text() + f"mixed_precision: {written}\n")
    assert load(PretrainRecipe, path).mixed_precision == written.strip("'")
