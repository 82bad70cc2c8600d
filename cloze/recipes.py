"""Which recipes come along, and how does a script read one?  `cloze recipes`, and `cloze.load_recipe`."""

import sys
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from cloze import ROOT

CLASSES = {  # by a key that only such a recipe has
    "objective": "pretrain.recipe:PretrainRecipe",
    "data": "finetune.recipe:FinetuneRecipe",
    "vocabulary": "tokenizer.recipe:TokenizerRecipe",
    "probes": "probe.recipe:ProbeRecipe",
    "systems": "compare.recipe:CompareRecipe",
    "prompt": "probe.few_shot.task:Task",
}


def main() -> None:
    """List the recipes, each with the first line of what it says of itself."""
    if sys.argv[1:]:
        print("usage: cloze recipes\n\nList the recipes that come along, each with a line on what it is.")
        sys.exit(0 if sys.argv[1] in ("-h", "--help") else 2)
    found = dict(list_recipes())
    width = max(map(len, found))
    for name, line in found.items():
        print(f"{name:{width}}  {line}")
    print(f"\nThey lie in {ROOT / 'recipes'}, and a command finds them by these names from any folder, such as\n"
          "cloze pretrain recipes/pretrain/demo.yaml; copy one to write your own.")  # fmt: skip


def list_recipes() -> Iterator[tuple[str, str]]:
    """Each recipe's name, as commands take it, and the first line of its head."""
    for path in sorted((ROOT / "recipes").rglob("*.yaml")):
        with path.open(encoding="utf-8") as file:
            yield path.relative_to(ROOT).as_posix(), file.readline().lstrip("# ").rstrip()


def load_recipe(path: str | Path, changes: Mapping[str, Any] | None = None) -> Any:
    """Read a recipe, for `cloze.pretrain`, `cloze.finetune` or `cloze.train_tokenizer`.

    `path` is a YAML file, or one of those that `cloze recipes` lists. `changes` are other values under dotted keys,
    such as {"plan.max_steps": 100, "name": "try"}. Errors: FileNotFoundError; ValueError that names file, line and key.
    """
    from engine.run.recipe import changed, find_recipe, load  # with PyYAML and tyro, which a list does not need
    from engine.run.recipe_reader import compose

    found = find_recipe(Path(path))
    root = compose(found)
    keys = {name.value for name, _ in getattr(root, "value", ())}
    kinds = [kind for key, kind in CLASSES.items() if key in keys]
    if not kinds:
        raise ValueError(f"{found} is no recipe: it has none of the sections {', '.join(CLASSES)}")
    module, _, name = kinds[0].partition(":")
    recipe = load(getattr(import_module(module), name), found)
    return changed(recipe, changes, f"changes of {found}") if changes else recipe


if __name__ == "__main__":
    main()
