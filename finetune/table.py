"""How good is it, beside what was published?  Prints the GLUE table with our rows under the paper's.

    python -m finetune.table RUNS... [--format markdown|html|json]
    python -m finetune.table --published [--format markdown|html|json]

RUNS are run folders of finetune.run, or results.jsonl files. With --published the paper's rows stand alone.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from engine.runtime import program
from finetune.comparison import glue_table, tables
from finetune.layout import FORMATS
from finetune.results import read_all


@dataclass(frozen=True)
class Options:
    """Print the GLUE table of some fine-tuning runs."""

    runs: tyro.conf.Positional[tuple[Path, ...]]  # run folders or results.jsonl files
    format: Literal["markdown", "html", "json"] = "markdown"
    published: bool = False  # print the paper's rows alone


@program
def main(argv: list[str]) -> None:
    """Print the tables of the runs that `argv` names."""
    options = tyro.cli(Options, args=argv, prog="python -m finetune.table")
    if options.published == bool(options.runs):
        raise ValueError(
            "name the runs to print, such as runs/glue: folders that finetune.run left; or say --published, without "
            "runs, for the paper's rows alone"
        )
    found = [glue_table([])] if options.published else tables(read_all(options.runs))
    print(FORMATS[options.format](found))


if __name__ == "__main__":
    main()
