"""Does a run folder always hold a whole state, the right run's, whatever broke, and whoever pulled the plug?"""

import ast
import os
import resource
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file
from torch import nn

from engine.run import tensors
from engine.run.checkpoint import Run
from engine.run.disk import room
from engine.run.states import damage
from engine.train.batches import Position

DAMAGES = {
    "flipped bit": lambda path: path.write_bytes(flipped(path.read_bytes())),
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-7]),
    "empty": lambda path: path.write_bytes(b""),
    "removed": lambda path: path.unlink(),
}

FILES = ["weights.safetensors", "optimizer.safetensors", "average.safetensors", "position.json", "manifest.json"]


def flipped(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


@dataclass(frozen=True)
class Recipe:
    name: str = "run"
    lr: float = 1e-5
    sizes: tuple[int, ...] = (1, 2)


class Tied(nn.Module):
    """Two names, one matrix: what safetensors refuses to store twice."""

    def __init__(self, seed: int):
        super().__init__()
        torch.manual_seed(seed)
        self.embedding, self.decoder = nn.Embedding(6, 4), nn.Linear(4, 6)
        self.decoder.weight = self.embedding.weight


class Shadow:
    """An average of the weights, in a type of its own."""

    def __init__(self, model: nn.Module):
        self._tensors = {name: tensor.detach().bfloat16() for name, tensor in model.named_parameters()}

    def tensors(self):
        return self._tensors

    def load(self, tensors):
        assert tensors.keys() == self._tensors.keys()
        self._tensors = tensors


def trained(steps: int, seed: int = 0):
    """A model, the two optimizers that share its parameters, and the average of its first weights."""
    model = Tied(seed)
    shadow = Shadow(model)
    optimizers = [
        torch.optim.AdamW([model.embedding.weight], fused=True),
        torch.optim.SGD([model.decoder.bias], lr=0.1, momentum=0.9),
    ]
    for step in range(steps):
        torch.manual_seed(step)
        model.decoder(model.embedding(torch.randint(6, (5,)))).square().sum().backward()
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
    return model, optimizers, shadow


def fingerprint(model, optimizers, shadow):
    states = [state for optimizer in optimizers for state in optimizer.state_dict()["state"].values()]
    moments = [value for state in states for _, value in sorted(state.items())]
    averages = [value for _, value in sorted(shadow.tensors().items())]
    return [
        (tensor.dtype, tensor.double().numpy().tobytes())
        for tensor in [*model.state_dict().values(), *moments, *averages]
    ]


@pytest.fixture(scope="session")
def accelerator():
    return Accelerator(cpu=True)


@pytest.fixture
def run(tmp_path, accelerator):
    return Run(tmp_path / "run", Recipe(), accelerator)


def save(run, step, keep=2):
    model, optimizers, shadow = trained(step)
    position = Position(step, epoch=1, chapter=2, batch=step, cursor={"books": [3, "part"]})
    run.save_state(position, model, optimizers, keep, {"sums": {"loss": 0.1 * step}}, shadow)


def resumed(run):
    """The step that a launch resumes from, after a check that all that was saved is that step's."""
    model, optimizers, shadow = trained(0, seed=9)
    position, extra = run.resume(model, optimizers, shadow)
    if position.step:
        assert fingerprint(model, optimizers, shadow) == fingerprint(*trained(position.step))
        assert position == Position(position.step, 1, 2, position.step, {"books": [3, "part"]})
        assert extra == {"sums": {"loss": 0.1 * position.step}}
    assert model.decoder.weight is model.embedding.weight
    return position.step


def test_a_state_comes_back_bit_by_bit(run):
    assert resumed(run) == 0
    save(run, 3)
    assert resumed(run) == 3


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", FILES)
def test_a_damaged_state_is_named_and_the_one_before_is_taken(run, name, damage, capsys):
    save(run, 3)
    save(run, 5)
    DAMAGES[damage](run.folder / "state/step-5" / name)
    assert resumed(run) == 3
    said = capsys.readouterr().out
    assert "step-5 is damaged" in said
    assert name in said or name == "manifest.json"
    # The next state must not be rotated away in favour of the damaged one, which has a larger number.
    save(run, 4, keep=1)
    assert resumed(run) == 4


def test_when_every_state_is_damaged_nothing_is_trained_anew_in_silence(run):
    save(run, 3)
    (run.folder / "state/step-3/position.json").unlink()
    with pytest.raises(ValueError, match=r"every state in .* is damaged; start anew with --overwrite True"):
        resumed(run)


def test_a_state_of_another_architecture_is_refused(run):
    save(run, 3)
    wider = Tied(0)
    wider.decoder.bias = nn.Parameter(torch.zeros(7))
    for other, named in ((nn.Linear(2, 2), "bias"), (wider, "decoder.bias")):
        with pytest.raises(ValueError, match=f"does not fit the model: .* such as {named}"):
            run.resume(other, [torch.optim.AdamW(other.parameters())])


def test_a_state_can_be_asked_for_by_its_name(run, accelerator):
    for step in (3, 5, 7):
        save(run, step, keep=3)

    def asked_for(name):
        return resumed(Run(run.folder, Recipe(), accelerator, state=name))

    assert asked_for("step-5") == asked_for(str(run.folder / "state/step-5")) == 5
    damaged = run.folder / "state/step-5/optimizer.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"state/step-5, the state asked for, is damaged: optimizer.safetensors has"):
        asked_for("step-5")
    with pytest.raises(ValueError, match=r"no state step-4 in .*; those there are: step-3, step-5, step-7"):
        asked_for("step-4")
    assert resumed(run) == 7


def test_tensors_are_written_as_others_read_them(tmp_path):
    kinds = (torch.float32, torch.bfloat16, torch.float16, torch.float64, torch.int64, torch.uint8, torch.bool)
    written = {str(kind): torch.arange(number + 1).to(kind) for number, kind in enumerate(kinds)}
    written |= {"scalar": torch.tensor(3.5), "none": torch.zeros(0, 4), "turned": torch.arange(6.0).reshape(2, 3).T}
    tensors.write(tmp_path / "some.safetensors", written)
    found = load_file(tmp_path / "some.safetensors")
    assert found.keys() == written.keys()
    for name, tensor in written.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor)
    assert tensors.size(written) == (tmp_path / "some.safetensors").stat().st_size


