"""What stays on disk?  A run folder: recipe, metrics, states (checkpoints) to resume from, and the exported model.

    runs/NAME/recipe.yaml      the resolved recipe, with commit and hardware
    runs/NAME/metrics.jsonl    one line for each log and each evaluation
    runs/NAME/state/step-N/    weights, optimizer, average, position: a folder that appears whole or not at all
    runs/NAME/model/           a transformers folder, ready for `from_pretrained` and the Hub
    runs/NAME/report.html      curves, data, cost: one page
    runs/NAME/finished.json    written last

A state is safetensors and JSON: nothing that is loaded can execute code. It is the same whatever the parallelism, and
resumes under any other.
"""

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import yaml
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list, gather_object
from torch import Tensor, nn
from torch.optim import Optimizer
from transformers import PreTrainedModel

from engine.publish.card import Card, Journey, write_card
from engine.report import write_report
from engine.run import tensors
from engine.run.agreement import agree
from engine.run.disk import read_json, remove, sha256, whole_file, whole_folder
from engine.run.finite import not_finite, not_finite_in, strict_json
from engine.run.folders import (
    ANEW,
    RUN,
    check_folder,
    clear,
    find_extension,
    has_work,
    hash_of,
    locked,
    mark,
    read_finished,
    recipe_is_lost,
    recipe_of_mark,
    refuse_to_clear,
)
from engine.run.recipe import resolved
from engine.run.runtime import commit, hardware, peak_gpu_mb, peak_rss_mb
from engine.run.state_dicts import (
    gather_weights,
    load_moments,
    load_weights,
    moments_of,
    refuse_misfit,
    weights_of,
    without_ties,
)
from engine.run.states import (
    AVERAGE,
    MOMENTS,
    POSITION,
    WEIGHTS,
    damage,
    drop_states,
    read_position,
    states,
    step_of,
    strays,
    write_manifest,
)
from engine.train.average import Average
from engine.train.batches import Position


class Processor(Protocol):
    """A tokenizer or an image processor."""

    def save_pretrained(self, save_directory: str) -> Any: ...


