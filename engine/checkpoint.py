"""What stays on disk?  A run folder: recipe, metrics, states to go on from, and the model that is handed on.

    runs/NAME/recipe.yaml      the resolved recipe, with commit and hardware
    runs/NAME/metrics.jsonl    one line for each log and each evaluation
    runs/NAME/state/step-N/    weights, optimizer, average, position: a folder that appears whole or not at all
    runs/NAME/model/           a transformers folder, ready for `from_pretrained` and the Hub
    runs/NAME/finished.json    written last

A state is safetensors and JSON: nothing that is loaded can execute code. It is the same whatever the parallelism, and
goes on under any other.
"""

import fcntl
import json
import math
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

import torch
import yaml
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from engine import tensors
from engine.average import Average
from engine.batches import Position
from engine.card import Card, Journey, write_card
from engine.disk import sha256, whole_file, whole_folder
from engine.recipe import identity, resolved
from engine.runtime import commit, hardware, peak_gpu_mb, peak_rss_mb

WEIGHTS, MOMENTS, AVERAGE = "weights.safetensors", "optimizer.safetensors", "average.safetensors"


class Taken(FileExistsError):
    """Another process is at this run."""


class Run:
    """The one place that touches a run's disk. The same recipe goes on; another recipe in its folder is refused."""

    def __init__(
        self,
        folder: Path,
        recipe: Any,
        accelerator: Accelerator,
        overwrite: bool = False,
        state: str | None = None,
        shared: bool = False,
    ):
        """Claim `folder`, for as long as this process lives. `state` names the state to go on from, such as step-200;
        `shared` lets others claim it too, who say the same.

        What the recipe's classes mark as `how` may differ from launch to launch. Errors: FileExistsError if the folder
        holds another recipe's run, or files that are no run; Taken if another process is at it: a launcher that is
        killed may leave its training behind.
        """
        self.folder, self.accelerator, self._asked_for = folder, accelerator, state
        self._began, self._seconds_before = time.perf_counter(), 0.0
        if accelerator.is_main_process and overwrite and folder.exists():
            _locked(folder).close()  # not while another process trains in it
            shutil.rmtree(folder)
        accelerator.wait_for_everyone()
        refuse_strangers(folder, recipe)
        accelerator.wait_for_everyone()
        if accelerator.is_main_process and not self.finished:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = _locked(folder, shared)
            if not _has_work(folder):
                text = yaml.safe_dump(resolved(recipe), sort_keys=False, allow_unicode=True)
                facts = {"commit": commit() or "unknown", "hardware": hardware()}
                facts |= {"processes": str(accelerator.num_processes)}
                head = "".join(f"# {name} {value}\n" for name, value in facts.items())
                whole_file(folder / "recipe.yaml", (head + text).encode())

    @property
    def finished(self) -> dict[str, Any] | None:
        """What `finish` wrote, or None."""
        path = self.folder / "finished.json"
        return json.loads(path.read_text()) if path.exists() else None

    @property
    def seconds(self) -> float:
        """Seconds this run has taken, over all its launches."""
        return self._seconds_before + time.perf_counter() - self._began

    def finish(self, **facts: Any) -> None:
        """Write `finished.json`: seconds, peak memory and `facts`; then drop the states, which are no longer needed."""
        if self.accelerator.is_main_process:
            memory = {"peak_rss_mb": round(peak_rss_mb()), **peak_gpu_mb()}
            facts = {"seconds": round(self.seconds, 1), **memory, **facts}
            whole_file(self.folder / "finished.json", json.dumps(facts, indent=1).encode())
            shutil.rmtree(self.folder / "state", ignore_errors=True)
            (self.folder / ".lock").unlink(missing_ok=True)
        self.accelerator.wait_for_everyone()

    def bind(self, **stamps: str) -> None:
        """Tie the run to its data. Errors: ValueError if it began on data with other stamps."""
        path = self.folder / "stamps.json"
        before = json.loads(path.read_text()) if path.exists() else stamps
        if changed := [name for name in stamps if before.get(name) != stamps[name]]:
            raise ValueError(
                f"the {' and the '.join(changed)} of {self.folder} changed since the run began; restore what it began "
                "with, choose another --name, or start anew with --overwrite True"
            )
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process:
            whole_file(path, json.dumps(stamps, indent=1).encode())

    def save_state(
        self,
        position: Position,
        model: nn.Module,
        optimizers: Sequence[Optimizer],
        keep: int,
        extra: dict[str, Any],
        average: Average | None = None,
    ) -> None:
        """Write `state/step-N/`, then delete all but the `keep` newest. Every process calls it; the main one writes.

        `extra` is plain JSON: what else goes on, such as what the log has gathered since its last line. Errors: OSError
        if there is no room; the older states are kept.
        """
        files = {WEIGHTS: _weights(model), MOMENTS: _moments(model, optimizers)}
        if average is not None:
            files[AVERAGE] = average.tensors()
        if self.accelerator.is_main_process:
            about = {"position": vars(position), "seconds": self.seconds, "extra": extra}
            needed = sum(map(tensors.size, files.values()))
            with whole_folder(self.folder / "state" / f"step-{position.step}", needed) as folder:
                for name, content in files.items():
                    tensors.write(folder / name, content)
                (folder / "position.json").write_text(json.dumps(about))
                _write_manifest(folder)
            # What claims to be newer was passed over: counted as kept, it would displace a whole one.
            passed_over = [state for state in self._states() if _step(state) > position.step]
            older = [state for state in self._states() if _step(state) <= position.step][:-keep]
            for state in passed_over + older:
                shutil.rmtree(state)
        else:
            for content in files.values():
                tensors.write(None, content)
        self.accelerator.wait_for_everyone()

    def resume(
        self, model: nn.Module, optimizers: Sequence[Optimizer], average: Average | None = None
    ) -> tuple[Position, dict[str, Any]]:
        """Load the newest complete state, or the one asked for, in place; the beginning if there is none.

        Return its position and what `save_state` was given as `extra`. A damaged state is named and the one before it
        is taken, unless it was asked for. Errors: ValueError if it was, if there are states but none whole, or if the
        state is of another architecture.
        """
        chosen = [self._choose() if self.accelerator.is_main_process else None]  # one process reads, all agree
        folder = broadcast_object_list(chosen)[0]
        if folder is None:
            position, extra = Position(), {}
        else:
            about = json.loads((folder / "position.json").read_text())
            position, extra, self._seconds_before = Position(**about["position"]), about["extra"], about["seconds"]
            _load_weights(model, folder / WEIGHTS)
            _load_moments(model, optimizers, folder / MOMENTS)
            if average is not None:
                mine = average.tensors()
                _refuse_misfit(folder / AVERAGE, mine)
                average.load(
                    {name: tensors.placed(value, mine[name]) for name, value in tensors.read(folder / AVERAGE)}
                )
        if self.accelerator.is_main_process:
            _cut_metrics(self.folder / "metrics.jsonl", position.step)
            if folder is not None:
                print(f"going on from step {position.step} ({folder})")
        return position, extra

    def export(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerFast,
        card: Card | None = None,
        repo: str = "",
        target: Path | None = None,
    ) -> Path:
        """Write `model/`, or `target`, whole or not at all, as transformers and the Hub expect it. Return its path.

        `card` says what it is, `repo` what it will be called on the Hub. Every process calls it; the main one writes.
        Errors: OSError if there is no room.
        """
        target, state = target or self.folder / "model", _gathered(model)
        if self.accelerator.is_main_process:
            with whole_folder(target, tensors.size(_once(state))) as folder:
                model.save_pretrained(folder, state_dict=state)
                positions = getattr(model.config, "max_position_embeddings", tokenizer.model_max_length)
                tokenizer.model_max_length = min(tokenizer.model_max_length, positions)
                tokenizer.backend_tokenizer.no_truncation()  # an encoding's own, which is no property of the tokenizer
                tokenizer.save_pretrained(folder)
                if card:
                    write_card(folder, card, self._journey(), repo)
        self.accelerator.wait_for_everyone()
        return target

    def _journey(self) -> Journey:
        processes = self.accelerator.num_processes
        return Journey(self.folder, self.seconds / 3600, processes, hardware(), commit())

    def _choose(self) -> Path | None:
        """The folder of the state to go on from."""
        states = self._states()
        if self._asked_for:
            return _asked_for(self.folder / "state" / self._asked_for, states)
        for folder in reversed(states):
            if not (problem := _damage(folder)):
                return folder
            print(f"{folder} is damaged ({problem}); trying the state before it")
        if states:
            raise ValueError(f"every state in {self.folder / 'state'} is damaged; start anew with --overwrite True")
        return None

    def _states(self) -> list[Path]:
        """Complete-looking state folders, oldest first."""
        found = (self.folder / "state").glob("step-*")
        return sorted(found, key=_step)


