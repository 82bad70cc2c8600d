"""What will this run need?  Parameters, operations, memory, hours, money and disk, before anything is trained.

    cloze plan RECIPE.yaml [--hardware h100] [--processes 8] [--sharded True] [--format json] [--key value ...]

`--hardware cpu` tries a few seconds of training on this machine; a card (h100, a100, a6000, 4090, ...) is reckoned from
its data sheet and a utilisation that is assumed, and stated. The corpus need not be there, nor, where the recipe says
`model.vocab_size`, the tokenizer.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from rich.console import Console
from rich.table import Table

from engine.run.architecture import count_positions
from engine.run.finite import strict_json
from engine.run.options import read_own_options
from engine.run.recipe import check_least, read
from engine.run.runtime import hardware, peak_rss_mb, program, speak_plainly
from engine.train.flops import CARDS, Card, card, measured_peak
from engine.train.forecast import Memory
from engine.train.plan import divide_batches
from pretrain.amount import Amount, foresee_amount
from pretrain.forecast import Stage, medium_of, parameters_by_part, trains_in_bf16
from pretrain.recipe import PretrainRecipe
from pretrain.shards import Shards

PROG = "python -m pretrain.plan"
UTILISATION = 0.4  # of a card's peak: NVIDIA's BERT-large reaches 0.43 on an A100; narrow models reach less
DOLLARS = {  # an hour of a card, on demand, as GPU clouds asked in 2025, rounded
    "H200": 3.8, "H100": 3.0, "H100 PCIe": 2.5, "A100": 1.8, "A6000": 0.8, "L40S": 1.0, "4090": 0.7, "3090": 0.4,
}  # fmt: skip
LAUNCH = 10e-6  # seconds in which Python starts a kernel; small models on large cards wait for it
DRIVER = 600_000_000  # bytes of a card that CUDA and its libraries take
GAPS = 0.5  # of a CPU's tensors: what the C library's allocator keeps between them; 0.2 to 1.1 were seen


@dataclass(frozen=True)
class Options:
    """Say what a run will need, before it starts: cloze plan RECIPE.yaml [OPTIONS] [--key value ...]

    The keys are the recipe's, as for cloze pretrain. Nothing is trained but a few seconds, to measure this machine.

    Example: cloze plan recipes/pretrain/bert-mini.yaml --hardware a100
    """

    hardware: str = "cpu"  # cpu: this machine, measured; or a card, from its data sheet: h200, h100, a100, a6000, 4090
    processes: int = 1  # processes that train together, each with a card
    sharded: bool = False  # each of them holds a shard of every tensor, as accelerate_configs/fsdp2.yaml says
    utilisation: float = UTILISATION  # share of a card's peak that is assumed to be reached
    dollars: float | None = None  # price of an hour of a card; None: what clouds asked in 2025
    format: Literal["table", "json"] = "table"  # how the result is printed


@program
def main(argv: list[str]) -> None:
    options, rest = read_own_options(Options, argv, PROG)
    check_least(options, 1, "processes", before="--")
    if not 0 < options.utilisation <= 1:
        raise ValueError(f"--utilisation is {options.utilisation}; it is a share of a card's peak, above 0, up to 1")
    if options.dollars is not None:
        check_least(options, 0, "dollars", before="--")
    recipe = read(PretrainRecipe, rest, PROG, "recipes/pretrain/bert-mini.yaml --hardware a100")
    speak_plainly()
    found = foresee(recipe, options)
    if options.format == "json":
        print(strict_json(found, indent=1))
    else:
        show(found)


def foresee(recipe: PretrainRecipe, options: Options) -> dict[str, Any]:
    """All that can be foreseen, as plain JSON: bytes, seconds, FLOPs; None for what cannot.

    Errors: ValueError for an unknown card, for batches that do not divide, and for what the objective refuses.
    """
    gpu = known_card(options.hardware)
    bf16 = trains_in_bf16(recipe, gpu)
    medium = medium_of(recipe)
    phases = divide_batches(recipe.phases, recipe.plan.global_batch_size, options.processes)
    stages = [Stage(recipe, phase, medium, options.processes, bf16, gpu is not None) for phase in phases]
    model = stages[0].outline()
    recipe.check_examples(count_positions(model))
    memory = max((stage.memory for stage in stages), key=lambda found: found.peak)
    shards = Shards.of(model, memory, bf16)
    held = on_the_device(shards.on_one_of(options.processes) if options.sharded else memory, gpu, options)
    fits = held["fits"]
    how, seconds = speed(stages, gpu, bf16, options.utilisation) if fits else ("unknown: it does not fit", None)
    steps = steps_of(recipe, stages, seconds)
    corpus = foresee_amount(recipe, getattr(model.config, "vocab_size", 0))
    return {
        "name": recipe.name,
        "parameters": {"all": model.num_parameters(), **parameters_by_part(model)},
        "phases": [phase_facts(stage, steps, seconds[i] if seconds else None) for i, stage in enumerate(stages)],
        "work": work(recipe, stages, steps, corpus.units),
        "memory": {**held, "advice": [] if fits else list(ways_to_fit(recipe, stages, options, gpu))},
        "cards": shards.count_cards(recipe.plan.global_batch_size, phases[0].device_batch, DRIVER) if gpu else {},
        "time": {
            "hardware": f"{options.processes} x {gpu.name}" if gpu else hardware(), "how": how,
            **hours_and_dollars(recipe, stages, steps, seconds, gpu, options.dollars),
        },
        "disk": on_disk(recipe, memory, 4 * model.num_parameters(), corpus),
    }  # fmt: skip


# What is foreseen, section by section


def phase_facts(stage: Stage, steps: int | None, seconds: float | None) -> dict[str, Any]:
    return {
        "size": stage.phase.size,
        "per_device_train_batch_size": stage.phase.device_batch,
        "micro_batches": stage.micro_batches,
        "steps": steps and round(stage.phase.share * steps),
        "step_flops": stage.flops,
        "step_seconds": seconds,
    }


def steps_of(recipe: PretrainRecipe, stages: list[Stage], seconds: list[float] | None) -> int | None:
    """The plan's steps, or as many as fit its budget; None where that is minutes and the speed is not known."""
    plan = recipe.plan
    if plan.minutes:
        return max(1, round(plan.minutes * 60 / mean(stages, seconds))) if seconds else None
    return plan.in_steps(mean(stages, [stage.flops for stage in stages])).max_steps


