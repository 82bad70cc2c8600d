"""Does it work on a GPU, and how fast is it there?  Checks, then measures, in eight minutes on one card.

    python -m benchmarks.gpu            bert-base at 128 and 512, gpt2-small at 1,024, fine-tuning bert-base
    python -m benchmarks.gpu --tiny     all of it with tiny models on the CPU, to try the command

It needs no network: text and vocabulary come from benchmarks.sample. Each part runs in its own process, so the others
still run if one fails. When the time is over, the running part is stopped and the rest is left out. The table shows
both. The exit status is not 0 if a part fails.

gradients    loss and gradient in fp32 are the CPU's
resume       a run that is stopped and resumed is one that is not, bit for bit
bf16         loss and gradient in bf16 are fp32's, nearly
compile      the losses with torch.compile are those without
fsdp2        the losses in shards are those without
waits        how often a step waits for the card
bert_base_*, gpt2_small_1024    tokens a second and MFU of pretraining, as benchmarks.pretraining takes them
finetuning   seconds of fine-tuning bert-base, as benchmarks.finetuning takes them
"""

import json
import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import torch

from benchmarks import gpu_checks, gpu_finetuning, pretraining, sample
from benchmarks.gpu_checks import Bench, CheckFailed
from benchmarks.measuring import finish
from benchmarks.settings import GPU, TINY, Setting
from corpus.text.source import Source
from engine.run.options import read_options
from engine.run.runtime import program

CHECKS: dict[str, Callable[[Bench], dict[str, Any]]] = {
    "gradients": gpu_checks.check_gradients,
    "resume": gpu_checks.check_resume,
    "bf16": gpu_checks.check_bf16,
    "compile": gpu_checks.check_compile,
    "fsdp2": gpu_checks.check_fsdp2,
    "waits": gpu_checks.check_waits,
}
IN_FP32 = ("gradients", "bf16", "compile", "fsdp2")  # bf16 itself switches autocast on for its second half
MEGABYTES, TINY_MEGABYTES = 12.0, 0.4  # of text for the measures
FOR_CHECKS = 0.4  # and for the checks
TURNS, STEPS = 10, 4  # of each way, see benchmarks.pretraining
LEAST = 20.0  # seconds without which no part is begun
LONGEST_REASON = 160  # characters


@dataclass(frozen=True)
class Options:
    """Check and measure on one GPU."""

    minutes: float = 8.0  # at most; then the running part is stopped
    only: tuple[str, ...] = ()  # these parts alone
    tiny: bool = False  # tiny models on the CPU


@dataclass(frozen=True)
class Part:
    """How a part ended: "passed", "measured", "failed" or "left out"; its results, or the reason."""

    name: str
    verdict: str
    seconds: float
    found: dict[str, Any]
    reason: str = ""


@program
def main(argv: list[str]) -> None:
    asked = read_options(Options, argv, "python -m benchmarks.gpu")
    os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"  # counts cards without touching them, see run_part
    names = part_names(asked.tiny)
    if unknown := sorted(set(asked.only) - set(names)):
        raise ValueError(f"--only is {unknown[0]!r}; the parts are {', '.join(names)}")
    if not asked.tiny and not torch.cuda.device_count():
        raise ValueError("torch finds no CUDA GPU; --tiny tries all of it on the CPU")
    end = time.monotonic() + 60 * asked.minutes
    parts = []
    with tempfile.TemporaryDirectory() as home:
        for name in ("text", *(name for name in names if name in (asked.only or names))):
            part = run_part(name, Path(home), end, asked.tiny)
            print(f"{part.name}: {part.verdict} after {part.seconds:.0f} s {part.reason}".rstrip(), flush=True)
            parts.append(part)
    print(as_table(parts))
    finish({part.name: {"verdict": part.verdict, **part.found} | ({"reason": part.reason} if part.reason else {})
            for part in parts} | {"device": "cpu" if asked.tiny else torch.cuda.get_device_name()})  # fmt: skip
    if failed := [part.name for part in parts if part.verdict == "failed"]:
        raise ValueError(f"{len(failed)} of {len(parts)} parts failed: {', '.join(failed)}")


def settings(tiny: bool) -> dict[str, Setting]:
    return dict(zip(GPU, (TINY["bert_mini"], TINY["bert_mini"], TINY["gpt2_mini"]), strict=True)) if tiny else GPU


def part_names(tiny: bool) -> list[str]:
    return [*CHECKS, *settings(tiny), "finetuning"]


# Around a part


