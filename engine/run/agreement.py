"""Do all processes of a run mean the same experiment?  Recipe, code, data, tokenizer and weights, before step 1.

Each process reads its own files, and on a second machine these may be old copies. Nothing in training itself would
notice: gradients of different experiments can be averaged as well.
"""

import json
import os
import uuid
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import xxhash
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list, gather_object
from transformers import PreTrainedModel

from engine.run.disk import whole_file
from engine.run.precision import precision_of
from engine.run.processes import as_lost
from engine.run.recipe import resolved
from engine.run.runtime import commit
from engine.run.system import flock
from engine.run.tensors import digest
from engine.train.sharding import settings

PACKAGES = ("torch", "transformers", "tokenizers", "accelerate", "datasets", "numpy")
CODE = ("corpus", "engine", "finetune", "networks", "pretrain", "tokenizer")
MOST_NAMED = 4  # differences; a wrong model differs in all of its weights
LONGEST = 60  # characters of a value

Facts = Mapping[str, Any]


def name_launch() -> str:
    """A name that all processes of this launch share, and no other launch has. Every process calls it."""
    name: str = broadcast_object_list([uuid.uuid4().hex[:8]])[0]
    return name


def agree(accelerator: Accelerator, **facts: Any) -> None:
    """Compare `facts`, plain JSON, over all processes. Errors: ValueError, the same on each, that says who has what."""
    if accelerator.num_processes == 1:
        return
    found = gather_object([_flat(resolved(facts))])
    differences = [
        f"{name} is {_by_process([each.get(name) for each in found])}"
        for name in dict.fromkeys(name for each in found for name in each)
        if len({json.dumps(each.get(name)) for each in found}) > 1
    ]
    if not differences:
        return
    try:
        accelerator.wait_for_everyone()  # who ends at once would take the answer from those that still wait for it
    except RuntimeError as error:
        if not as_lost(error):
            raise
    raise ValueError(f"the processes do not agree, so nothing is trained: {_in_short(differences)}. {REMEDY}")


class Apart:
    """Processes that work alone in one folder, each at jobs of its own, and must mean the same all the same.

    The first one at work says what is right; it holds for those that join it, until the last of them has ended.
    """

    def __init__(self, folder: Path):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self._agreed = folder, folder / ".agreed.json"
        self._at_work = (folder / ".agreed.lock").open("a")  # until this process ends
        try:
            flock(self._at_work, wait=False)
            self._agreed.unlink(missing_ok=True)  # nobody else is at work
        except BlockingIOError:
            pass
        flock(self._at_work, shared=True)

    def agree(self, **facts: Any) -> None:
        """Compare `facts` with what the others said, by name. Errors: ValueError that says what differs."""
        own = _flat(resolved(facts))
        with (self.folder / ".agreed.turn").open("a") as turn:
            flock(turn)
            known = json.loads(self._agreed.read_text()) if self._agreed.exists() else {}
            differences = [
                f"{name} is {_shown(known[name])} there and {_shown(value)} here"
                for name, value in own.items()
                if known.get(name, value) != value
            ]
            if differences:
                raise ValueError(
                    f"other processes are at work in {self.folder} and do not agree with this one: "
                    f"{_in_short(differences)}. {REMEDY}"
                )
            whole_file(self._agreed, json.dumps({**known, **own}).encode())


REMEDY = "Give all of them the same recipe, code and data, and the same command again"


def surroundings(accelerator: Accelerator) -> dict[str, Any]:
    """What decides over a run beside its recipe: the code, the packages, and what the launcher's config says."""
    return {
        "code": f"{commit() or 'no commit'}, files {_code()}",
        "packages": {name: version(name) for name in PACKAGES},
        "precision": precision_of(accelerator),
        "launcher": {**settings(), "mixed_precision": os.environ.get("ACCELERATE_MIXED_PRECISION")},
    }


def weights(model: PreTrainedModel) -> dict[str, Any]:
    """A model as facts: its config, and a checksum of each tensor."""
    config = model.config.to_diff_dict()
    config.pop("_name_or_path", None)  # each machine may have it elsewhere
    return {"config": config, "weights": {name: digest(value) for name, value in model.state_dict().items()}}


def contents(folder: Path) -> dict[str, str]:
    """A checksum of each file that a saved model or tokenizer is read from."""
    files = [path for path in sorted(folder.iterdir()) if path.suffix in (".json", ".safetensors", ".txt", ".model")]
    return {path.name: xxhash.xxh3_64_hexdigest(path.read_bytes()) for path in files}


def _code() -> str:
    """A checksum of our own files: a commit does not tell what was changed after it."""
    root, total = Path(__file__).parents[2], xxhash.xxh3_64()
    for path in sorted(path for folder in CODE for path in (root / folder).rglob("*.py")):
        total.update(f"{path.relative_to(root)}\n".encode())
        total.update(path.read_bytes())
    return total.hexdigest()


def _flat(value: Any, key: str = "") -> dict[str, Any]:
    """Nested values by dotted keys."""
    if isinstance(value, dict) and value:
        pairs = list(value.items())
    elif isinstance(value, list) and any(isinstance(item, dict) for item in value):
        pairs = list(enumerate(value))
    else:
        return {key: value}
    return {name: item for part, one in pairs for name, item in _flat(one, f"{key}.{part}" if key else part).items()}


def _by_process(values: list[Any]) -> str:
    """`0.001 on process 0, 0.5 on processes 1 and 2`."""
    holders: dict[str, list[str]] = {}
    for process, value in enumerate(values):
        holders.setdefault(json.dumps(value), []).append(str(process))
    differences = []
    for text, processes in holders.items():
        some = " and ".join(filter(None, [", ".join(processes[:-1][:8]), processes[-1]]))
        differences.append(f"{_shown(json.loads(text))} on process{'es' if len(processes) > 1 else ''} {some}")
    return ", ".join(differences)


def _shown(value: Any) -> str:
    text = "not there" if value is None else str(value)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."


def _in_short(differences: list[str]) -> str:
    more = f"; and {len(differences) - MOST_NAMED} more" if len(differences) > MOST_NAMED else ""
    return "; ".join(differences[:MOST_NAMED]) + more