def _step(folder: Path) -> int:
    return int(folder.name.removeprefix("step-"))


def _asked_for(folder: Path, states: list[Path]) -> Path:
    """Check the state that was asked for: another one would not do."""
    if folder not in states:
        there = ", ".join(state.name for state in states) or "none"
        raise ValueError(f"there is no state {folder}; those there are: {there}")
    if problem := _damage(folder):
        raise ValueError(
            f"{folder}, the state asked for, is damaged: {problem}; without --state the newest whole one is taken"
        )
    return folder


def refuse_strangers(folder: Path, recipe: Any) -> None:
    """Refuse a folder that holds another recipe's run, or files that are no run. Errors: FileExistsError."""
    # Hidden are a lock, and a recipe that another process is just about to put there.
    there = sorted(entry.name for entry in folder.glob("*") if not entry.name.startswith("."))
    if not there:
        return
    path = folder / "recipe.yaml"
    if not path.exists():
        names = ", ".join(there[:5])
        raise FileExistsError(f"{folder} is not empty and no run of ours ({names}); choose another --name, or empty it")
    before, now = identity(recipe, yaml.safe_load(path.read_text(encoding="utf-8"))), identity(recipe)
    if before != now and _has_work(folder):
        changed = "; ".join(_differences(before, now))
        raise FileExistsError(
            f"{folder} holds a run of another recipe ({changed}); choose another --name, or pass --overwrite True to "
            "delete that run"
        )


