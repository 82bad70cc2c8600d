"""Do two commits compute the same?  The proof of a change that must change nothing: equal losses and equal weights.

    python -m benchmarks.equal_losses BEFORE [AFTER]      commits; without AFTER, the working tree

Each case trains a small model through the programs themselves, in a checkout of either commit, on the same made-up
text or rows and with the same tokenizer. Equal means: every loss in metrics.jsonl is the same number, and the weights
that are exported are the same bits. The table is Markdown on standard output; the status is not 0 if a case differs.
"""

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tyro
import yaml
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from engine.run.options import read_options
from engine.run.runtime import program
from engine.train.window import PACE

REPOSITORY = Path(__file__).resolve().parents[1]
SHARDS = {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2"}
SPECIAL = ("[PAD]", "[CLS]", "[SEP]", "[MASK]", "[UNK]", "<|endoftext|>")
WORDS = [a + b + c for a in "bdfgk" for b in "aeiou" for c in ("", "l", "n", "st")]
WEIGHTS = [1 / (1 + rank) for rank in range(len(WORDS))]
ENCODER: dict[str, Any] = {"num_hidden_layers": 2, "hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 64}
DECODER = {"model_type": "gpt2", "n_layer": 2, "n_embd": 32, "n_head": 2, "n_positions": 32}
MASKED_LM = {"objective": {"name": "bert", "max_seq_length": 32, "next_sentence": False}}
CAUSAL_LM = {"objective": {"name": "causal_lm", "block_size": 32}, "model": DECODER}


@dataclass(frozen=True)
class Case:
    """One training: what its recipe changes, or the task that is fine-tuned."""

    name: str
    changes: dict[str, Any] = field(default_factory=dict)
    task: str = ""
    processes: int = 1
    environment: dict[str, str] = field(default_factory=dict)
    is_stopped: bool = False


CASES = (
    Case("BERT, sentence pairs"),
    Case("BERT, sentence pairs, 2 processes", processes=2),
    Case("BERT, masked LM alone", MASKED_LM),
    Case("BERT, masked LM alone, 2 processes", MASKED_LM, processes=2),
    Case("GPT-2", CAUSAL_LM),
    Case("GPT-2, 2 processes", CAUSAL_LM, processes=2),
    Case("BERT, stopped and resumed", is_stopped=True),
    Case("GPT-2, stopped and resumed, 2 processes", CAUSAL_LM, processes=2, is_stopped=True),
    Case("BERT, FSDP2, 2 processes", processes=2, environment=SHARDS),
    *(Case(f"fine-tuning, {task}", task=task) for task in ("classification", "regression", "choice", "tags", "squad")),
)


@dataclass(frozen=True)
class Options:
    """Compare the losses and weights of two commits."""

    before: tyro.conf.Positional[str]  # a commit
    after: tyro.conf.Positional[str] = ""  # a commit; the working tree, if none is named
    only: str = ""  # cases whose name holds this


@program
def main(argv: list[str]) -> None:
    options = read_options(Options, argv, "python -m benchmarks.equal_losses")
    cases = [case for case in CASES if options.only in case.name]
    with tempfile.TemporaryDirectory() as home:
        folder = Path(home)
        write_inputs(folder)
        with checkout(options.before, folder) as before, checkout(options.after, folder) as after:
            print(f"| case | losses | {name_of(options.before)} | {name_of(options.after)} | |\n|---|---:|---|---|---|")
            differing = sum([not compare(case, folder, before, after) for case in cases])
    if differing:
        raise ValueError(f"{differing} of {len(cases)} cases differ")


@contextmanager
def checkout(commit: str, folder: Path) -> Iterator[Path]:
    """The commit's files in a folder of their own, for as long as the block lasts."""
    if not commit:
        yield REPOSITORY
        return
    place = folder / f"checkout-{commit[:12]}-{time.monotonic_ns()}"
    git("worktree", "add", "--detach", str(place), commit)
    try:
        yield place
    finally:
        git("worktree", "remove", "--force", str(place))


def git(*arguments: str) -> str:
    return subprocess.run(
        ["git", *arguments], cwd=REPOSITORY, check=True, capture_output=True, text=True
    ).stdout.strip()


def name_of(commit: str) -> str:
    return git("rev-parse", "--short", commit) if commit else "working tree"


def compare(case: Case, folder: Path, before: Path, after: Path) -> bool:
    """Train the case in both checkouts and print its row."""
    there, here = result_of(case, folder, before), result_of(case, folder, after)
    verdict = "equal" if there == here else f"differs: {first_difference(there, here)}"
    print(f"| {case.name} | {len(there.losses)} | {there.weights} | {here.weights} | {verdict} |", flush=True)
    return there == here


@dataclass(frozen=True)
class Result:
    """What a training came to: every loss and score by step, and a hash of the exported tensors."""

    losses: list[tuple[int, str, float]]
    weights: str


def first_difference(there: Result, here: Result) -> str:
    for one, other in zip(there.losses, here.losses, strict=False):
        if one != other:
            return f"{one} and {other}"
    return "the number of losses" if len(there.losses) != len(here.losses) else "the weights"


def result_of(case: Case, folder: Path, repository: Path) -> Result:
    run = folder / f"run-{time.monotonic_ns()}"
    run.mkdir()
    recipe = finetuning(case, folder) if case.task else pretraining(case, folder)
    if not (repository / "engine" / "run" / "key_names.py").exists():
        recipe = in_former_words(recipe)
    (run / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    module = "finetune.run" if case.task else "pretrain.run"
    if case.is_stopped:
        train(case, run, repository, module, stop=True)
    train(case, run, repository, module)
    job = next(run.rglob("metrics.jsonl")).parent
    lines = [json.loads(line) for line in (job / "metrics.jsonl").read_text().splitlines()]
    lines = [{"learning_rate" if name == "lr" else name: value for name, value in line.items()} for line in lines]
    values = [(line["step"], name, value) for line in lines for name, value in line.items() if not name.endswith(PACE)]
    weights = hashlib.sha256((job / "model" / "model.safetensors").read_bytes()).hexdigest()[:12]
    return Result(values, weights)


def train(case: Case, run: Path, repository: Path, module: str, stop: bool = False) -> None:
    """Run the program to its end, or stop it once it has saved a state. Errors: RuntimeError with what it said."""
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(case.processes)]
    command = [sys.executable, *(launcher if case.processes > 1 else []), "-m", module, "recipe.yaml"]
    environment = {
        **os.environ, "PYTHONPATH": str(repository), "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true",
        "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", **case.environment,
    }  # fmt: skip
    log = run / "log.txt"
    with log.open("a") as output:
        child = subprocess.Popen(command, cwd=run, env=environment, stdout=output, stderr=subprocess.STDOUT)
        while stop and child.poll() is None:
            if list(run.rglob("manifest.json")):
                child.send_signal(signal.SIGTERM)
                break
            time.sleep(0.01)
        status = child.wait()
    if bool(status) != stop:
        raise RuntimeError(f"{' '.join(command)} ended with status {status}:\n{log.read_text()[-2000:]}")
    if case.processes > 1 and f"{case.processes} process" not in log.read_text():
        raise RuntimeError(f"{case.name} ran on one process:\n{log.read_text()[-2000:]}")


# What is trained on


def write_inputs(folder: Path) -> None:
    """A text of 60 documents, rows for each kind of question, a tokenizer, and an encoder to fine-tune."""
    chance = random.Random(0)
    (folder / "text").mkdir()
    for number in range(60):
        (folder / "text" / f"{number:02}.txt").write_text(" ".join(sentence(chance) for _ in range(20)))
    tokenizer = word_tokenizer()
    tokenizer.save_pretrained(folder / "tokenizer")
    write_encoder(folder / "encoder", tokenizer)
    for split, size in (("train", 64), ("dev", 16)):
        for task, row in ROWS.items():
            rows = [row(chance, number) for number in range(size)]
            (folder / f"{task}-{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        (folder / f"squad-{split}.json").write_text(json.dumps(squad(chance, size)))


def sentence(chance: random.Random) -> str:
    return " ".join(chance.choices(WORDS, WEIGHTS, k=chance.randint(4, 12))) + "."


def word_tokenizer() -> PreTrainedTokenizerFast:
    """Whole words and the full stop, with the special tokens of BERT and of GPT."""
    entries = {token: number for number, token in enumerate((*SPECIAL, ".", *WORDS))}
    backend = Tokenizer(models.WordPiece(entries, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece()
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    pad, cls, sep, mask, unk, eos = SPECIAL
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token=pad, cls_token=cls, sep_token=sep, mask_token=mask, unk_token=unk,
        eos_token=eos, model_max_length=64,
    )  # fmt: skip


def write_encoder(folder: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    import torch
    from transformers import BertConfig, BertForPreTraining

    torch.manual_seed(0)
    config = BertConfig(vocab_size=len(tokenizer), max_position_embeddings=64, **ENCODER)
    BertForPreTraining(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def classified(chance: random.Random, number: int) -> dict[str, Any]:
    return {"text": sentence(chance), "label": "abc"[number % 3]}


def scored(chance: random.Random, number: int) -> dict[str, Any]:
    return {"text": sentence(chance), "label": chance.random()}


def chosen(chance: random.Random, number: int) -> dict[str, Any]:
    return {"text": sentence(chance), "choices": [sentence(chance) for _ in range(3)], "label": number % 3}


def tagged(chance: random.Random, number: int) -> dict[str, Any]:
    words = sentence(chance).split()
    return {"words": words, "tags": [chance.choice("XYZ") for _ in words]}


def squad(chance: random.Random, size: int) -> dict[str, Any]:
    paragraphs = []
    for number in range(size):
        words = sentence(chance).split()
        place = chance.randrange(len(words) - 1)
        answer = {"text": words[place], "answer_start": len(" ".join([*words[:place], ""]))}
        question = {"id": f"{size}-{number}", "question": sentence(chance), "answers": [answer]}
        paragraphs.append({"context": " ".join(words), "qas": [question]})
    return {"version": "1.1", "data": [{"title": "made up", "paragraphs": paragraphs}]}


ROWS = {"classification": classified, "regression": scored, "choice": chosen, "tags": tagged}
COLUMNS: dict[str, dict[str, Any]] = {
    "classification": {"text": "text", "label": "label"},
    "regression": {"text": "text", "label": "label"},
    "choice": {"text": "text", "choices": "choices", "label": "label"},
    "tags": {"words": "words", "tags": "tags"},
}


# Recipes


def pretraining(case: Case, folder: Path) -> dict[str, Any]:
    recipe: dict[str, Any] = {
        "name": "equal",
        "corpus": {"sources": [{"kind": "text", "path": str(folder / "text")}], "held_out": 0.1,
                   "stores": str(folder / f"stores-{time.monotonic_ns()}")},
        "tokenizer": str(folder / "tokenizer"),
        "model": {**ENCODER, "max_position_embeddings": 32},
        "objective": {"name": "bert", "max_seq_length": 32},
        "optimizer": {"learning_rate": 1e-3},
        "schedule": {"warmup_ratio": 0.1},
        "plan": {"max_steps": 24, "global_batch_size": 16, "per_device_train_batch_size": 4, "logging_steps": 2,
                 "eval_steps": 8, "save_steps": 4},
        "max_eval_samples": 24,
    }  # fmt: skip
    return recipe | case.changes


def finetuning(case: Case, folder: Path) -> dict[str, Any]:
    ending = "json" if case.task == "squad" else "jsonl"
    files = {split: f"{case.task}-{split}.{ending}" for split in ("train", "dev")}
    columns = {"columns": COLUMNS[case.task]} if case.task in COLUMNS else {}
    return {
        "name": "equal", "model": str(folder / "encoder"),
        "task": ["squad/v1.1" if case.task == "squad" else f"own/{case.task}"],
        "data": {"source": "folder", "path": str(folder), "files": files, **columns},
        "max_seq_length": 48, "optimizer": {"learning_rate": 1e-3}, "schedule": {"warmup_ratio": 0.1},
        "plan": {"num_train_epochs": 2, "global_batch_size": 16, "per_device_train_batch_size": 8, "logging_steps": 1},
    }  # fmt: skip


FORMER = {  # how a commit called a key that knew no names of transformers
    "optimizer.learning_rate": "optimizer.lr", "schedule.warmup_ratio": "schedule.warmup_rate",
    "objective.max_seq_length": "length", "objective.block_size": "length", "max_seq_length": "max_length",
    "max_eval_samples": "evaluation_examples", "plan.max_steps": "plan.steps", "plan.num_train_epochs": "plan.epochs",
    "plan.global_batch_size": "plan.global_batch", "plan.per_device_train_batch_size": "plan.device_batch",
    "plan.logging_steps": "plan.log_every", "plan.eval_steps": "plan.evaluate_every",
    "plan.save_steps": "plan.save_every",
}  # fmt: skip


def in_former_words(recipe: dict[str, Any]) -> dict[str, Any]:
    """The recipe as such a commit reads it."""
    former: dict[str, Any] = {}
    for section, values in recipe.items():
        parts = values if isinstance(values, dict) else {"": values}
        for name, value in parts.items():
            key = f"{section}.{name}".rstrip(".")
            *outer, leaf = FORMER.get(key, key).split(".", 1)
            (former.setdefault(outer[0], {}) if outer else former)[leaf] = value
    return former


if __name__ == "__main__":
    main()
