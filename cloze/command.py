"""One command for every program: `cloze NAME ...`.

    cloze --help
    cloze pretrain recipes/pretrain/demo.yaml

A program is imported when it is called, so `cloze --help` waits for no torch. `python -m` with the module's name starts
the same program from a checkout, and `accelerate launch -m` several processes of it.
"""

import difflib
import importlib
import importlib.metadata
import importlib.util
import platform
import sys
from dataclasses import dataclass

from cloze import __version__
from engine.run.starting import begin

USER_MISTAKE = 2  # as in engine.run.processes, which imports torch
LIBRARIES = ("torch", "transformers", "accelerate", "datasets")


@dataclass(frozen=True)
class Command:
    """A program, by a short name."""

    name: str
    module: str  # which has a `main`
    does: str

    @property
    def exists(self) -> bool:
        try:
            return importlib.util.find_spec(self.module) is not None
        except ModuleNotFoundError:  # not even its folder is there
            return False


COMMANDS = (
    Command("tokenizer", "tokenizer.train", "learn a vocabulary: RECIPE"),
    Command("prepare", "pretrain.prepare", "tokenize a large corpus before training: RECIPE"),
    Command("plan", "pretrain.plan", "memory, hours and disk that a run will need: RECIPE"),
    Command("pretrain", "pretrain.run", "pretrain a model: RECIPE"),
    Command("finetune", "finetune.run", "fine-tune and evaluate a model on tasks: RECIPE --model M --task T"),
    Command("table", "finetune.table.__main__", "the GLUE table of fine-tuning runs, beside the published rows: RUNS"),
    Command("submit", "finetune.submit", "write the zip that the GLUE server takes: RUNS"),
    Command("predict", "finetune.predict", "answer the rows of a file by a fine-tuned model: MODEL FILE"),
    Command("generate", "probe.generate", "continue a text, or fill a mask: MODEL"),
    Command("evaluate", "probe.evaluate", "perplexity of a model on a corpus: MODEL"),
    Command("few-shot", "probe.few_shot.__main__", "tasks by prompts with examples, nothing trained: MODEL --task T"),
    Command("playground", "finetune.playground", "a page to play with models: MODEL..."),
    Command("report", "engine.report", "write the page of a run: RUN..."),
    Command("dashboard", "engine.dashboard", "the curves of all runs, while they train"),
    Command("convert", "engine.convert", "write a model in another precision, or as ONNX: MODEL --to FORM"),
    Command("push", "engine.push", "put a model on the Hub: RUN USER/NAME"),
    Command("recipes", "cloze.recipes", "list the recipes that come along"),
)

EXAMPLES = """\
  cloze recipes
  cloze tokenizer recipes/tokenizer/demo.yaml
  cloze pretrain recipes/pretrain/demo.yaml --name try/bert --plan.max_steps 1000
  cloze finetune recipes/finetune/demo.yaml --name try/pair --model runs/try/bert --task docs/pair
  cloze table runs/try/pair
  cloze playground runs/try/bert runs/try/pair/docs-pair/seed-0"""


def main() -> None:
    """Carry out `sys.argv`, as the command `cloze` and `python -m cloze` do."""
    begin()
    name, *rest = sys.argv[1:] or [""]
    found = {command.name: command for command in COMMANDS if command.exists}
    if name in ("-h", "--help", ""):
        print(usage(list(found.values())))
        sys.exit(0 if name else USER_MISTAKE)
    if name == "--version":
        print(versions())
    elif name in found:
        sys.argv = [f"cloze {name}", *rest]  # what the program calls itself
        importlib.import_module(found[name].module).main()
    else:
        near = difflib.get_close_matches(name, found, n=1)
        hint = f"; perhaps you meant cloze {near[0]}" if near else ""
        print(f"error: cloze has no command {name!r}{hint}; for all commands say cloze --help", file=sys.stderr)
        sys.exit(USER_MISTAKE)


def usage(commands: list[Command]) -> str:
    """What `cloze --help` says."""
    width = max(len(command.name) for command in commands)
    listed = "\n".join(f"  {command.name:{width}}  {command.does}" for command in commands)
    return (
        "usage: cloze COMMAND ...\n\nPretrain BERT and GPT models, fine-tune them, and see where they stand.\n\n"
        f"commands:\n{listed}\n\nexample:\n{EXAMPLES}\n\n"
        "cloze COMMAND --help shows its options; of one that takes a RECIPE, every key of a recipe, with its\n"
        "default and its meaning. cloze --version shows the versions of Cloze and of its libraries.\n"
        "Several GPUs or processes: accelerate launch --multi_gpu --num_processes N -m cloze COMMAND ..."
    )


def versions() -> str:
    """Versions in one line, as a report of a fault needs them; those of libraries are read off their metadata."""
    found = [f"cloze {__version__}", f"Python {platform.python_version()}"]
    for name in LIBRARIES:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            found.append(f"{name} is not installed")
    return ", ".join(found)