def mean(stages: list[Stage], values: list[float]) -> float:
    """Over the steps of all phases."""
    return sum(stage.phase.share * value for stage, value in zip(stages, values, strict=True))


def work(recipe: PretrainRecipe, stages: list[Stage], steps: int | None, held: int | None) -> dict[str, Any]:
    """What is learnt from. `tokens` are positions: padding, of which there is little, is among them. Of a recipe on
    images the same is said of `images`. `held` is how many the corpus has."""
    unit, examples = recipe.objective.medium.unit, steps and steps * recipe.plan.global_batch_size
    units = examples and round(examples * mean(stages, [stage.units for stage in stages]))
    return {
        "unit": unit,
        "steps": steps,
        "examples": examples,
        unit: units,
        "flops": steps and steps * mean(stages, [stage.flops for stage in stages]),
        f"corpus_{unit}": held,
        "epochs": units and held and units / held,
    }


def on_the_device(memory: Memory, gpu: Card | None, options: Options) -> dict[str, Any]:
    """What one process holds at the worst moment, and whether there is room for it."""
    own = DRIVER if gpu else round(peak_rss_mb() * 1e6)
    # DistributedDataParallel sends copies of the gradients; shards are sent as they are
    buckets = memory.gradients if options.processes > 1 and not options.sharded else 0
    gaps = 0 if gpu else round(GAPS * memory.peak)
    peak = memory.peak + buckets + gaps + own
    room = gpu.memory * 1e9 if gpu else free_memory()
    fits = peak * (1 if gpu else options.processes) <= room
    parts = {name: size for name, size in vars(memory).items() if name != "results"}
    return {**parts, "buckets": buckets, "gaps": gaps, "program": own, "peak": peak, "room": room, "fits": fits}


