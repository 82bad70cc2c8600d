"""Is a step the one that the papers describe, for the right half of the model, after a stop and in shards too?"""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
import yaml
from accelerate import Accelerator
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from transformers import BertConfig, BertForPreTraining, GPT2Config, GPT2LMHeadModel
from transformers.pytorch_utils import Conv1D

from engine.run.recipe import read
from engine.run.tracking import Tracker
from engine.train.loop import clip, total_norm
from engine.train.optimizer import Optimizer, build_optimizers, hidden_matrices, set_rate, step_unless
from engine.train.plan import Plan
from engine.train.schedule import Schedule
from engine.train.watch import Watch

ROOT = Path(__file__).parents[2]


class Layered(nn.Module):
    """Two layers between an embedding and the head that is tied to it, and a head of its own kind."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.Embedding(11, 6)
        self.layers = nn.ModuleList(nn.Sequential(nn.LayerNorm(6), nn.Linear(6, 6), nn.Tanh()) for _ in range(2))
        self.words, self.row = nn.Linear(6, 11), nn.Linear(6, 1)
        self.words.weight = self.embed.weight

    def forward(self, ids: Tensor) -> Tensor:
        states = self.embed(ids)
        for layer in self.layers:
            states = states + layer(states)
        return nn.functional.cross_entropy(self.words(states), ids) + self.row(states).square().mean()


def take_step(model: nn.Module, optimizers: list[torch.optim.Optimizer], number: int) -> None:
    ids = torch.randint(11, (8,), generator=torch.Generator().manual_seed(number))
    model(ids).backward()
    set_rate(optimizers, 0.01 / (number + 1))
    for optimizer in optimizers:
        optimizer.step()
        optimizer.zero_grad()


def values(model: nn.Module) -> dict[str, Tensor]:
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


# --- the recipe's section


@dataclass(frozen=True)
class Recipe:
    optimizer: Optimizer
    schedule: Schedule = Schedule()  # noqa: RUF009  (frozen)


def test_a_section_without_a_name_is_adamw_and_the_command_line_may_choose_another(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text("optimizer: {learning_rate: 1e-3}\nschedule: {lr_scheduler_type: cosine}\n")
    assert read(Recipe, [str(path)]).optimizer == Optimizer(name="adamw", learning_rate=1e-3)
    options = ["--optimizer.name", "lamb", "--optimizer.betas", "0.9", "0.95", "--optimizer.ema", "0.99"]
    options += ["--schedule.lr_scheduler_type", "warmup_stable_decay", "--schedule.cooldown-ratio", "0.2"]
    changed = read(Recipe, [str(path), *options])
    assert changed == Recipe(
        Optimizer(name="lamb", learning_rate=1e-3, betas=(0.9, 0.95), ema=0.99),
        Schedule(lr_scheduler_type="warmup_stable_decay", cooldown_ratio=0.2),
    )


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ({"learning_rate": 0}, "learning_rate is 0"),
        ({"learning_rate": "nan"}, "learning_rate is 'nan', which is no finite number"),
        ({"betas": [0.9]}, "betas is"),
        ({"betas": [0.9, 1.0]}, "betas is"),
        ({"weight_decay": -0.1}, "weight_decay is -0.1"),
        ({"eps": 0}, "eps is 0"),
        ({"ema": 1.0}, "ema is 1.0"),
        ({"name": "adam"}, "allowed: adamw, lamb, muon, sgd"),
        ({"momentum": 0.5}, "momentum is 0.5, but adamw has no momentum: leave it out"),
        ({"name": "sgd", "momentum": 1}, "momentum is 1.0; it is a number from 0 to below 1"),
        ({"name": "sgd", "eps": 1e-8}, "eps is 1e-08, but sgd has no eps: leave it out"),
        ({"amsgrad": True}, "unknown key 'optimizer.amsgrad'"),
    ],
)
def test_impossible_settings_are_refused_by_name(tmp_path, section, words):
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump({"optimizer": section}))
    with pytest.raises(ValueError, match=rf"recipe\.yaml:\d: .*{words}"):
        read(Recipe, [str(path)])


# --- which half of the model


@pytest.mark.parametrize("name", ["adamw", "lamb", "muon", "sgd"])
def test_matrices_are_decayed_and_vectors_and_frozen_weights_are_not(name):
    model = Layered()
    model.layers[0][1].weight.requires_grad_(False)
    optimizers = build_optimizers(model, Optimizer(name=name, learning_rate=0.5, weight_decay=0.1))
    before = values(model)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter) if parameter.requires_grad else None
    for optimizer in optimizers:
        optimizer.step()
    shrunk = {key for key, value in values(model).items() if not torch.equal(value, before[key])}
    assert shrunk == {"embed.weight", "layers.1.1.weight", "row.weight"}
    if name != "lamb":  # where no gradient speaks, LAMB's ratio is 1 / weight_decay
        torch.testing.assert_close(model.embed.weight, before["embed.weight"] * (1 - 0.5 * 0.1))


def test_hidden_matrices_of_bert_are_those_of_its_layers():
    config = BertConfig(vocab_size=30, hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16)
    model = BertForPreTraining(config)
    parts = ["attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense",
             "intermediate.dense", "output.dense"]  # fmt: skip
    expected = {f"bert.encoder.layer.{layer}.{part}.weight" for layer in range(2) for part in parts}
    assert names_of(model, hidden_matrices(model)) == expected


def test_hidden_matrices_of_gpt2_are_those_of_its_layers():
    model = GPT2LMHeadModel(GPT2Config(vocab_size=30, n_embd=8, n_layer=2, n_head=2, n_positions=16))
    parts = ["attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"]
    expected = {f"transformer.h.{layer}.{part}.weight" for layer in range(2) for part in parts}
    assert names_of(model, hidden_matrices(model)) == expected


def test_a_table_inside_the_layers_is_no_matrix():
    class Layer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.distances, self.dense, self.guess = nn.Embedding(5, 4), nn.Linear(4, 4), nn.Linear(4, 5)
            self.guess.weight = self.distances.weight

    model = nn.ModuleDict({"layers": nn.ModuleList([Layer()])})
    assert names_of(model, hidden_matrices(model)) == {"layers.0.dense.weight"}


def names_of(model: nn.Module, parameters: list[nn.Parameter]) -> set[str]:
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    assert len({id(parameter) for parameter in parameters}) == len(parameters)
    return {names[id(parameter)] for parameter in parameters}


def test_every_trainable_parameter_is_stepped_once():
    for name in ("adamw", "lamb", "muon", "sgd"):
        model = Layered()
        optimizers = build_optimizers(model, Optimizer(name=name))
        stepped = [p for optimizer in optimizers for group in optimizer.param_groups for p in group["params"]]
        assert names_of(model, stepped) == {name for name, _ in model.named_parameters()}


def test_muon_without_layers_says_what_it_looked_for():
    with pytest.raises(ValueError, match=r"Sequential has no trainable matrix in a stack of layers.*adamw or lamb"):
        build_optimizers(nn.Sequential(nn.Linear(4, 4)), Optimizer(name="muon"))


# --- the steps themselves


def lamb_of_the_paper(x: Tensor, gradients: list[Tensor], weight_decay: float, is_matrix: bool) -> Tensor:
    """Algorithm 2 of You et al. 2020, with the settings of the test below."""
    m, v = torch.zeros_like(x), torch.zeros_like(x)
    for t, g in enumerate(gradients, start=1):
        m = 0.9 * m + 0.1 * g
        v = 0.99 * v + 0.01 * g * g
        r = (m / (1 - 0.9**t)) / ((v / (1 - 0.99**t)).sqrt() + 1e-6)
        u = r + weight_decay * x
        ratio = x.norm() / u.norm() if is_matrix and x.norm() > 0 else 1.0
        x = x - 0.02 * ratio * u
    return x


def test_lamb_is_the_papers():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(7, 5), nn.Linear(5, 3)).double()
    nn.init.zeros_(model[1].weight)  # it has no length to follow, but must be able to move
    settings = Optimizer(name="lamb", learning_rate=1.0, weight_decay=0.1, betas=(0.9, 0.99), eps=1e-6)
    (optimizer,) = build_optimizers(model, settings)
    set_rate([optimizer], 0.02)
    before = values(model)
    gradients = {name: [torch.randn_like(p) for _ in range(5)] for name, p in model.named_parameters()}
    for step in range(5):
        for name, parameter in model.named_parameters():
            parameter.grad = gradients[name][step].clone()
        optimizer.step()
    for name, parameter in model.named_parameters():
        is_matrix = parameter.ndim == 2
        expected = lamb_of_the_paper(before[name], gradients[name], 0.1 if is_matrix else 0.0, is_matrix)
        torch.testing.assert_close(parameter.detach(), expected, rtol=1e-11, atol=1e-13)


def test_sgd_is_the_textbooks():
    model, gradients = Layered(), [torch.full((11, 6), value) for value in (1.0, -0.5, 0.25)]
    (optimizer,) = build_optimizers(model, Optimizer(name="sgd", learning_rate=0.1, weight_decay=0.2, momentum=0.8))
    expected, velocity = model.embed.weight.detach().clone(), 0
    for gradient in gradients:
        velocity = 0.8 * velocity + gradient + 0.2 * expected
        expected = expected - 0.1 * velocity
        model.embed.weight.grad = gradient
        optimizer.step()
    torch.testing.assert_close(model.embed.weight, expected)


def test_a_matrix_without_a_gradient_stays():
    model = Layered()
    (optimizer,) = build_optimizers(model, Optimizer(name="lamb", learning_rate=0.1))
    before = values(model)
    model.row.weight.grad = torch.ones_like(model.row.weight)
    optimizer.step()
    assert {key for key, value in values(model).items() if not torch.equal(value, before[key])} == {"row.weight"}


def test_muon_turns_the_layers_and_leaves_the_rest_to_adamw():
    torch.manual_seed(0)
    muon, adamw = wide(), wide()
    gradients = {name: torch.randn_like(parameter) for name, parameter in muon.named_parameters()}
    for model, name in ((muon, "muon"), (adamw, "adamw")):
        for key, parameter in model.named_parameters():
            parameter.grad = gradients[key].clone()
        for optimizer in build_optimizers(model, Optimizer(name=name, learning_rate=0.01, weight_decay=0.0)):
            optimizer.step()
    start, turned, stepped = values(wide()), values(muon), values(adamw)
    for key in start:
        move = turned[key] - start[key]
        if key == "layers.0.weight":
            strengths = torch.linalg.svdvals(move)
            assert strengths.max() < 2.5 * strengths.min()  # the gradient's are 30 to 1
            assert move.square().mean().sqrt() == pytest.approx(0.2 * 0.01, rel=0.2)  # the size of AdamW's usual steps
        else:
            assert torch.equal(turned[key], stepped[key])


def wide() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return nn.ModuleDict({"embed": nn.Embedding(9, 32), "layers": nn.ModuleList([nn.Linear(32, 40)])})


def test_muon_does_not_care_that_gpt2_transposes_its_matrices():
    torch.manual_seed(0)
    linear, transposed = nn.Linear(16, 48), Conv1D(48, 16)
    transposed.weight.data = linear.weight.detach().t().clone()
    linear.weight.grad = torch.randn_like(linear.weight)
    transposed.weight.grad = linear.weight.grad.t().clone()
    for layer in (linear, transposed):
        optimizer, _ = build_optimizers(
            nn.ModuleDict({"h": nn.ModuleList([layer])}), Optimizer(name="muon", learning_rate=0.1)
        )
        optimizer.step()
    torch.testing.assert_close(transposed.weight, linear.weight.t(), rtol=0, atol=1e-3)


# --- a step that is left out


@pytest.mark.parametrize("name", ["adamw", "lamb", "muon", "sgd"])
@pytest.mark.parametrize("before", [0, 2])
def test_a_step_that_is_left_out_was_never_there(name, before):
    settings = Optimizer(name=name, learning_rate=0.01)
    ended = []
    for left_out in (False, True):
        model = Layered()
        optimizers = build_optimizers(model, settings)
        for number in range(before):
            take_step(model, optimizers, number)
        if left_out:
            kept = values(model)
            for parameter in model.parameters():
                parameter.grad = torch.full_like(parameter, torch.nan)
            step_unless(torch.ones(()), optimizers)
            assert all(torch.equal(value, kept[key]) for key, value in values(model).items())
            for optimizer in optimizers:
                optimizer.zero_grad()
                del optimizer.found_inf
        for number in range(before, before + 2):
            take_step(model, optimizers, number)
        ended.append(values(model))
    for key, value in ended[0].items():
        assert torch.equal(value, ended[1][key]), key


@pytest.mark.parametrize("name", ["adamw", "lamb", "muon", "sgd"])
def test_nobody_looks_at_a_number_while_a_step_is_decided_and_taken(name, tmp_path):
    """Tensors without numbers refuse every look."""
    plan = Plan(global_batch_size=1, per_device_train_batch_size=1, max_steps=1, skip_spikes=True)
    accelerator = Accelerator(cpu=True)
    watch = Watch(plan, Tracker(tmp_path, accelerator), {"losses": [1.0] * Watch.MEMORY})
    with FakeTensorMode():
        model = Layered()
        optimizers = build_optimizers(model, Optimizer(name=name))
        for parameter in model.parameters():
            parameter.grad = torch.ones_like(parameter)
        decision = watch.decide(total_norm(model), {"term": torch.ones(())}, {"term": 3.0}, accelerator)
        step_unless(decision.skipped, optimizers)
        with pytest.raises(DataDependentOutputException):
            bool(decision.skipped)


def test_nobody_looks_at_a_number_while_a_gradient_is_clipped_on_a_device():
    with torch.device("meta"):
        model = nn.Linear(3, 4)
        model.weight.grad, model.bias.grad = torch.ones(4, 3), torch.ones(4)
        norm = total_norm(model)
    clip(model, norm, 1.0)
    with pytest.raises(RuntimeError, match="meta"):
        bool(norm <= 1.0)


# --- stop and go on, and sharding


@pytest.mark.parametrize("name", ["adamw", "lamb", "muon", "sgd"])
def test_a_stop_changes_nothing(name):
    settings = Optimizer(name=name, learning_rate=0.01)
    whole, half, rest = Layered(), Layered(), Layered()
    optimizers = build_optimizers(whole, settings)
    for number in range(6):
        take_step(whole, optimizers, number)

    optimizers = build_optimizers(half, settings)
    for number in range(3):
        take_step(half, optimizers, number)
    state = {(key, item): value.clone() for key, item, value in moments(half, optimizers)}
    assert all(isinstance(value, Tensor) for value in state.values())

    optimizers = build_optimizers(rest, settings)
    rest.load_state_dict(half.state_dict())
    owners = {id(p): optimizer for optimizer in optimizers for group in optimizer.param_groups for p in group["params"]}
    parameters = dict(rest.named_parameters())
    for (key, item), value in state.items():
        owners[id(parameters[key])].state[parameters[key]][item] = value
    for number in range(3, 6):
        take_step(rest, optimizers, number)
    for key, value in values(whole).items():
        assert torch.equal(value, values(rest)[key]), key


def moments(model: nn.Module, optimizers: list[torch.optim.Optimizer]) -> list[tuple[str, str, Tensor]]:
    return [
        (key, item, value)
        for optimizer in optimizers
        for key, parameter in model.named_parameters()
        for item, value in optimizer.state.get(parameter, {}).items()
    ]


@pytest.fixture(scope="module")
def sharded() -> dict:
    """What `sharded.py` found in two processes."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    ended = subprocess.run(
        [*command, "-m", "tests.engine.sharded"], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return json.loads(ended.stdout.splitlines()[-1])


@pytest.mark.slow
def test_two_processes_really_share_every_parameter(sharded):
    assert sharded["processes"] == 2
    assert sharded["cut"]
    assert 0 < sharded["share"] < 0.6  # of all numbers, on the process that has more


@pytest.mark.parametrize(
    ("name", "tolerance"),
    [("adamw", 1e-4), ("lamb", 1e-4), ("muon", 0.05), ("sgd", 1e-4), ("powered_sgd", 1e-4)],
)
@pytest.mark.slow
def test_shards_move_as_the_whole_does(sharded, name, tolerance):
    """The distance between the two ends, over the length of the way. Muon computes in bfloat16 (8 bits)."""
    assert sharded["distance"][name] < tolerance


@pytest.mark.slow
def test_the_average_of_shards_is_the_average(sharded):
    assert sharded["distance"]["average"] < 1e-4
    assert sharded["swapped"] == {"inside": "average", "after": "own"}
