"""Is a state that is not whole ever taken for one that is?"""

import json
import shutil
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from torch import nn

from engine.publish.curves import read_metrics
from engine.report import write_report
from engine.run.checkpoint import Run
from engine.run.disk import sha256
from engine.train.batches import Position


@pytest.fixture(scope="module")
def accelerator():
    return Accelerator(cpu=True)


def trained(steps: int):
    torch.manual_seed(0)
    model = nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(model.parameters())
    for _ in range(steps):
        model(torch.ones(1, 3)).sum().backward()
        optimizer.step()
    return model, [optimizer]


@pytest.fixture
def run(tmp_path, accelerator):
    """With states of the steps 3 and 5."""
    run = Run(tmp_path / "run", {"lr": 1.0}, accelerator)
    for step in (3, 5):
        save(run, step)
    return run


def save(run: Run, step: int, keep: int = 2) -> None:
    model, optimizers = trained(step)
    run.save_state(Position(step), model, optimizers, keep, {"window": {}, "seconds": 1.0})


def resumed(run: Run) -> int:
    """The step that the next launch resumes from; the weights must be that step's."""
    model, optimizers = trained(0)
    position, _ = run.resume(model, optimizers)
    assert torch.equal(model.weight, trained(position.step)[0].weight)
    return position.step


def sign(state: Path, *names: str) -> None:
    """As who would have a change go unnoticed."""
    path = state / "manifest.json"
    files = json.loads(path.read_text())
    for name in names:
        files[name] = {"bytes": (state / name).stat().st_size, "sha256": sha256(state / name)}
    path.write_text(json.dumps(files))


def leave_out(name: str):
    def damage(state: Path) -> None:
        path = state / "manifest.json"
        path.write_text(json.dumps({key: of for key, of in json.loads(path.read_text()).items() if key != name}))

    return damage


def both(first, then):
    return lambda state: (first(state), then(state))


def manifest(content: str):
    return lambda state: (state / "manifest.json").write_text(content)


def position(**changes):
    """Change what position.json says, and sign it; None takes a key away."""

    def damage(state: Path) -> None:
        path = state / "position.json"
        saved = json.loads(path.read_text())
        for key, value in changes.items():
            (saved if key in saved else saved["position"])[key] = value
        path.write_text(json.dumps({key: value for key, value in saved.items() if value is not None}))
        sign(state, "position.json")

    return damage


def flip(state: Path) -> None:
    path = state / "weights.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


def no_tensors(state: Path) -> None:
    (state / "optimizer.safetensors").write_bytes(b"no tensors")
    sign(state, "optimizer.safetensors")


DAMAGES = {
    "manifest a list": manifest("[]"),
    "manifest null": manifest("null"),
    "manifest a number": manifest("7"),
    "manifest empty": manifest("{}"),
    "manifest of strings": manifest(
        json.dumps(dict.fromkeys(("weights.safetensors", "optimizer.safetensors", "position.json"), "x"))
    ),
    "manifest names another file": manifest('{"f": "x"}'),
    "manifest nested": manifest("[" * 100_000),
    "manifest without weights, and those changed": both(leave_out("weights.safetensors"), flip),
    "manifest without the optimizer, and that gone": both(
        leave_out("optimizer.safetensors"), lambda state: (state / "optimizer.safetensors").unlink()
    ),
    "manifest without the position": leave_out("position.json"),
    "a part is a folder": both(
        lambda state: (state / "weights.safetensors").unlink(), lambda state: (state / "weights.safetensors").mkdir()
    ),
    "signed, no tensors": no_tensors,
    "position with an unknown key": position(speed=3),
    "position without a key": position(position={"step": 5}),
    "position a list": position(position=[]),
    "position of another step": position(step=4),
    "position with a negative epoch": position(epoch=-1),
    "position with a text": position(batch="3"),
    "no seconds": position(seconds=None),
    "seconds a text": position(seconds="x"),
    "extra a list": position(extra=[]),
    "extra of another kind": position(extra={"window": 5}),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_the_state_before_the_damaged_one_is_taken(run, accelerator, damage, capsys):
    damage(run.folder / "state/step-5")
    assert resumed(run) == 3
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "damaged" in line]
    assert "step-5 is damaged (" in line
    with pytest.raises(ValueError, match="step-5, the state asked for, is damaged"):
        resumed(Run(run.folder, {"lr": 1.0}, accelerator, state="step-5"))


def test_what_is_called_as_no_state_is_left_alone(run, capsys):
    home = run.folder / "state"
    shutil.copytree(home / "step-5", home / "step-41.bak")
    for name in ("step-abc", "step-", "step--7", "step-07", "step-٣", "notes"):
        (home / name).mkdir()
    (home / "step-59").write_text("a file")
    names = {path.name for path in home.iterdir()} - {"step-3", "step-5"}
    assert resumed(run) == 5
    assert (
        "passed over notes, step-, step--7, step-07, step-41.bak, step-59, step-abc, step-٣" in capsys.readouterr().out
    )
    save(run, 6, keep=1)
    assert {path.name for path in home.iterdir()} == {"step-6", *names}


def test_a_copy_under_another_number_and_a_link_are_no_newer_states(run):
    home = run.folder / "state"
    shutil.copytree(home / "step-3", home / "step-7")
    (home / "step-8").symlink_to(home / "step-3")
    assert resumed(run) == 5
    save(run, 6, keep=1)
    assert [path.name for path in home.iterdir()] == ["step-6"]


def test_an_optimizer_of_other_parameters_is_named(run):
    model = nn.Linear(3, 2)
    path = run.folder / "state/step-5/optimizer.safetensors"
    path.write_bytes(path.read_bytes().replace(b"weight|", b"wieght|"))
    sign(path.parent, path.name)
    with pytest.raises(ValueError, match=r"step-5/optimizer\.safetensors .*wieght"):
        run.resume(model, [torch.optim.AdamW(model.parameters())])


BAD_LINES = [
    b"\xff\x00\xfe\n",
    b"[1]\n",
    b'{"step": "3"}\n',
    b'{"loss": 1}\n',
    b"null\n",
    b"[" * 100_000 + b"\n",
    b"\n",
]


@pytest.mark.parametrize("bad", BAD_LINES, ids=lambda bad: repr(bad[:9]))
def test_lines_that_no_run_wrote_are_named_and_left_out_by_a_run_that_goes_on(run, bad, capsys):
    path = run.folder / "metrics.jsonl"
    path.write_bytes(b'{"step": 2, "loss": 1.0}\n' + bad + b'{"step": 4, "loss": 0.5}\n{"step": 5, "lo')
    for reader in (read_metrics, lambda path: write_report(path.parent)):
        with pytest.raises(ValueError, match=r"run/metrics\.jsonl:2 is no line of a run .*; delete the line"):
            reader(path)
    assert resumed(run) == 5
    assert "metrics.jsonl: left out what cannot be read, 1 lines, the first is line 2" in capsys.readouterr().out
    assert read_metrics(path)["loss"] == [(2, 1.0), (4, 0.5)]
