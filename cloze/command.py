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
    takes: str  # its arguments
    does: str

    @property
    def exists(self) -> bool:
        try:
            return importlib.util.find_spec(self.module) is not None
        except ModuleNotFoundError:  # not even its folder is there
            return False


COMMANDS = (
    Command("recipes", "cloze.recipes", "", "list the recipes that come along"),
    Command("tokenizer", "tokenizer.train", "RECIPE", "learn a vocabulary from text"),
    Command("plan", "pretrain.plan", "RECIPE", "say what a run will need: memory, hours, disk"),
    Command("prepare", "pretrain.prepare", "RECIPE", "tokenize a large corpus before the run, on many cores"),
    Command("pretrain", "pretrain.run", "RECIPE", "train a language model on text, or resume the run"),
    Command("generate", "probe.generate", "MODEL", "continue a text, or fill its gaps"),
    Command("evaluate", "probe.evaluate", "MODEL...", "perplexity of language models on a text"),
    Command("finetune", "finetune.run", "RECIPE", "fine-tune a model on labelled rows, and score it"),
    Command("probe", "probe.run", "RECIPE", "what a model knows, by probes"),
    Command("few-shot", "probe.few_shot.__main__", "MODEL...", "tasks by prompts with examples, nothing trained"),
    Command("compare", "compare.run", "RECIPE", "pretrain several systems alike, and compare their scores"),
    Command("table", "finetune.table.__main__", "RUN...", "the scores of fine-tuning runs, beside published ones"),
    Command("submit", "finetune.submit", "RUN...", "write the zip that the GLUE server takes"),
    Command("predict", "finetune.predict", "MODEL FILE", "let a fine-tuned model answer the rows of a file"),
    Command("playground", "finetune.playground", "MODEL...", "open a page to play with models"),
    Command("report", "engine.report", "RUN...", "write the page of a run again"),
    Command("dashboard", "engine.dashboard", "[FOLDER]", "show the curves of all runs, while they train"),
    Command("convert", "engine.convert", "MODEL", "write a model in another precision, or as ONNX"),
    Command("push", "engine.push", "RUN USER/NAME", "put a model on the Hub"),
)

EXAMPLES = """\
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
    calls = {f"{command.name} {command.takes}": command.does for command in commands}
    width = max(map(len, calls))
    listed = "\n".join(f"  {call:{width}}  {does}" for call, does in calls.items())
    return (
        "usage: cloze COMMAND ...\n\nTrain BERT and GPT models on text, fine-tune them, and compare their scores.\n\n"
        f"commands:\n{listed}\n\n"
        "RECIPE is a YAML file with a whole experiment: one of yours, or one that cloze recipes lists. Its\n"
        "keys are options: --plan.max_steps 1000. RUN is the folder that training leaves, runs/NAME. MODEL is\n"
        f"a run, a folder that transformers opens, or a Hub id.\n\nexample:\n{EXAMPLES}\n\n"
        "cloze COMMAND --help shows its options; for pretrain, finetune and tokenizer those are the keys of a\n"
        "recipe, with default and meaning. cloze --version shows the versions of Cloze and of its libraries.\n"
        "Several GPUs: accelerate launch --multi_gpu --num_processes N -m cloze COMMAND ..."
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
