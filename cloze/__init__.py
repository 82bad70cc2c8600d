"""Cloze as a library: what a notebook or a script calls. The programs call the same functions.

    import cloze

    recipe = cloze.load_recipe("recipes/pretrain/demo.yaml", {"name": "try", "plan.max_steps": 100})
    model = cloze.pretrain(recipe)  # the model's folder: transformers' AutoModel opens it

The code itself lies in folders with common names (engine, corpus, tokenizer ...), beside this package in a checkout and
inside of it, in `cloze/folders`, where it is installed: so nothing of that name is in site-packages. This import puts
them on the import path, first of all. It imports nothing else that takes time: torch comes with the first function.
"""

import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cloze.recipes import load_recipe
    from finetune.run import finetune
    from pretrain.run import pretrain
    from probe.run import probe
    from tokenizer.train import train_tokenizer

__version__ = "0.1.0"
__all__ = ["finetune", "load_recipe", "pretrain", "probe", "train_tokenizer"]
_HOMES = {
    "finetune": "finetune.run",
    "load_recipe": "cloze.recipes",
    "pretrain": "pretrain.run",
    "probe": "probe.run",
    "train_tokenizer": "tokenizer.train",
}


def _find_root() -> Path:
    """The folder that holds engine/, pretrain/, recipes/ and the others."""
    installed = Path(__file__).resolve().parent / "folders"
    return installed if installed.is_dir() else installed.parents[1]


def _refuse_others(root: Path) -> None:
    """Refuse to work with another module in the place of one of ours. Errors: ImportError that names it."""
    for folder in root.iterdir():
        found = getattr(sys.modules.get(folder.name), "__file__", None)
        if found and (folder / "__init__.py").is_file() and Path(found).resolve() != folder / "__init__.py":
            raise ImportError(
                f"{found} was imported as {folder.name!r}, which is the name of one of Cloze's own folders; import "
                "cloze before it, or give it another name"
            )


ROOT = _find_root()
_refuse_others(ROOT)
sys.path.insert(0, str(ROOT))  # a process that is started by multiprocessing is given this path, too


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
