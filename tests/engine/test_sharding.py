"""Is a model in shards the same model: its losses, what is saved, what it says without the others?"""

import json
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from engine.run.checkpoint import Run
from engine.run.runtime import make_accelerator, program
from engine.train.average import Average
from engine.train.batches import Position
from engine.train.optimizer import Optimizer, build_optimizers
from engine.train.sharding import accumulating, parallel, shards_asked_for, whole
from tests.shards import SHARDS, ZERO_2


@dataclass(frozen=True)
class Recipe:
    name: str = "run"


class Net(nn.Module):
    """Rows of odd number, so that shards are unequal, and a matrix with two names."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding = nn.Embedding(11, 8)
        self.layers = nn.ModuleList([nn.Linear(8, 8), nn.Linear(8, 8)])
        self.decoder = nn.Linear(8, 11)
        self.decoder.weight = self.embedding.weight

    def scores(self, ids: Tensor) -> Tensor:
        x = self.embedding(ids)
        for layer in self.layers:
            x = x + torch.tanh(layer(x))
        return self.decoder(x)


class Judged(nn.Module):
    def __init__(self, model: Net) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor) -> Tensor:
        return nn.functional.cross_entropy(self.model.scores(ids).flatten(0, 1), ids.flatten())


def ids_of(step: int, share: int) -> Tensor:
    return torch.randint(11, (3, 5), generator=torch.Generator().manual_seed(10 * step + share))


@program
def main(argv: list[str]) -> None:
    """Some steps, each on four shares of data that the processes divide; an evaluation by one of them; a state."""
    steps, name, folder = int(argv[0]), cast(Any, argv[1]), Path()
    accelerator = make_accelerator(0)
    model = Net()
    wrapped = parallel(Judged(model), accelerator)
    optimizers, average = build_optimizers(model, Optimizer(name, learning_rate=1e-2)), Average(model, 0.9)
    run = Run(folder / "run", Recipe(), accelerator)
    start, _ = run.resume(model, optimizers, average)
    losses = {}
    for step in range(start.step + 1, start.step + steps + 1):
        shares = range(4)[accelerator.process_index :: accelerator.num_processes]
        for share in shares:
            with accumulating(wrapped, accelerator) if share != shares[-1] else nullcontext():
                loss = wrapped(ids_of(step, share))
                accelerator.backward(loss / len(shares))
            losses[f"{step}.{share}"] = loss.item()
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
        average.update()
    alone = []
    with whole(wrapped), torch.inference_mode():
        if accelerator.is_main_process:  # a gathering would wait for the other one
            alone = [model.scores(ids_of(0, share)).square().sum().item() for share in range(3)]
    run.save_state(Position(start.step + steps), model, optimizers, 1, {}, average)
    parameters = {name: parameter.detach() for name, parameter in model.named_parameters()}
    found = {
        "losses": losses,
        "alone": alone,
        "kind": type(wrapped).__name__,
        "world": accelerator.num_processes,
        "rows": {name: len(p.to_local() if isinstance(p, DTensor) else p) for name, p in parameters.items()},
        "sharded": [isinstance(p, DTensor) for p in parameters.values()],
    }
    (folder / f"rank-{accelerator.process_index}.json").write_text(json.dumps(found))


@pytest.fixture
def launched(launch_together):
    """Run `main`; what each rank found."""

    def start(folder, steps=4, name="adamw", ranks=2, **environment):
        folder.mkdir(exist_ok=True)
        ended = launch_together(main, folder, str(steps), name, ranks=ranks, **environment)
        assert [one.status for one in ended] == [0] * ranks, ended[0].said + ended[-1].said
        return [json.loads((folder / f"rank-{rank}.json").read_text()) for rank in range(ranks)]

    return start


def losses(found):
    return {name: value for rank in found for name, value in rank["losses"].items()}


def assert_same_state(folder, expected):
    for name in ("weights", "optimizer", "average"):
        left, right = (load_file(path / f"run/state/step-4/{name}.safetensors") for path in (folder, expected))
        assert left.keys() == right.keys()
        for key, tensor in left.items():
            torch.testing.assert_close(tensor, right[key], rtol=1e-4, atol=1e-6, msg=f"{name} {key}")


@pytest.mark.parametrize("environment", [SHARDS, ZERO_2], ids=["fsdp2", "zero2"])
def test_two_processes_hold_half_of_each_tensor_and_learn_the_same(tmp_path, launched, environment):
    copies, shards = launched(tmp_path / "copies"), launched(tmp_path / "shards", **environment)
    assert [(rank["world"], rank["kind"]) for rank in copies] == [(2, "DistributedDataParallel")] * 2
    assert [(rank["world"], rank["kind"]) for rank in shards] == [(2, "FSDPJudged")] * 2
    assert all(all(rank["sharded"]) for rank in shards)
    for name, rows in copies[0]["rows"].items():
        assert sorted(rank["rows"][name] for rank in shards) == [rows // 2, rows - rows // 2]
    assert len(losses(shards)) == 16
    assert losses(shards) == pytest.approx(losses(copies), rel=1e-6)
    assert shards[0]["alone"] == pytest.approx(copies[0]["alone"], rel=1e-5)
    assert_same_state(tmp_path / "shards", tmp_path / "copies")


@pytest.mark.parametrize("name", ["adamw", "lamb", "muon", "sgd"])
def test_a_state_resumes_with_and_without_shards(tmp_path, launched, name):
    expected = losses(launched(tmp_path / "one", name=name, ranks=1))
    tolerance = 5e-3 if name == "muon" else 1e-5  # it works in bfloat16
    for first, then in (((2, SHARDS), (1, {})), ((1, {}), (2, SHARDS))):
        folder = tmp_path / f"{first[0]}-{then[0]}"
        found = {}
        for ranks, environment in (first, then):
            found |= losses(launched(folder, 2, name, ranks, **environment))
        assert found == pytest.approx(expected, rel=tolerance)
        if name != "muon":
            assert_same_state(folder, tmp_path / "one")


def test_on_the_same_processes_a_state_in_shards_comes_back_bit_by_bit(tmp_path, launched):
    expected = losses(launched(tmp_path / "whole", **SHARDS))
    found = losses(launched(tmp_path / "cut", 2, **SHARDS)) | losses(launched(tmp_path / "cut", 2, **SHARDS))
    assert {name: value.hex() for name, value in found.items()} == {n: v.hex() for n, v in expected.items()}


@pytest.mark.parametrize(
    ("environment", "instead"),
    [
        ({"ACCELERATE_USE_DEEPSPEED": "true"}, "accelerate_configs/zero2.yaml"),
        ({"FSDP_VERSION": "1"}, "set fsdp_version: 2"),
        ({"FSDP_OFFLOAD_PARAMS": "true"}, "set fsdp_offload_params: false"),
        ({"FSDP_ACTIVATION_CHECKPOINTING": "true"}, "plan.gradient_checkpointing: true"),
        ({"FSDP_CPU_RAM_EFFICIENT_LOADING": "true"}, "set fsdp_cpu_ram_efficient_loading: false"),
    ],
    ids=lambda value: next(iter(value), "") if isinstance(value, dict) else "",
)
def test_a_way_that_is_not_done_is_refused_with_what_is(monkeypatch, environment, instead):
    for name, value in {**SHARDS, **environment}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=instead):
        shards_asked_for()