def run_part(name: str, home: Path, end: float, tiny: bool) -> Part:
    """Run a part in its own process, until it ends or the time is over.

    It is forked, to spare the imports: this process must not have touched the card, or its children could not.
    """
    began = time.monotonic()
    if end - began < LEAST:
        return Part(name, "left out", 0.0, {}, "no time was left")
    child = os.fork()
    if child == 0:
        become_part(name, home, tiny)
    status = wait_for(child, end)
    seconds = time.monotonic() - began
    if status is None:
        return Part(name, "left out", seconds, {}, "the time was over before it was done")
    if status:
        return Part(name, "failed", seconds, {}, reason_in((home / f"{name}.txt").read_text(), status))
    found = json.loads((home / f"{name}.json").read_text())
    return Part(name, "passed" if name in CHECKS else "measured", seconds, found)


def become_part(name: str, home: Path, tiny: bool) -> NoReturn:
    """Run the part, write its results to NAME.json and its output to NAME.txt, and exit."""
    status = 1
    try:
        os.setsid()
        said = os.open(home / f"{name}.txt", os.O_WRONLY | os.O_CREAT)
        for stream in (1, 2):
            os.dup2(said, stream)
        sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
        os.environ |= {
            "ACCELERATE_USE_CPU": str(tiny).lower(), "ACCELERATE_MIXED_PRECISION": "no" if name in IN_FP32 else "bf16",
        }  # fmt: skip
        (home / f"{name}.json").write_text(json.dumps(do_part(name, home, tiny)))
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def wait_for(child: int, end: float) -> int | None:
    """The exit status of a part, negative for a signal; None if the time was over. Nothing of it is left running."""
    status, ended = 0, 0
    while not ended and time.monotonic() < end:
        ended, status = os.waitpid(child, os.WNOHANG)
        time.sleep(0.05)
    with suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    if not ended:
        os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status) if ended else None


def reason_in(said: str, status: int) -> str:
    """The last line of what a part said on its way out, without the module of its error."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    last = lines[-1] if lines else f"it ended with status {status}"
    return last.removeprefix(f"{CheckFailed.__module__}.")[:LONGEST_REASON].replace("|", "/")


def as_table(parts: Sequence[Part]) -> str:
    """Markdown: a line for each part."""
    rows = [f"| {part.name} | {part.verdict} | {part.seconds:.0f} | {part.reason or in_words(part.found)} |"
            for part in parts]  # fmt: skip
    return "\n".join(["", "| part | | seconds | |", "|---|---|---:|---|", *rows, ""])


def in_words(found: dict[str, Any], of: str = "") -> str:
    """Nested numbers in one line."""
    words = []
    for name, value in found.items():
        name = f"{of} {name}".strip().replace("_", " ")
        if isinstance(value, dict):
            words.append(in_words(value, name))
        else:
            words.append(f"{name} {value:,.4g}" if isinstance(value, float) and value < 1000 else f"{name} {value:,}")
    return ", ".join(words)


# Inside a part


def do_part(name: str, home: Path, tiny: bool) -> dict[str, Any]:
    """Run the part in this process and return its results. Errors: those of the part."""
    if name == "text":
        return write_text(home, TINY_MEGABYTES if tiny else MEGABYTES)
    folder = home / name
    if name in CHECKS:
        folder.mkdir()
        return CHECKS[name](Bench(folder, home / "checks.jsonl", tiny))
    source = Source("jsonl", str(home / "text.jsonl"))
    if name == "finetuning":
        folder.mkdir()
        return gpu_finetuning.measure(folder, home / "text.jsonl", tiny)
    asked = pretraining.Options(turns=3 if tiny else TURNS, steps=2 if tiny else STEPS)
    return pretraining.compare(settings(tiny)[name], source, folder, asked, workers=0 if tiny else 4)


def write_text(home: Path, megabytes: float) -> dict[str, Any]:
    """The text of all parts, and the vocabularies, which are kept for later."""
    sample.raw_text(megabytes, home / "text.jsonl")
    lines = (home / "text.jsonl").read_text(encoding="utf-8").splitlines()
    share = max(1, round(len(lines) * FOR_CHECKS / megabytes))
    (home / "checks.jsonl").write_text("\n".join(lines[:share]) + "\n", encoding="utf-8")
    sizes = {f"{family}_vocabulary": len(sample.vocabulary(family)[1]) for family in ("bert", "gpt2")}
    return {"documents": len(lines), **sizes}


if __name__ == "__main__":
    main()
