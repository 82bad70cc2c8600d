"""Which command makes what is not there?  What lies in runs/ is named after a recipe, and the recipe is looked for."""

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
COMMANDS = {"vocabulary": "cloze tokenizer", "objective": "cloze pretrain", "data": "cloze finetune"}  # by a section


def advise(folder: str) -> str:
    """What to say of `folder`, runs/NAME or what lies in it, where it is not there: the command that makes it.

    Empty for a folder elsewhere, which no command makes.
    """
    parts = Path(folder).parts
    if "runs" not in parts[:-1]:
        return ""
    inside = parts[parts.index("runs") + 1 :]
    names = ["/".join(inside[:size]) for size in range(len(inside), 0, -1)]
    found = next((made for name in names if (made := find_command(name))), "")
    if not found:
        made = "cloze tokenizer" if inside[-1] == "tokenizer" else "cloze pretrain"
        own = inside[:-1] if inside[-1] in ("tokenizer", "model") and len(inside) > 1 else inside
        found = f"{made} RECIPE.yaml --name {'/'.join(own)}"
    return f"; make it with  {found}"


def find_command(name: str) -> str:
    """The command whose recipe has this name; empty where no recipe has it."""
    for path in list_recipes():
        text = path.read_text(encoding="utf-8", errors="replace")
        if not re.search(rf"^name:\s*(['\"]?){re.escape(name)}\1\s*(#.*)?$", text, re.MULTILINE):
            continue
        for section, command in COMMANDS.items():
            if re.search(rf"^{section}:", text, re.MULTILINE):
                shown = path.relative_to(ROOT) if path.is_relative_to(ROOT) and path.is_absolute() else path
                return f"{command} {shown.as_posix()}"
    return ""


def list_recipes() -> Iterator[Path]:
    """The recipes in the working folder and in its recipes/, and those that come along."""
    yield from sorted(Path().glob("*.yaml"))
    yield from sorted(Path("recipes").rglob("*.yaml"))
    yield from sorted((ROOT / "recipes").rglob("*.yaml"))
