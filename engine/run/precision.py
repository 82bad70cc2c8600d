"""Which precision and which matrix kernels are fastest here?  Measured once on a machine, and kept by a run.

    fp32 by MKL      torch's default on x86
    fp32 by oneDNN   up to twice as fast on some processors with AVX-512, slower on others
    bf16             mixed precision (autocast), where the processor has such instructions; elsewhere it is emulated

The figures are kept in a file, $XDG_CACHE_HOME/cloze/precision.json: measured again they might come out otherwise, and
then the same command would not give the same numbers again.
"""

import functools
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal

import torch
import yaml
from accelerate import Accelerator

from engine.run.disk import whole_file

MixedPrecision = Literal["auto", "no", "bf16"]
Matmul = Literal["auto", "mkl", "onednn"]

MKL: Final = "mkl"
ONEDNN: Final = "onednn"
BF16: Final = "bf16"
# (m, k, n) of the products that are timed: a layer's feed-forward, there and back, and a tile of the vocabulary.
PRODUCTS = ((1024, 256, 1024), (1024, 1024, 256), (512, 256, 2048))
SECONDS, ROUNDS = 0.8, 4  # of timing in all, and at least; the fastest counts: other programs can only slow it down
MARGIN = 1.05  # how much faster another way must be than the one before it
FP32_ERROR = 1e-3  # of products of 512 terms; in fp32 it is 1e-5 to 1e-4, in bf16 near 0.3
INSTRUCTIONS = Path("/proc/cpuinfo")
NATIVE_BF16 = {"avx512_bf16", "amx_bf16", "bf16"}  # as Linux calls it on x86, and the last one on ARM


@dataclass(frozen=True)
class Precision:
    """What is computed with, or asked for: `auto` is what is to be measured."""

    mixed_precision: MixedPrecision = "auto"  # as Accelerate says it: no is fp32
    matmul: Matmul = "auto"  # the fp32 kernels of a CPU

    @classmethod
    def asked_by(cls, recipe: Any, folder: Path) -> "Precision":
        """What a recipe asks for; in place of `auto` what the run in `folder` began with, unless the launcher asks for
        bf16."""
        asked = cls(recipe.mixed_precision, recipe.matmul)
        if recipe.overwrite or (asked.mixed_precision == "auto" and _launcher() == BF16):
            return asked
        try:
            began = yaml.safe_load((folder / "recipe.yaml").read_text(encoding="utf-8"))
            kept = {name: began.get(name) or own for name, own in vars(asked).items() if own == "auto"}
        except (OSError, ValueError, AttributeError, yaml.YAMLError):  # no run yet, or its damage is named later
            return asked
        return replace(asked, **kept)


MEASURED = Precision()


def choose_precision(asked: Precision, device: torch.device) -> tuple[Precision, str]:
    """What to compute with on this device, and for the log, why. What was asked for is done, even if it is slower.

    The launcher may ask for bf16, and on a GPU for no mixed precision; on a CPU its `no` is what it says when nobody
    asked. Errors: ValueError for fp16 and fp8.
    """
    launcher, mixed = _launcher(), asked.mixed_precision
    if launcher not in ("auto", "no", BF16):
        raise ValueError(
            f"mixed precision {launcher} needs a loss scale, which is not kept here; say bf16, or no on an older card"
        )
    if mixed == "auto" and (launcher != "no" or device.type != "cpu"):
        mixed = launcher
    return _on_cpu(mixed, asked.matmul) if device.type == "cpu" else _on_card(mixed, device)


def _launcher() -> Any:
    return os.environ.get("ACCELERATE_MIXED_PRECISION") or "auto"


def _on_card(mixed: MixedPrecision, device: torch.device) -> tuple[Precision, str]:
    native = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    chosen: MixedPrecision = mixed if mixed != "auto" else BF16 if native else "no"
    slow = " (WARNING: this card emulates bf16; say --mixed_precision no)" if chosen == BF16 and not native else ""
    return Precision(chosen), f"precision {name_mixed_precision(chosen)}{slow}"


def _on_cpu(mixed: MixedPrecision, asked_matmul: Matmul) -> tuple[Precision, str]:
    rates = measured_rates()
    matmul: Any = asked_matmul if asked_matmul in rates else _fastest({n: r for n, r in rates.items() if n != BF16})
    fastest = _fastest({n: r for n, r in rates.items() if n in (matmul, BF16)})
    chosen: MixedPrecision = mixed if mixed != "auto" else BF16 if fastest == BF16 else "no"
    words = f"precision {name_mixed_precision(chosen)}, fp32 matrix products by {WORDS[matmul]} ({_in_words(rates)})"
    if asked_matmul not in ("auto", matmul):
        words += f"; {WORDS[asked_matmul]} was asked for, but is not exact on this processor"
    if chosen == BF16 and fastest != BF16:
        words += "\nWARNING: bf16 was asked for, and is slower than fp32 on this processor: say --mixed_precision no"
    if chosen == "no" and fastest == BF16:
        words += "\nbf16 is faster on this processor, and less exact: --mixed_precision bf16"
    return Precision(chosen, matmul), words


WORDS = {MKL: "MKL" if torch.backends.mkl.is_available() else "torch's default", ONEDNN: "oneDNN", BF16: "bf16"}


def name_mixed_precision(mixed: str) -> str:
    """What Accelerate calls no mixed precision is fp32."""
    return "fp32" if mixed == "no" else mixed


