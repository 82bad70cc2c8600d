"""Does `import cloze` give a notebook what the programs use, and nothing in the place of the user's own modules?"""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import cloze
import finetune.run
import pretrain.run
import tokenizer.train
from engine.run.recipe import resolved

ROOT = Path(__file__).parents[2]


def python(folder, code):
    return subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True)


def test_the_programs_use_the_same_functions():
    assert cloze.pretrain is pretrain.run.pretrain
    assert cloze.finetune is finetune.run.finetune
    assert cloze.train_tokenizer is tokenizer.train.train_tokenizer
    assert set(cloze.__all__) <= set(dir(cloze))
    with pytest.raises(AttributeError, match="no attribute 'pretrian'"):
        _ = cloze.pretrian


@pytest.mark.parametrize("path", sorted((ROOT / "recipes").glob("*/demo.yaml")), ids=lambda path: path.parent.name)
def test_a_recipe_is_read_as_its_program_reads_it(path):
    recipe = cloze.load_recipe(path, {"name": "other"})
    assert resolved(recipe) == {**resolved(cloze.load_recipe(path)), "name": "other"}
    with pytest.raises(ValueError, match="nme"):
        cloze.load_recipe(path, {"nme": "other"})


def test_values_under_dotted_keys_are_checked(tmp_path):
    recipe = cloze.load_recipe("recipes/pretrain/demo.yaml", {"plan.max_steps": 7, "optimizer.learning_rate": 1e-3})
    assert (recipe.plan.max_steps, recipe.optimizer.learning_rate) == (7, 1e-3)
    with pytest.raises(ValueError, match="max_steps must be one whole number; found 'many'"):
        cloze.load_recipe("recipes/pretrain/demo.yaml", {"plan.max_steps": "many"})
    (tmp_path / "other.yaml").write_text("a: 1")
    with pytest.raises(
        ValueError, match=r"other\.yaml is no recipe: it has none of the sections objective, data, vocab"
    ):
        cloze.load_recipe(tmp_path / "other.yaml")


def test_the_import_is_light(tmp_path):
    done = python(tmp_path, "import cloze, sys; print('torch' in sys.modules, 'engine' in sys.modules)")
    assert done.stdout == "False False\n"


@pytest.mark.slow
def test_a_module_of_the_users_with_a_name_of_ours_is_told(tmp_path):
    (tmp_path / "tokenizer.py").write_text("mine = True")
    done = python(tmp_path, "import tokenizer, cloze")
    said = f"{tmp_path / 'tokenizer.py'} was imported as 'tokenizer', which is the name of one of Cloze's own folders"
    assert f"ImportError: {said}" in done.stderr
    done = python(tmp_path, "import cloze; print(cloze.train_tokenizer.__module__)")  # and does not hide ours
    assert done.stdout == "tokenizer.train\n", done.stderr


@pytest.mark.slow
def test_the_notebook_runs(tmp_path):
    """Each cell in turn, in a fresh process and an empty folder, with fewer steps."""
    notebook = json.loads((ROOT / "docs/notebook.ipynb").read_text(encoding="utf-8"))
    cells = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    code, number = re.subn(r"^steps = \d+", "steps = 4", "\n".join(cells), flags=re.MULTILINE)
    assert (len(cells) > 5, number) == (True, 1)
    done = python(tmp_path, code)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "runs/notebook/bert/model/model.safetensors").is_file()
    assert (tmp_path / "runs/notebook/bert/report.html").is_file()
    card = (tmp_path / "runs/notebook/bert/model/README.md").read_text(encoding="utf-8")
    assert "| command | `from Python, with the recipe below` |" in card
    (line,) = (tmp_path / "runs/notebook/code-or-prose/results.jsonl").read_text().splitlines()
    assert f"\naccuracy {json.loads(line)['metrics']['dev']['accuracy']:.3f}; the commonest" in done.stdout
