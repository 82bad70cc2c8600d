"""What stays on disk?  A run folder: recipe, metrics, states to go on from, and the model that is handed on.

    runs/NAME/recipe.yaml      the resolved recipe, with commit and hardware
    runs/NAME/metrics.jsonl    one line for each log and each evaluation
    runs/NAME/state/step-N/    weights, optimizer, position: a folder that appears whole or not at all
    runs/NAME/model/           a transformers folder, ready for `from_pretrained` and the Hub
    runs/NAME/finished.json    written last

A state is safetensors and JSON: nothing that is loaded can execute code.
"""

import fcntl
import json
import math
import shutil
import time
from pathlib import Path
from typing import Any, TextIO

import torch
import yaml
from accelerate import Accelerator
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from engine.batches import Position
from engine.disk import sha256, whole_file, whole_folder
from engine.recipe import resolved
from engine.runtime import commit, hardware, peak_rss_mb


class Run:
    """The one place that touches a run's disk. The same recipe goes on; another recipe in its folder is refused."""

    def __init__(self, folder: Path, recipe: Any, accelerator: Accelerator, overwrite: bool = False):
        """Claim `folder`, for as long as this process lives.

        Errors: FileExistsError if it holds another recipe's run, or files that are no run, or if another process is at
        it: a launcher that is killed may leave its training behind.
        """
        self.folder, self.accelerator = folder, accelerator
        self._began, self._seconds_before = time.perf_counter(), 0.0
        if accelerator.is_main_process and overwrite and folder.exists():
            _locked(folder).close()  # not while another process trains in it
            shutil.rmtree(folder)
        accelerator.wait_for_everyone()
        _refuse_strangers(folder, resolved(recipe))
        accelerator.wait_for_everyone()
        if accelerator.is_main_process and not _has_work(folder):
            folder.mkdir(parents=True, exist_ok=True)
            text = yaml.safe_dump(resolved(recipe), sort_keys=False, allow_unicode=True)
            facts = f"# commit {commit()}\n# hardware {hardware()}\n# processes {accelerator.num_processes}\n"
            whole_file(folder / "recipe.yaml", (facts + text).encode())
        if accelerator.is_main_process and not self.finished:
            self._lock = _locked(folder)

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
            facts = {"seconds": round(self.seconds, 1), "peak_rss_mb": round(peak_rss_mb()), **facts}
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
        self, position: Position, model: nn.Module, optimizer: torch.optim.Optimizer, keep: int, window: dict[str, Any]
    ) -> None:
        """Write `state/step-N/`, then delete all but the `keep` newest. Other processes wait.

        `window` is plain JSON: what the log has gathered since its last line.
        """
        if self.accelerator.is_main_process:
            name = f"step-{position.step}"
            with whole_folder(self.folder / "state" / name) as folder:
                weights, moments = _weights(model), _moments(model, optimizer)
                save_file(weights, folder / "weights.safetensors")
                save_file(moments, folder / "optimizer.safetensors")
                about = {"position": vars(position), "seconds": self.seconds, "window": window}
                (folder / "position.json").write_text(json.dumps(about))
                _write_manifest(folder)
            # What claims to be newer was damaged and passed over: counted as kept, it would displace a whole one.
            passed_over = [state for state in self._states() if _step(state) > position.step]
            older = [state for state in self._states() if _step(state) <= position.step][:-keep]
            for state in passed_over + older:
                shutil.rmtree(state)
        self.accelerator.wait_for_everyone()

    def resume(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[Position, dict[str, Any]]:
        """Load the newest complete state into `model` and `optimizer`; the beginning if there is none.

        Return its position and log window. A damaged state is named and the one before it is taken. Errors: ValueError
        if there are states, none whole, or if the state is of another architecture.
        """
        states = self._states()
        for folder in reversed(states):
            if problem := _damage(folder):
                if self.accelerator.is_main_process:
                    print(f"{folder} is damaged ({problem}); trying the state before it")
                continue
            about = json.loads((folder / "position.json").read_text())
            _load_weights(model, folder / "weights.safetensors")
            _load_moments(model, optimizer, load_file(folder / "optimizer.safetensors"))
            self._seconds_before = about["seconds"]
            position = Position(**about["position"])
            if self.accelerator.is_main_process:
                _cut_metrics(self.folder / "metrics.jsonl", position.step)
                print(f"going on from step {position.step} ({folder})")
            return position, about.get("window", {})
        if states:
            raise ValueError(f"every state in {self.folder / 'state'} is damaged; start anew with --overwrite True")
        if self.accelerator.is_main_process:
            _cut_metrics(self.folder / "metrics.jsonl", 0)
        return Position(), {}

    def export(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> Path:
        """Write `model/`, whole or not at all, as transformers and the Hub expect it. Return its path."""
        target = self.folder / "model"
        if self.accelerator.is_main_process:
            with whole_folder(target) as folder:
                model.save_pretrained(folder)
                tokenizer.model_max_length = min(tokenizer.model_max_length, model.config.max_position_embeddings)
                tokenizer.save_pretrained(folder)
        self.accelerator.wait_for_everyone()
        return target

    def _states(self) -> list[Path]:
        """Complete-looking state folders, oldest first."""
        found = (self.folder / "state").glob("step-*")
        return sorted(found, key=_step)


def _step(folder: Path) -> int:
    return int(folder.name.removeprefix("step-"))


def _refuse_strangers(folder: Path, recipe: dict[str, Any]) -> None:
    if not folder.exists() or not any(folder.iterdir()):
        return
    path = folder / "recipe.yaml"
    if not path.exists():
        names = ", ".join(sorted(entry.name for entry in folder.iterdir())[:5])
        raise FileExistsError(f"{folder} is not empty and no run of ours ({names}); choose another --name, or empty it")
    before = yaml.safe_load(path.read_text(encoding="utf-8"))
    if before != recipe and _has_work(folder):
        changed = "; ".join(_differences(before, recipe))
        raise FileExistsError(
            f"{folder} holds a run of another recipe ({changed}); choose another --name, or pass --overwrite True to "
            "delete that run"
        )


def _locked(folder: Path) -> TextIO:
    """Hold the folder's lock until the returned file is closed or the process ends, however it ends."""
    file = (folder / ".lock").open("w")
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # a process's own: it may claim the folder again
    except OSError:
        file.close()
        raise FileExistsError(f"another process is training in {folder}; wait for it, or end it") from None
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


def _weights(model: nn.Module) -> dict[str, torch.Tensor]:
    """Every parameter and saved buffer once, tied ones under their first name (safetensors refuses shared memory)."""
    first: dict[int, str] = {}
    state = model.state_dict()
    for name, tensor in state.items():
        first.setdefault(tensor.data_ptr(), name)
    return {name: state[name].detach().cpu().contiguous() for name in first.values()}


def _load_weights(model: nn.Module, path: Path) -> None:
    tensors = load_file(path)
    if differing := sorted(tensors.keys() ^ _weights(model).keys()):
        raise ValueError(
            f"{path} does not fit the model: {len(differing)} names differ, such as {differing[0]}; go on with the "
            "version of transformers that wrote it, or start anew with --overwrite True"
        )
    model.load_state_dict(tensors, strict=False)  # a tied weight is stored under its first name only


def _names(model: nn.Module, optimizer: torch.optim.Optimizer) -> list[tuple[str, torch.Tensor]]:
    by_identity = {id(parameter): name for name, parameter in model.named_parameters()}
    return [(by_identity[id(p)], p) for group in optimizer.param_groups for p in group["params"]]


def _moments(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """The optimizer's tensors as `parameter|key`."""
    return {
        f"{name}|{key}": value.detach().cpu().contiguous()
        for name, parameter in _names(model, optimizer)
        for key, value in optimizer.state.get(parameter, {}).items()
    }


def _load_moments(model: nn.Module, optimizer: torch.optim.Optimizer, tensors: dict[str, torch.Tensor]) -> None:
    for name, parameter in _names(model, optimizer):
        own = {key: value for key, value in tensors.items() if key.startswith(f"{name}|")}
        for key, value in own.items():
            on_device = value.to(parameter.device)
            optimizer.state[parameter][key.removeprefix(f"{name}|")] = on_device


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
    except (OSError, ValueError, KeyError, SafetensorError) as error:
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
