"""Does a run folder always hold a whole state, the right run's, whatever broke, and whoever pulled the plug?"""

import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass

import pytest
import torch
from accelerate import Accelerator
from torch import nn

from engine.batches import Position
from engine.checkpoint import Run

DAMAGES = {
    "flipped bit": lambda path: path.write_bytes(flipped(path.read_bytes())),
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-7]),
    "empty": lambda path: path.write_bytes(b""),
    "removed": lambda path: path.unlink(),
}


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


def trained(steps: int, seed: int = 0):
    model = Tied(seed)
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    for step in range(steps):
        torch.manual_seed(step)
        model.decoder(model.embedding(torch.randint(6, (5,)))).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    return model, optimizer


def fingerprint(model, optimizer):
    moments = [value for state in optimizer.state_dict()["state"].values() for _, value in sorted(state.items())]
    return [tensor.double().numpy().tobytes() for tensor in [*model.state_dict().values(), *moments]]


@pytest.fixture(scope="session")
def accelerator():
    return Accelerator(cpu=True)


@pytest.fixture
def run(tmp_path, accelerator):
    return Run(tmp_path / "run", Recipe(), accelerator)


def save(run, step, keep=2):
    run.save_state(Position(step, 0, step), *trained(step), keep, {"sums": {"loss": 0.1 * step}})


def resumed(run):
    """The step that a launch goes on from, after a check that weights, moments and log window are that step's."""
    model, optimizer = trained(0, seed=9)
    position, window = run.resume(model, optimizer)
    if position.step:
        assert fingerprint(model, optimizer) == fingerprint(*trained(position.step))
        assert window == {"sums": {"loss": 0.1 * position.step}}
    assert model.decoder.weight is model.embedding.weight
    return position.step


def test_a_state_comes_back_bit_by_bit(run):
    assert resumed(run) == 0
    save(run, 3)
    assert resumed(run) == 3


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", ["weights.safetensors", "optimizer.safetensors", "position.json", "manifest.json"])
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
    other = nn.Linear(2, 2)
    with pytest.raises(ValueError, match="does not fit the model"):
        run.resume(other, torch.optim.AdamW(other.parameters()))


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


def test_a_finished_run_says_so_and_drops_its_states(run, accelerator):
    save(run, 3)
    assert run.finished is None
    run.finish(steps=3)
    assert Run(run.folder, Recipe(), accelerator).finished["steps"] == 3
    assert not (run.folder / "state").exists()


def test_a_folder_in_which_a_process_is_training_is_refused(run, accelerator):
    """A launcher that is killed may leave its training behind; a second one beside it would spoil both."""
    code = (
        "import sys, pathlib\n"
        "from engine.checkpoint import _locked\n"
        "held = _locked(pathlib.Path(sys.argv[1]))\n"
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
