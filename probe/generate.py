"""How does a text continue, or what stands in its gap?  A causal LM writes; a masked LM fills each [MASK].

    cloze generate MODEL --prompt "In the year"
    cloze generate MODEL --prompt "The old man sat by the [MASK]."

MODEL is a run, a folder or a Hub id. `--file FILE` reads the prompt from a file. Drawn by nucleus sampling (Holtzman et
al. 2020); `--temperature 0` always takes the likeliest token. The same seed gives the same text.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
from transformers import TextStreamer
from tyro.conf import Positional, arg

from engine.run.options import read_options
from engine.run.precision import use_fastest_matmul
from engine.run.recipe import check_least, check_seed
from engine.run.runtime import program, speak_plainly
from networks import heads
from probe.language_models import LanguageModel, open_language_model

WRITING = ("max_new_tokens", "temperature", "top_p", "samples", "seed", "stream")  # options of causal LMs alone
FILLING = ("best",)  # of masked LMs alone


@dataclass(frozen=True)
class Options:
    """Continue a text (GPT and its like), or fill each [MASK] in it (BERT and its like).

    Example: cloze generate runs/try/bert --prompt "The [MASK] of the array."
    """

    model: Annotated[str, Positional, arg(metavar="MODEL")]  # a run, a folder or a Hub id
    prompt: str = ""  # the text to continue, or one with [MASK] in it; empty: a GPT begins a text of its own
    file: Path | None = None  # read the prompt from this file
    max_new_tokens: int = 100  # tokens to add, at most; a text may end before
    temperature: float = 1.0  # below 1: likelier words; 0: always the likeliest
    top_p: float = 0.95  # share of the probability that is drawn from, the likeliest tokens first
    samples: int = 1  # how many texts to write
    seed: int = 0  # the same seed gives the same texts
    stream: bool = False  # print each word as it comes
    best: int = 5  # guesses to print for each [MASK]

    def __post_init__(self) -> None:
        check_least(self, 1, "max_new_tokens", "samples", "best", before="--")
        if self.temperature and not 1e-3 <= self.temperature < math.inf:
            raise ValueError(
                f"--temperature is {self.temperature}; it is a finite number from 0.001 up, or 0 for the likeliest"
            )
        check_seed(self.seed)
        if not 0 < self.top_p <= 1:
            raise ValueError(f"--top_p is {self.top_p}; it is a share of the probability, above 0, up to 1")
        if self.prompt and self.file:
            raise ValueError("--prompt and --file are both the prompt: say one of them")


@program
def main(argv: list[str]) -> None:
    options = read_options(Options, argv, "python -m probe.generate")
    speak_plainly()
    use_fastest_matmul()
    asked = open_language_model(options.model)
    refuse_unused(asked, options)
    prompt = read_prompt(options.file) if options.file else options.prompt
    if asked.is_masked:
        for line in fill(asked, prompt, options.best):
            print(line)
        return
    torch.manual_seed(options.seed)
    for number in range(1, options.samples + 1):
        if options.samples > 1:
            print(f"--- {number}")
        text = write(asked, prompt, options)
        if not options.stream:
            print(text, flush=True)


def refuse_unused(asked: LanguageModel, options: Options) -> None:
    """Errors: ValueError for options, other than their defaults, that a model of this kind does not use."""
    names, kind, others = (WRITING, "masked", "causal") if asked.is_masked else (FILLING, "causal", "masked")
    unused = [f"--{name}" for name in names if getattr(options, name) != getattr(Options, name)]
    if unused:
        raise ValueError(f"{asked.name} is a {kind} language model: leave out {', '.join(unused)}, which {others} ones "
                         "take")  # fmt: skip


def read_prompt(file: Path) -> str:
    """Errors: OSError; ValueError for what is not text in UTF-8."""
    try:
        return file.read_text(encoding="utf-8-sig").rstrip("\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"--file {file}: byte {error.start} is not UTF-8; save it as text in UTF-8") from None


def write(asked: LanguageModel, prompt: str, options: Options) -> str:
    """The prompt and what follows. Errors: ValueError for a prompt that leaves no room."""
    ids = [*asked.start, *asked.encode(prompt)]
    if not ids:
        raise ValueError(f"{asked.name} has no token that a text begins behind: say --prompt")
    room = asked.most_tokens - len(ids)
    if room < 1:
        raise ValueError(f"the prompt is {len(ids)} tokens, and {asked.name} reads {asked.most_tokens}: shorten it")
    given = torch.tensor([ids])
    how: dict[str, Any] = {"do_sample": False}
    if options.temperature:
        how = {"do_sample": True, "temperature": options.temperature, "top_p": options.top_p, "top_k": 0}
    streamer = TextStreamer(asked.tokenizer, skip_special_tokens=True) if options.stream else None
    made = asked.model.generate(  # type: ignore[operator]
        given, attention_mask=torch.ones_like(given), max_new_tokens=min(options.max_new_tokens, room),
        pad_token_id=asked.tokenizer.eos_token_id, streamer=streamer, **how,
    )  # fmt: skip
    return str(asked.tokenizer.decode(made[0], skip_special_tokens=True))


@torch.inference_mode()
def fill(asked: LanguageModel, prompt: str, best: int) -> list[str]:
    """A line for each gap: the likeliest tokens. Errors: ValueError for a prompt without one, or too long a one."""
    tokenizer = asked.tokenizer
    x = tokenizer(prompt.replace("[MASK]", str(tokenizer.mask_token)), return_tensors="pt")
    ids = x["input_ids"]
    if ids.shape[1] > asked.most_tokens:
        raise ValueError(f"the prompt is {ids.shape[1]} tokens, and {asked.name} reads {asked.most_tokens}: shorten it")
    gaps = torch.nonzero(ids[0] == tokenizer.mask_token_id)[:, 0]
    if not len(gaps):
        raise ValueError(f"{asked.name} is a masked language model and fills gaps: write [MASK] in the prompt for each")
    shares = heads.logits_at(asked.model, dict(x), gaps).float().softmax(-1)
    found = shares.topk(min(best, shares.shape[-1]))
    lines = []
    for tokens, theirs in zip(found.indices.tolist(), found.values.tolist(), strict=True):
        words = [str(tokenizer.decode([token])).strip() for token in tokens]
        lines.append("  ".join(f"{word} {share:.1%}" for word, share in zip(words, theirs, strict=True)))
    return lines


if __name__ == "__main__":
    main()