def _in_words(rates: dict[str, float]) -> str:
    found = ", ".join(f"{WORDS[name]} {rate:.0f}" for name, rate in rates.items())
    return f"GFLOP/s of one thread: {found}{'' if BF16 in rates else '; no bf16 instructions'}"


def _fastest(rates: dict[str, float]) -> str:
    """The first one, unless a later one is faster by more than a stopwatch errs."""
    best, *others = rates
    for other in others:
        if rates[other] > MARGIN * rates[best]:
            best = other
    return best


def precision_of(accelerator: Accelerator) -> dict[str, Any]:
    """What this process computes with, as a recipe says it."""
    matmul: Matmul = ONEDNN if _switch().fp32_precision == BF16 else MKL
    return vars(Precision(accelerator.mixed_precision, matmul if accelerator.device.type == "cpu" else "auto"))


def use_matmul(matmul: str) -> None:
    """Have fp32 products of this process made by these kernels.

    torch reaches oneDNN's only through a switch that also *permits* bf16 arithmetic where the CPU has it, so
    `measured_rates` offers them only where their error is that of fp32.
    """
    _switch().fp32_precision = BF16 if matmul == ONEDNN else "none"


def use_fastest_matmul() -> None:
    """Have fp32 products made by the kernels that are fastest here, in a program that needs no Accelerator."""
    use_matmul(choose_precision(MEASURED, torch.device("cpu"))[0].matmul)


def _switch() -> Any:
    return torch.backends.mkldnn.matmul  # type: ignore[attr-defined]


@functools.cache
def measured_rates() -> dict[str, float]:
    """GFLOP/s of one thread in each way that this CPU offers, as measured here first. It takes a second."""
    names = [MKL, *([ONEDNN] if _has_exact_onednn() else []), *([BF16] if _has_bf16() else [])]
    home = Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"))  # noqa: PTH111, never fails
    file, key = home / "cloze" / "precision.json", _machine()
    known: dict[str, Any] = {}  # of other machines that share this home, too
    try:
        known = dict(json.loads(file.read_text()))
        if known[key].keys() == set(names):
            return {name: float(known[key][name]) for name in names}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # not there, damaged, or another machine's
        pass
    rates = _measure(names)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        whole_file(file, json.dumps({**known, key: rates}, indent=1).encode())
    except OSError:  # a home that cannot be written to: measured anew each time
        pass
    return rates


def describe_processor(*names: str) -> list[str]:
    """The lines of Linux's /proc/cpuinfo that begin with one of `names`, each once; none on other systems."""
    lines = INSTRUCTIONS.read_text().splitlines() if INSTRUCTIONS.exists() else []
    return sorted({line for line in lines if line.startswith(names)})


def _machine() -> str:
    """A name for this kind of processor, and this torch."""
    about = describe_processor("model name", "flags", "Features", "CPU part")
    return hashlib.sha256("\n".join([torch.__version__, *about]).encode()).hexdigest()[:16]


def _has_bf16() -> bool:
    return any(NATIVE_BF16 & set(line.split()) for line in describe_processor("flags", "Features"))


def _has_exact_onednn() -> bool:
    """Whether the switch reaches other kernels (AVX-512), and these compute in fp32 all the same."""
    if not torch.backends.mkldnn.is_available() or torch.backends.cpu.get_cpu_capability() != "AVX512":
        return False
    chance = torch.Generator().manual_seed(0)
    left, right = torch.randn(256, 512, generator=chance), torch.randn(512, 256, generator=chance)
    with on_one_thread(), kernels_as_before():
        use_matmul(ONEDNN)
        return bool((left @ right - left.double() @ right.double()).abs().max() < FP32_ERROR)


def _measure(names: list[str]) -> dict[str, float]:
    """Time the products in turns."""
    seconds = {name: [float("inf")] * len(PRODUCTS) for name in names}
    began, rounds = time.perf_counter(), 0
    with on_one_thread(), kernels_as_before(), torch.inference_mode():
        while rounds < ROUNDS or time.perf_counter() - began < SECONDS:
            rounds += 1
            for name in names:
                use_matmul(name)
                dtype = torch.bfloat16 if name == BF16 else torch.float32
                for number, product in enumerate(PRODUCTS):
                    seconds[name][number] = min(seconds[name][number], _time(_product(*product, dtype)))
    work = sum(2e-9 * m * k * n for m, k, n in PRODUCTS)
    return {name: round(work / sum(took), 1) for name, took in seconds.items()}


def _product(m: int, k: int, n: int, dtype: torch.dtype) -> Callable[[], torch.Tensor]:
    left, right, out = torch.ones(m, k, dtype=dtype), torch.ones(n, k, dtype=dtype), torch.empty(m, n, dtype=dtype)
    return lambda: torch.mm(left, right.T, out=out)


def _time(work: Callable[[], Any]) -> float:
    work()  # memory is first touched, and kernels are made
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


@contextmanager
def on_one_thread() -> Iterator[int]:
    """Compute on one thread within the block; yield how many there are outside of it.

    Several threads wait for the slowest, and processes of one thread are compared. Where there is one anyway nothing is
    set: after that torch makes a pool of threads, which a process that is forked could not use.
    """
    threads = torch.get_num_threads()
    if threads > 1:
        torch.set_num_threads(1)
    try:
        yield threads
    finally:
        if threads > 1:
            torch.set_num_threads(threads)


@contextmanager
def kernels_as_before() -> Iterator[None]:
    """Whatever `use_matmul` does within the block, the kernels are afterwards what they were."""
    before = _switch().fp32_precision
    try:
        yield
    finally:
        _switch().fp32_precision = before