def _locked(folder: Path, shared: bool = False) -> TextIO:
    """Hold the folder's lock until the returned file is closed or the process ends, however it ends."""
    file = (folder / ".lock").open("a+")
    try:
        way = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        fcntl.lockf(file, way | fcntl.LOCK_NB)  # a process's own: it may claim the folder again
    except OSError:
        file.close()
        raise Taken(f"another process is training in {folder}; wait for it, or end it") from None
    return file


def _has_work(folder: Path) -> bool:
    """A launch that failed before its first report leaves only what can be written anew."""
    return any((folder / name).exists() for name in ("metrics.jsonl", "state", "results.jsonl", "model"))


def _differences(before: Any, now: Any, key: str = "") -> list[str]:
    if isinstance(before, dict) and isinstance(now, dict):
        names = list(before) + [name for name in now if name not in before]
        return [
            line
            for name in names
            for line in _differences(before.get(name), now.get(name), f"{key}.{name}" if key else name)
        ]
    return [] if before == now else [f"{key}: {before!r} there, {now!r} here"]


def _weights(model: nn.Module) -> dict[str, Tensor]:
    """Every parameter and saved buffer once."""
    return _once(model.state_dict(keep_vars=True))


def _once(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tied tensors under their first name (safetensors refuses shared memory)."""
    first: dict[int, tuple[str, Tensor]] = {}
    for name, tensor in state.items():
        first.setdefault(id(tensor), (name, tensor))
    return dict(first.values())


def _gathered(model: nn.Module) -> dict[str, Tensor]:
    """The whole state on every process, tied tensors as one.

    It is what `state_dict` gives; but at that torch takes a model apart that was gathered to be used (`fully_shard`).
    """
    state: dict[str, Tensor] = {}
    for place, module in model.named_modules(remove_duplicate=False):
        passing = module._non_persistent_buffers_set
        kept = {name: buffer for name, buffer in module._buffers.items() if name not in passing}
        for name, tensor in (module._parameters | kept).items():
            if tensor is not None:
                state[f"{place}.{name}" if place else name] = tensor
    once = {id(tensor): _off_the_device(tensor.detach()) for tensor in state.values()}
    return {name: once[id(tensor)] for name, tensor in state.items()}


def _off_the_device(tensor: Tensor) -> Tensor:
    """What was in shards for want of room is gathered in the machine's memory; a whole tensor stays where it is."""
    return tensors.whole(tensor).cpu() if isinstance(tensor, DTensor) else tensor


@torch.no_grad()
def _load_weights(model: nn.Module, path: Path) -> None:
    mine = _weights(model)
    _refuse_misfit(path, mine)
    for name, value in tensors.read(path):
        mine[name].copy_(tensors.placed(value, mine[name]))


def _refuse_misfit(path: Path, mine: dict[str, Tensor]) -> None:
    expected = {name: tuple(tensor.shape) for name, tensor in mine.items()}
    found = tensors.shapes(path)
    if differing := sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name)):
        raise ValueError(
            f"{path} does not fit the model: {len(differing)} tensors differ in name or shape, such as {differing[0]}; "
            "go on with the version of transformers that wrote it, or start anew with --overwrite True"
        )