def ways_to_fit(recipe: PretrainRecipe, stages: list[Stage], options: Options, gpu: Card | None) -> Iterator[str]:
    """What is left to try of what takes less memory, the least change first."""
    if any(stage.phase.device_batch > 1 for stage in stages):
        yield "lower per_device_train_batch_size"
    if stages[0].outline().supports_gradient_checkpointing and not recipe.plan.gradient_checkpointing:
        yield "set plan.gradient_checkpointing"
    if gpu and not options.sharded:
        yield "say --sharded True" if options.processes > 1 else "say --sharded True --processes N"
    elif gpu:
        yield "give more --processes"
    yield "take a smaller model"


def free_memory() -> float:
    """Bytes that programs on this machine can have now; without limit where the system does not say."""
    path = Path("/proc/meminfo")
    lines = path.read_text().splitlines() if path.exists() else []
    return next((float(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable")), float("inf"))


def known_card(name: str) -> Card | None:
    """None for the CPU. Errors: ValueError that lists the cards."""
    if name == "cpu" or (found := card(name)):
        return None if name == "cpu" else found
    there = ", ".join(known.name for known in CARDS)
    raise ValueError(f"--hardware is {name!r}; it is cpu (this machine) or one of the cards {there}")


def speed(stages: list[Stage], gpu: Card | None, bf16: bool, utilisation: float) -> tuple[str, list[float]]:
    """How the seconds of a step are known, and these, by phase."""
    precision = "bf16" if bf16 else "fp32"
    if gpu is None:
        peak = measured_peak(torch.bfloat16 if bf16 else torch.float32)
        return f"tried here, a few seconds, {precision}", [stage.tried_seconds(peak) for stage in stages]
    peak = 1e12 * ((gpu.bf16 if bf16 else gpu.tf32) or gpu.fp32)
    computing = [stage.flops / (peak * utilisation * stage.processes) for stage in stages]
    starting = [stage.memory.results * stage.micro_batches * LAUNCH for stage in stages]
    how = f"assumed: {utilisation:.0%} of {peak / 1e12:.0f} TFLOP/s, {precision}"
    if sum(starting) > sum(computing):
        how = f"assumed: {LAUNCH * 1e6:.0f} microseconds for each kernel; larger batches use the card better"
    return how, [max(pair) for pair in zip(computing, starting, strict=True)]


def hours_and_dollars(
    recipe: PretrainRecipe, stages: list[Stage], steps: int | None, seconds: list[float] | None, gpu: Card | None,
    dollars: float | None,
) -> dict[str, Any]:  # fmt: skip
    """Training and evaluations. An evaluation only looks, which is a third of the work of learning."""
    if steps is None or seconds is None:
        return {f"{recipe.objective.medium.unit}_per_second": None, "hours": None, "dollars": None}
    a_step, plan = mean(stages, seconds), recipe.plan
    evaluations = (steps // plan.eval_steps if plan.eval_steps else 0) + 1
    looked_at = evaluations * recipe.max_eval_samples / plan.global_batch_size
    hours = (steps + (looked_at / 3 if not plan.minutes else 0)) * a_step / 3600
    an_hour = dollars if dollars is not None else DOLLARS.get(gpu.name) if gpu else None
    units = plan.global_batch_size * mean(stages, [stage.units for stage in stages])
    return {
        f"{recipe.objective.medium.unit}_per_second": units / a_step,
        "hours": hours,
        "dollars": None if an_hour is None else hours * an_hour * stages[0].processes,
    }


def on_disk(recipe: PretrainRecipe, memory: Memory, model: int, corpus: Amount) -> dict[str, Any]:
    """The prepared corpus (None where it is not known), each state, how many there are at once, and the model."""
    states = (recipe.plan.save_total_limit if recipe.plan.save_steps else 0) + 1  # one more while it is written
    return {"store": corpus.store, "state": memory.state, "states": states, "model": model}


# For people


def show(found: dict[str, Any]) -> None:
    """One table, in sections: what, how much, and a word on it."""
    table = Table(title=f"What {found['name']} will need", show_header=False, title_justify="left")
    table.add_column()
    table.add_column(justify="right")
    table.add_column(style="dim")
    for rows in (parameter_rows, step_rows, run_rows, memory_rows, time_rows, disk_rows):
        for row in rows(found):
            table.add_row(*row)
        table.add_section()
    Console().print(table)


Rows = list[tuple[str, str, str]]


def parameter_rows(found: dict[str, Any]) -> Rows:
    parts = dict(found["parameters"])
    return [("parameters", f"{parts.pop('all'):,}", "")] + [(f"  {name}", f"{n:,}", "") for name, n in parts.items()]


def step_rows(found: dict[str, Any]) -> Rows:
    return [
        (
            f"a step at size {phase['size']}",
            f"{amount(phase['step_flops'], 'FLOP')}",
            f"{phase['micro_batches']} x {phase['per_device_train_batch_size']} examples a process"
            + ("" if phase["steps"] is None else f", {phase['steps']:,} steps")
            + ("" if phase["step_seconds"] is None else f", {phase['step_seconds']:.3g} s each"),
        )
        for phase in found["phases"]
    ]


def run_rows(found: dict[str, Any]) -> Rows:
    work = found["work"]
    of_corpus = (
        f"about {amount(work['epochs']).strip()} times the corpus"
        if work["epochs"]
        else "the corpus's size is not known here"
    )
    return [
        ("steps", number(work["steps"]), f"{number(work['examples'])} examples"),
        (work["unit"], amount(work[work["unit"]]), of_corpus),
        ("operations", amount(work["flops"], "FLOP"), "forward and backward"),
    ]


def memory_rows(found: dict[str, Any]) -> Rows:
    held = found["memory"]
    notes = {
        "weights": "",
        "gradients": "",
        "moments": "of the optimizers",
        "average": "of the weights over time (ema)",
        "copies": "of weights: in bf16, and, in shards, of the layers that are whole",
        "activations": "kept by a micro-batch's forward pass",
        "logits": "the most that is as wide as the vocabulary at once",
        "buckets": "of gradients under way between processes",
        "gaps": "that the allocator keeps; a guess",
        "program": "Python, PyTorch and its libraries",
    }
    room = "" if held["room"] == float("inf") else f" of {amount(held['room'], 'B')}"
    verdict = "fits" if held["fits"] else f"DOES NOT FIT: {', or '.join(held['advice'])}"
    cards = ", ".join(f"{count} {name}" for name, count in found["cards"].items() if count)
    in_shards = [("in shards it fits", "", f"on {cards}" if cards else "on none of the cards that are known")]
    parts = [(f"  {name}", amount(held[name], "B"), note) for name, note in notes.items() if held[name]]
    return [("memory of a process", amount(held["peak"], "B") + room, verdict), *parts] + (
        in_shards if found["cards"] else []
    )


def time_rows(found: dict[str, Any]) -> Rows:
    time, unit = found["time"], found["work"]["unit"]
    pace = time[f"{unit}_per_second"]
    money = "" if time["dollars"] is None else f", about {time['dollars']:,.2f} dollars"
    speed = "" if pace is None else f"{number(round(pace))} {unit}/s; "
    return [
        ("time", duration(time["hours"]), f"on {time['hardware']}{money}"),
        ("", "", speed + time["how"]),
    ]


def disk_rows(found: dict[str, Any]) -> Rows:
    disk = found["disk"]
    return [
        ("disk: prepared corpus", "?" if disk["store"] is None else amount(disk["store"], "B"), ""),
        ("disk: states", f"{disk['states']} x {amount(disk['state'], 'B')}", "one of them is being written"),
        ("disk: model", amount(disk["model"], "B"), ""),
    ]


def number(value: int | None) -> str:
    return "?" if value is None else f"{value:,}"


def duration(hours: float | None) -> str:
    if hours is None:
        return "?"
    for unit, size in (("days", 24.0), ("hours", 1.0), ("minutes", 1 / 60)):
        if hours >= 2 * size:
            return f"{hours / size:.3g} {unit}"
    return f"{hours * 3600:.3g} seconds"


def amount(value: float | None, unit: str = "") -> str:
    """Three figures and a prefix, such as 4.51 GB."""
    if value is None:
        return "?"
    for prefix, size in (("E", 1e18), ("P", 1e15), ("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:.3g} {prefix}{unit}"
    return f"{value:.3g} {unit}"


if __name__ == "__main__":
    main()
