"""Which states does a run have, and are they whole?  A state, or checkpoint, is one folder, state/step-N.

Its manifest.json names every part with size and SHA-256. What is called otherwise is no state, and left alone.
"""

import json
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from engine.run import tensors
from engine.run.disk import read_json, sha256
from engine.train.batches import Position

WEIGHTS, MOMENTS, AVERAGE = "weights.safetensors", "optimizer.safetensors", "average.safetensors"
POSITION, MANIFEST = "position.json", "manifest.json"
_NAME = re.compile(r"step-(0|[1-9][0-9]*)")


@dataclass(frozen=True)
class Told:
    """What position.json says: where the run stands, the seconds it has taken, and what else resumes."""

    position: Position
    seconds: float
    extra: dict[str, Any]


def states(folder: Path) -> list[Path]:
    """The states in `folder`, oldest first."""
    return sorted((path for path in folder.glob("step-*") if _NAME.fullmatch(path.name) and path.is_dir()), key=step_of)


def drop_states(folder: Path, keep: int = 0) -> None:
    """Delete the states of the run in `folder`, which is finished, but for the `keep` newest."""
    if not keep:
        shutil.rmtree(folder / "state", ignore_errors=True)
    for state in states(folder / "state")[:-keep]:
        shutil.rmtree(state, ignore_errors=True)


def strays(folder: Path) -> list[str]:
    """What lies among the states and is none, such as step-41.bak."""
    found = {path.name for path in states(folder)}
    return sorted(path.name for path in folder.glob("[!.]*") if path.name not in found)


def step_of(folder: Path) -> int:
    return int(folder.name.removeprefix("step-"))


def write_manifest(folder: Path) -> None:
    """Sign what the folder holds."""
    files = {path.name: {"bytes": path.stat().st_size, "sha256": sha256(path)} for path in sorted(folder.iterdir())}
    (folder / MANIFEST).write_text(json.dumps(files, indent=1))


def damage(folder: Path, average: bool) -> str | None:
    """Say what is wrong with a state, or None. `average`: whether an average of the weights is among its parts."""
    needed = [WEIGHTS, MOMENTS, POSITION, *([AVERAGE] if average else [])]
    try:
        for name in _checked_files(folder, needed):
            if name.endswith(".safetensors"):
                tensors.shapes(folder / name)
        saved = read_position(folder)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        return " ".join(str(error).split())
    if saved.position.step != step_of(folder):
        return f"{POSITION} is that of step {saved.position.step}"
    return None


def _checked_files(folder: Path, needed: Sequence[str]) -> list[str]:
    """The parts of a state, each as the manifest says. Errors: OSError, ValueError."""
    files = read_json(folder / MANIFEST, *needed, advice="it names every part of a state")
    if others := sorted(files.keys() - {WEIGHTS, MOMENTS, POSITION, AVERAGE}):
        raise ValueError(f"{MANIFEST} names {', '.join(others)}, which is no part of a state")
    for name, expected in files.items():
        if not isinstance(expected, dict) or not {"bytes", "sha256"} <= expected.keys():
            raise ValueError(f"{MANIFEST} does not say the size and the SHA-256 of {name}")
        size = (folder / name).stat().st_size
        if size != expected["bytes"]:
            raise ValueError(f"{name} has {size} bytes, not {expected['bytes']}")
        if sha256(folder / name) != expected["sha256"]:
            raise ValueError(f"{name} has changed since it was written")
    return list(files)


def read_position(folder: Path) -> Told:
    """Read position.json. Errors: ValueError for what no run writes."""
    path = folder / POSITION
    about = read_json(path, "position", "seconds", "extra", advice="the state cannot be used")
    position, extra, seconds = about["position"], about["extra"], about["seconds"]
    counts = ("step", "epoch", "chapter", "batch")
    if not (
        isinstance(position, dict)
        and position.keys() == vars(Position()).keys()
        and all(type(position[name]) is int and position[name] >= 0 for name in counts)
        and isinstance(position["cursor"], dict)
    ):
        raise ValueError(f"{path} is damaged: its `position` is none of a run")
    if not isinstance(extra, dict) or not all(
        isinstance(extra.get(name, {}), dict) for name in ("window", "watch", "hooks")
    ):
        raise ValueError(f"{path} is damaged: its `extra` is none of a run")
    if type(seconds) not in (int, float):
        raise ValueError(f"{path} is damaged: its `seconds` is no number")
    return Told(Position(**position), seconds, extra)