def test_old_states_go_only_after_the_new_one_is_whole(run):
    for step in (1, 2, 3):
        save(run, step, keep=2)
    assert sorted(path.name for path in (run.folder / "state").iterdir()) == ["step-2", "step-3"]


def test_sigkill_at_every_moment_of_a_save_leaves_a_whole_state(run):
    """The child is killed at its 1st, 2nd, ... touch of the file system, until a save gets through alive."""
    save(run, 1, keep=1)
    reached = []
    while True:
        child = os.fork()
        if child == 0:
            try:
                kill_at_touch(len(reached))
                save(run, 2, keep=1)
            finally:
                os._exit(0)  # never back into pytest
        killed = os.WIFSIGNALED(os.waitpid(child, 0)[1])
        reached.append(resumed(run))
        if not killed:
            break
    assert set(reached) == {1, 2}
    assert reached == sorted(reached)
    assert len(reached) > 20
    assert [path.name for path in (run.folder / "state").iterdir()] == ["step-2"]


@pytest.mark.slow
def test_with_one_kept_there_is_a_whole_state_at_every_moment(run):
    save(run, 1, keep=1)
    child = os.fork()
    if child == 0:
        try:
            for step in range(2, 60):
                save(run, step, keep=1)
        finally:
            os._exit(0)
    seen = set()
    while not (ended := os.waitpid(child, os.WNOHANG))[0]:
        names = {path.name for path in (run.folder / "state").glob("step-*")}
        assert names
        whole = {name for name in names if damage(run.folder / "state" / name, average=True) is None}
        # One that was being deleted while it was looked at has a successor.
        assert whole or {path.name for path in (run.folder / "state").glob("step-*")} - names
        seen |= whole
    assert ended[1] == 0
    assert len(seen) > 10
    assert [path.name for path in (run.folder / "state").iterdir()] == ["step-59"]


def failed_save(run, step):
    """What a save says that goes wrong, and what there is left afterwards."""
    with pytest.raises(OSError, match="cannot be written") as raised:
        save(run, step, keep=1)
    return str(raised.value), sorted(path.name for path in (run.folder / "state").iterdir())


def test_where_a_state_does_not_fit_it_is_not_begun(run, monkeypatch):
    save(run, 1, keep=1)
    needed = sum(path.stat().st_size for path in (run.folder / "state/step-1").glob("*.safetensors"))
    free = type(shutil.disk_usage("/"))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: free(10**9, 10**9, needed - 1))
    said, left = failed_save(run, 2)
    assert f"state/step-2 cannot be written: it needs {needed:,} bytes, and {needed - 1:,} are free" in said
    assert left == ["step-1"]
    monkeypatch.undo()
    assert resumed(run) == 1


