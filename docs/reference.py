"""The reference pages, made from docstrings, recipes and launch configs when the site is built (a hook of mkdocs)."""

import inspect
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from cloze.command import COMMANDS
from cloze.recipes import CLASSES
from engine.run.recipe_help import NOTE, Key, list_sections

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("cloze", "tokenizer", "corpus", "pretrain", "networks", "finetune", "probe", "engine")
TITLES = {"pretrain.recipe": "Pretraining", "finetune.recipe": "Fine-tuning", "tokenizer.train": "Tokenizers",
          "probe.few_shot.task": "Few-shot tasks"}  # fmt: skip


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
    for command in COMMANDS:
        if command.exists:
            module = import_module(command.module)
            yield f"## `cloze {command.name}`"
            yield f"From a checkout also `python -m {command.module.removesuffix('.__main__')}`."
            yield inspect.getdoc(import_module(module.main.__module__)) or ""


def recipes() -> Iterator[str]:
    """What a recipe may hold, and every recipe that comes along."""
    yield "# Recipes"
    yield (
        "A recipe is one YAML file. Each key can be changed on the command line, such as `--optimizer.learning_rate "
        "2e-4`. `sources` is a list of such sections. `model` and `config` hold keys of transformers' configs, or "
        "of [our own](networks.md)."
    )
    for kind in CLASSES.values():
        module, _, name = kind.partition(":")
        yield f"## {TITLES.get(module, module)}"
        for section in list_sections(getattr(import_module(module), name)):
            yield f"### `{section.name}`" if section.name else "### At the top"
            yield from section.about
            yield "\n".join(["| key | default | meaning |", "|---|---|---|", *map(row, section.keys)])
    yield NOTE.replace("*", "\\*")
    for path in sorted((ROOT / "recipes").rglob("*.yaml")):
        yield f"## {path.relative_to(ROOT)}"
        yield f"```yaml\n{path.read_text(encoding='utf-8').rstrip()}\n```"


def row(key: Key) -> str:
    mark = "\\*" if key.is_operational else ""
    return f"| `{key.name}`{mark} | {f'`{key.default}`' if key.default else ''} | {escape(key.meaning)} |"


def escape(text: str) -> str:
    """Text as it is, within a table's cell."""
    return text.replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")


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