def _owned(model: nn.Module, optimizers: Sequence[Optimizer]) -> Iterator[tuple[str, Tensor, Optimizer]]:
    """Every parameter that is trained: its name, itself, and whose it is."""
    by_identity = {id(tensor): name for name, tensor in _weights(model).items()}
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                yield by_identity[id(parameter)], parameter, optimizer


def _moments(model: nn.Module, optimizers: Sequence[Optimizer]) -> dict[str, Tensor]:
    """The optimizers' tensors as `parameter|key`."""
    return {
        f"{name}|{key}": value
        for name, parameter, optimizer in _owned(model, optimizers)
        for key, value in optimizer.state.get(parameter, {}).items()
    }


def _load_moments(model: nn.Module, optimizers: Sequence[Optimizer], path: Path) -> None:
    owners = {name: (parameter, optimizer) for name, parameter, optimizer in _owned(model, optimizers)}
    for name, value in tensors.read(path):
        owner, _, key = name.rpartition("|")
        parameter, optimizer = owners[owner]
        optimizer.state[parameter][key] = tensors.placed(value, parameter)


def _write_manifest(folder: Path) -> None:
    files = {path.name: {"bytes": path.stat().st_size, "sha256": sha256(path)} for path in sorted(folder.iterdir())}
    (folder / "manifest.json").write_text(json.dumps(files, indent=1))


def _damage(folder: Path) -> str | None:
    """Say what is wrong with a state folder, or None."""
    try:
        files = json.loads((folder / "manifest.json").read_text())
        for name, expected in files.items():
            path = folder / name
            if path.stat().st_size != expected["bytes"]:
                return f"{name} has {path.stat().st_size} bytes, not {expected['bytes']}"
            if sha256(path) != expected["sha256"]:
                return f"{name} has changed since it was written"
    except (OSError, ValueError, KeyError) as error:
        return str(error)
    return None


def _cut_metrics(path: Path, step: int) -> None:
    """Forget lines of steps that will be taken again."""
    if path.exists():
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        whole_file(path, "".join(line for line in lines if _step_of(line) <= step).encode())


def _step_of(line: str) -> float:
    try:
        return json.loads(line)["step"]
    except ValueError:
        return math.inf  # torn by a crash: as good as never written
