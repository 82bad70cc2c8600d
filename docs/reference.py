"""The reference pages, made from docstrings, recipes and launch configs when the site is built (a hook of mkdocs)."""

import inspect
from collections.abc import Iterable, Iterator
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import get_type_hints

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from cloze.command import COMMANDS
from cloze.recipes import CLASSES
from engine.run.recipe_help import NOTE, Key, list_sections

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("cloze", "tokenizer", "corpus", "pretrain", "networks", "finetune", "compare", "probe", "engine")
TITLES = {"pretrain.recipe": "Pretraining", "finetune.recipe": "Fine-tuning", "tokenizer.recipe": "Tokenizers",
          "compare.recipe": "Comparing systems", "probe.recipe": "Probes",
          "probe.few_shot.task": "Few-shot tasks"}  # fmt: skip


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages."""
    pages = {"commands": commands(), "recipes": recipes(), "configs": configs()}
    pages |= {package: modules(package) for package in PACKAGES}
    for name, lines in pages.items():
        files.append(File.generated(config, f"reference/{name}.md", content="\n\n".join(lines)))
    return files


def commands() -> Iterator[str]:
    """Every program, with what its file says of it, and its options."""
    yield "# Commands"
    yield "Each takes `--help`. Run them from the folder that holds your recipes and `runs/`."
    for command in COMMANDS:
        if command.exists:
            program = import_module(import_module(command.module).main.__module__)
            yield f"## `cloze {command.name}`"
            yield f"From a checkout also `python -m {command.module.removesuffix('.__main__')}`."
            yield inspect.getdoc(program) or ""
            if hasattr(program, "Options"):
                yield table("option", options(program.Options))
            if command.takes == "RECIPE":
                yield "Each key of its recipe is an option, too: [Recipes](recipes.md)."


def options(kind: type) -> Iterator[Key]:
    """The options of a program as they are typed; arguments without a name as its help calls them."""
    (section,) = list_sections(kind)
    for key, hint in zip(section.keys, get_type_hints(kind, include_extras=True).values(), strict=True):
        stands_for = [about.metavar for about in getattr(hint, "__metadata__", ()) if getattr(about, "metavar", None)]
        yield replace(key, name=stands_for[0] if stands_for else f"--{key.name}")


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
            yield table("key", section.keys)
    yield NOTE.replace("*", "\\*")
    for path in sorted((ROOT / "recipes").rglob("*.yaml")):
        yield f"## {path.relative_to(ROOT)}"
        yield f"```yaml\n{path.read_text(encoding='utf-8').rstrip()}\n```"


def table(what: str, keys: Iterable[Key]) -> str:
    return "\n".join([f"| {what} | default | meaning |", "|---|---|---|", *map(row, keys)])


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