def test_where_writing_gets_stuck_half_way_the_old_state_is_kept_and_the_half_removed(run):
    """A limit on the size of files, as a quota is: unlike free space, it shows only when it is reached."""
    save(run, 1, keep=1)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (300, 300))
            os.write(writing, repr(failed_save(run, 2)).encode())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    os.close(writing)
    said, left = ast.literal_eval(os.read(reading, 10_000).decode())
    os.close(reading)
    assert "state/step-2 cannot be written: it needs" in said
    assert left == ["step-1"]
    assert resumed(run) == 1


def test_a_full_disk_is_told_with_what_is_needed_and_what_is_free(tmp_path):
    said = r"x cannot be written: it needs 12,345 bytes, and [\d,]+ are free"
    with pytest.raises(OSError, match=said), room(tmp_path / "new/x", 12_345):
        Path("/dev/full").write_bytes(b"x")


def kill_at_touch(number):
    touches = 0

    def audit(event, _):
        nonlocal touches
        if event == "open" or (event.startswith(("os.", "shutil.")) and event != "os.kill"):
            if touches == number:
                os.kill(os.getpid(), signal.SIGKILL)
            touches += 1

    sys.addaudithook(audit)


# Whose folder is it?


def test_the_same_recipe_goes_on_and_another_is_refused_with_the_difference(run, accelerator):
    save(run, 3)
    assert resumed(Run(run.folder, Recipe(), accelerator)) == 3
    with pytest.raises(FileExistsError, match=r"lr: 1e-05 there, 0\.1 here.*--overwrite True"):
        Run(run.folder, Recipe(lr=0.1), accelerator)
    assert resumed(Run(run.folder, Recipe(lr=0.1), accelerator, overwrite=True)) == 0


def test_a_launch_that_failed_before_its_first_step_does_not_block_its_corrected_recipe(run, accelerator):
    Run(run.folder, Recipe(lr=0.1), accelerator)
    assert "lr: 0.1" in (run.folder / "recipe.yaml").read_text()


def test_a_folder_of_other_files_is_refused(tmp_path, accelerator):
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(FileExistsError, match=r"no run of ours \(thesis.tex\)"):
        Run(tmp_path, Recipe(), accelerator)
    assert (tmp_path / "thesis.tex").exists()


def test_a_recipe_that_another_process_is_writing_is_no_other_file(tmp_path, accelerator):
    (tmp_path / ".recipe.yaml.4711").touch()  # what `whole_file` fills before it takes its name
    Run(tmp_path, Recipe(), accelerator, shared=True)
    assert (tmp_path / "recipe.yaml").exists()


def test_the_recipe_is_kept_with_commit_and_hardware(run):
    text = (run.folder / "recipe.yaml").read_text()
    assert text.startswith("# commit ")
    assert "# hardware " in text
    assert "# processes 1" in text


def test_lines_of_steps_that_will_be_taken_again_are_forgotten(run):
    path = run.folder / "metrics.jsonl"
    path.write_text('{"step": 2}\n{"step": 3}\n{"step": 4}\n{"step": 5, "lo')  # the last one was torn by a crash
    save(run, 3)
    resumed(run)
    assert path.read_text() == '{"step": 2}\n{"step": 3}\n'


def test_a_finished_run_says_so_and_keeps_its_last_state(run, accelerator):
    save(run, 2)
    save(run, 3)
    assert run.finished is None
    run.finish(steps=3)
    assert Run(run.folder, Recipe(), accelerator).finished["steps"] == 3
    assert [path.name for path in (run.folder / "state").iterdir()] == ["step-3"]


def test_a_folder_in_which_a_process_is_training_is_refused(run, accelerator):
    """A launcher that is killed may leave its training behind; a second one beside it would spoil both."""
    code = (
        "import sys, pathlib\n"
        "from engine.run.folders import locked\n"
        "held = locked(pathlib.Path(sys.argv[1]))\n"
        "print('held', flush=True)\n"
        "sys.stdin.read()"
    )
    other = run.folder.with_name("other")
    other.mkdir()
    shutil.copy(run.folder / "recipe.yaml", other)
    with subprocess.Popen(
        [sys.executable, "-c", code, str(other)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(FileExistsError, match="another process is training in"):
            Run(other, Recipe(), accelerator)
        holder.stdin.close()
    Run(other, Recipe(), accelerator)
