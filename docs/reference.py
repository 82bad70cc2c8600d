"""The reference pages, made from docstrings, recipes and launch configs when the site is built (a hook of mkdocs)."""

import ast
import inspect
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("tokenizer", "corpus", "pretrain", "networks", "finetune", "probe", "engine")
SECTIONS = {  # what a recipe may hold: the classes that say so
    "Pretraining": (
        "pretrain.recipe:PretrainRecipe", "pretrain.recipe:Corpus", "corpus.text.source:Source",
        "pretrain.recipe:LastPhase", "engine.train.plan:Plan", "pretrain.objectives.bert:Bert",
        "pretrain.objectives.causal_lm:CausalLM", "networks.lstm:LSTMConfig",
    ),
    "Fine-tuning": ("finetune.recipe:FinetuneRecipe", "finetune.recipe:Passes", "finetune.tasks.task:DataSource"),
    "Both": (
        "engine.train.optimizer:Optimizer", "engine.train.schedule:Schedule", "engine.publish.hub:Hub",
    ),
    "Tokenizers": ("tokenizer.train:Recipe", "tokenizer.learn:WordPiece", "tokenizer.learn:BytePairs"),
}  # fmt: skip


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages."""
    pages = {"commands": commands(), "recipes": recipes(), "configs": configs()}
    pages |= {package: modules(package) for package in PACKAGES}
    for name, lines in pages.items():
        files.append(File.generated(config, f"reference/{name}.md", content="\n\n".join(lines)))
    return files


def commands() -> Iterator[str]:
    """Every program, with what its file says of it."""
    yield "# Commands"
    yield "Each takes `--help`. Run them from the folder that holds your recipes and `runs/`."
    for path in sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names = [node.name for node in tree.body if isinstance(node, ast.FunctionDef) and is_program(node)]
        if names:
            yield f"## `python -m {dotted(path).removesuffix('.__main__')}`"
            yield ast.get_docstring(tree) or ""


def is_program(node: ast.FunctionDef) -> bool:
    return any(isinstance(mark, ast.Name) and mark.id == "program" for mark in node.decorator_list)


def recipes() -> Iterator[str]:
    """What a recipe may hold, and every recipe that comes along."""
    yield "# Recipes"
    yield (
        "A recipe is one YAML file. What it may hold is what these classes say: a key's name, its kind, its value "
        "where it is left out. Each key can be changed on the command line, such as `--optimizer.learning_rate 2e-4`. "
        "What is marked `operational()` may change when a run goes on."
    )
    for title, names in SECTIONS.items():
        yield f"## {title}"
        for name in names:
            yield f"```python\n{fields(*name.split(':'))}\n```"
    for path in sorted((ROOT / "recipes").rglob("*.yaml")):
        yield f"## {path.relative_to(ROOT)}"
        yield f"```yaml\n{path.read_text(encoding='utf-8').rstrip()}\n```"


def fields(module: str, name: str) -> str:
    """A recipe class's head and fields, as its file has them, without its methods."""
    made: Any = getattr(import_module(module), name)
    lines = inspect.getsource(made).splitlines()
    (tree,) = ast.parse(inspect.getsource(made)).body
    assert isinstance(tree, ast.ClassDef)
    last = max((node.end_lineno or 0 for node in tree.body if not isinstance(node, ast.FunctionDef)), default=0)
    return "\n".join(lines[:last])


def configs() -> Iterator[str]:
    """Every launch config, with its command."""
    yield "# Launch configs"
    for path in sorted((ROOT / "accelerate_configs").glob("*.yaml")):
        yield f"## {path.name}\n\n```yaml\n{path.read_text(encoding='utf-8').rstrip()}\n```"


def modules(package: str) -> Iterator[str]:
    """Every file of a package, with its public names."""
    yield f"# {package}"
    for path in sorted((ROOT / package).rglob("*.py")):
        if path.read_text(encoding="utf-8").strip() and (path.parent / "__init__.py").exists():
            yield f"::: {dotted(path)}"


def dotted(path: Path) -> str:
    """A file as it is imported."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
