"""How good is it, beside what was published?  Prints the GLUE table with our rows under the paper's.

    python -m finetune.table RUNS... [--format markdown|html|json] [--no-published]

RUNS are run folders of finetune.run, or results.jsonl files.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from engine.runtime import program
from finetune.comparison import tables
from finetune.layout import FORMATS
from finetune.results import read_all


@dataclass(frozen=True)
class Options:
    """Print the GLUE table of some fine-tuning runs."""

    runs: tyro.conf.Positional[tuple[Path, ...]]  # run folders or results.jsonl files
    format: Literal["markdown", "html", "json"] = "markdown"
    published: bool = True  # the paper's rows above ours


@program
def main(argv: list[str]) -> None:
    """Print the tables of the runs that `argv` names."""
    options = tyro.cli(Options, args=argv, prog="python -m finetune.table")
    if not options.runs:
        raise ValueError("name at least one run, such as runs/glue: a folder that finetune.run left")
    print(FORMATS[options.format](tables(read_all(options.runs), options.published)))


if __name__ == "__main__":
    main()