class Run:
    """The one place that touches a run's disk. The same recipe resumes; another recipe in its folder is refused."""

    def __init__(
        self,
        folder: Path,
        recipe: Any,
        accelerator: Accelerator,
        overwrite: bool = False,
        state: str | None = None,
        shared: bool = False,
        kind: str = RUN,
    ):
        """Claim `folder`, for as long as this process lives. `state` names the state to resume from, such as step-200;
        `shared` lets others claim it too, who say the same; `kind` says what the folder is, see `engine.run.folders`.

        What the recipe's classes mark as `operational` may differ from launch to launch. `overwrite` deletes what a run
        wrote, and nothing else. Errors: FileExistsError if the folder holds another recipe's run, or what is no run;
        Taken if another process is at it: a launcher that is killed may leave its training behind.
        """
        self.folder, self.accelerator, self._asked_for = folder, accelerator, state
        self._began, self._seconds_before = time.perf_counter(), 0.0
        if accelerator.is_main_process and overwrite and folder.exists():
            refuse_to_clear(folder)
            locked(folder).close()  # not while another process trains in it
            clear(folder)
        accelerator.wait_for_everyone()
        check_folder(folder, recipe, kind)
        self.extended = find_extension(folder, recipe) if kind == RUN else ""  # the budget that was made larger
        accelerator.wait_for_everyone()
        self._kept = 1 if kind == RUN else 0  # of the states, once it is finished: a run can be extended
        if accelerator.is_main_process and self.finished and not self.extended:
            drop_states(folder, self._kept)  # a kill may have come before it
        elif accelerator.is_main_process:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = locked(folder, shared)
            if self.extended or not has_work(folder) or recipe_is_lost(folder, recipe):
                text = yaml.safe_dump(resolved(recipe), sort_keys=False, allow_unicode=True)
                facts = {"commit": commit() or "unknown", "hardware": hardware()}
                facts |= {"processes": str(accelerator.num_processes)}
                head = "".join(f"# {name} {value}\n" for name, value in facts.items())
                whole_file(folder / "recipe.yaml", (head + text).encode())
                (folder / "finished.json").unlink(missing_ok=True)  # of a run that is extended
            if recipe_of_mark(folder) != hash_of(recipe):
                mark(folder, kind, hash_of(recipe))  # last: whatever a kill left out before is done again
        accelerator.wait_for_everyone()

    @property
    def finished(self) -> dict[str, Any] | None:
        """What `finish` wrote, or None."""
        return read_finished(self.folder)

    @property
    def seconds(self) -> float:
        """Seconds this run has taken, over all its launches."""
        return self._seconds_before + time.perf_counter() - self._began

    def finish(self, **facts: Any) -> None:
        """Write report.html and then finished.json: seconds, peak memory and `facts`. The states are dropped, but for
        the last one of a run, which can be extended.

        Nothing that a user looks for is written after finished.json: a kill there would be the end of it.
        """
        if self.accelerator.is_main_process:
            memory = {"peak_rss_mb": round(peak_rss_mb()), **peak_gpu_mb()}
            facts = {"seconds": round(self.seconds, 1), **memory, **facts}
            if (self.folder / "metrics.jsonl").exists():
                write_report(self.folder, facts)
            whole_file(self.folder / "finished.json", strict_json(facts, indent=1).encode())
            drop_states(self.folder, self._kept)
            (self.folder / ".lock").unlink(missing_ok=True)
        self.accelerator.wait_for_everyone()

    def bind(self, **stamps: str) -> None:
        """Tie the run to its data. Errors: ValueError if it began on data with other stamps."""
        path = self.folder / "stamps.json"
        before = read_json(path, *stamps, advice=ANEW) if path.exists() else stamps
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

        `extra` is plain JSON: what else resumes, such as what the log has gathered since its last line. Errors: OSError
        if there is no room, FloatingPointError if the state is not finite; the older states are kept.
        """
        files = {WEIGHTS: weights_of(model), MOMENTS: moments_of(model, optimizers)}
        if average is not None:
            files[AVERAGE] = average.tensors()
        _refuse_not_finite(f"state/step-{position.step} is not saved", files, self.accelerator)
        if self.accelerator.is_main_process:
            about = {"position": vars(position), "seconds": self.seconds, "extra": extra}
            needed = sum(map(tensors.size, files.values()))
            with whole_folder(self.folder / "state" / f"step-{position.step}", needed) as folder:
                for name, content in files.items():
                    tensors.write(folder / name, content)
                (folder / POSITION).write_text(json.dumps(about, allow_nan=False))
                write_manifest(folder)
            # What claims to be newer was passed over: counted as kept, it would displace a whole one.
            there = states(self.folder / "state")
            passed_over = [state for state in there if step_of(state) > position.step]
            older = [state for state in there if step_of(state) <= position.step][:-keep]
            for state in passed_over + older:
                remove(state)
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
        # One process reads, all agree.
        chosen = [self._choose(average is not None) if self.accelerator.is_main_process else None]
        folder = broadcast_object_list(chosen)[0]
        if folder is None:
            position, extra = Position(), {}
        else:
            agree(self.accelerator, **{str(folder): sha256(folder / "manifest.json")})  # on a second machine's disk too
            saved = read_position(folder)
            position, extra, self._seconds_before = saved.position, saved.extra, saved.seconds
            _refuse_state(folder)
            load_weights(model, folder / WEIGHTS)
            load_moments(model, optimizers, folder / MOMENTS)
            if average is not None:
                mine = average.tensors()
                refuse_misfit(folder / AVERAGE, mine)
                average.load(
                    {name: tensors.placed(value, mine[name]) for name, value in tensors.read(folder / AVERAGE)}
                )
        if self.accelerator.is_main_process:
            _cut_metrics(self.folder / "metrics.jsonl", position.step)
            if folder is not None:
                print(f"resuming from step {position.step} ({folder})")
        return position, extra

    def export(
        self,
        model: PreTrainedModel,
        processor: Processor,
        card: Card | None = None,
        repo: str = "",
        target: Path | None = None,
    ) -> Path:
        """Write `model/`, or `target`, whole or not at all, as transformers and the Hub expect it. Return its path.

        `processor` is its tokenizer or image processor, `card` says what it is, `repo` what it will be called on the
        Hub. Every process calls it; the main one writes. Errors: OSError if there is no room, FloatingPointError if the
        weights are not finite.
        """
        target, state = target or self.folder / "model", gather_weights(model)
        _refuse_not_finite(f"{target} is not written", {"model": state}, self.accelerator)
        if self.accelerator.is_main_process:
            with whole_folder(target, tensors.size(without_ties(state))) as folder:
                model.save_pretrained(folder, state_dict=state)
                processor.save_pretrained(str(folder))
                if card:
                    write_card(folder, card, self._journey(), repo)
        self.accelerator.wait_for_everyone()
        return target

    def _journey(self) -> Journey:
        processes = self.accelerator.num_processes
        return Journey(self.folder, self.seconds / 3600, processes, hardware(), commit())

    def _choose(self, average: bool) -> Path | None:
        """The folder of the state to resume from."""
        home = self.folder / "state"
        there = states(home)
        if self._asked_for:
            return _asked_for(self._asked_for, home, there, average)
        if others := strays(home):
            print(f"{home}: passed over {', '.join(others)}, which is called as no state is")
        for folder in reversed(there):
            if not (problem := damage(folder, average)):
                return folder
            print(f"{folder} is damaged ({problem}); trying the state before it")
        if there:
            raise ValueError(f"every state in {home} is damaged; start anew with --overwrite True")
        return None


def _asked_for(name: str, home: Path, there: list[Path], average: bool) -> Path:
    """Check the state that was asked for, by its name or as a path: another one would not do."""
    meant = {(home / name).resolve(), Path(name).resolve()}
    folder = next((state for state in there if state.resolve() in meant), None)
    if folder is None:
        names = ", ".join(state.name for state in there) or "none"
        raise ValueError(f"there is no state {name} in {home}; those there are: {names}")
    if problem := damage(folder, average):
        raise ValueError(
            f"{folder}, the state asked for, is damaged: {problem}; without --resume_from_checkpoint the newest whole "
            "one is taken"
        )
    return folder


def _refuse_not_finite(what: str, files: Mapping[str, Mapping[str, Tensor]], accelerator: Accelerator) -> None:
    """Keep what is of no use from taking the place of what is. Errors: FloatingPointError, on all processes."""
    own = [found for content in files.values() if (found := not_finite(content.items()))][:1]
    if found := gather_object(own):
        raise FloatingPointError(
            f"{what}: {found[0]}; what was saved before is kept. Lower optimizer.learning_rate, and start anew or "
            "from an earlier state"
        )


def _refuse_state(folder: Path) -> None:
    """An earlier version saved such states. Errors: ValueError that names file and tensor."""
    if found := not_finite_in(folder):
        raise ValueError(
            f"{found}: say --resume_from_checkpoint with an earlier one, or start anew with --overwrite True"
        )


def _cut_metrics(path: Path, step: int) -> None:
    """Forget lines of steps that will be taken again, and those that cannot be read: a crash may tear the last one."""
    if not path.exists():
        return
    lines = path.read_bytes().splitlines(keepends=True)
    steps = [_step_of(line) for line in lines]
    if torn := [number for number, found in enumerate(steps, start=1) if found is None and number < len(lines)]:
        print(f"{path}: left out what cannot be read, {len(torn)} lines, the first is line {torn[0]}")
    kept = [line for line, found in zip(lines, steps, strict=True) if found is not None and found <= step]
    whole_file(path, b"".join(kept))


def _step_of(line: bytes) -> float | None:
    """The step of a line of metrics.jsonl; None if it is no line that a run writes."""
    try:
        step = json.loads(line)["step"] if line.endswith(b"\n") else None
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    return step if type(step) in (int, float) else None
