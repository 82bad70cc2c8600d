"""How good is it, beside what was published?  Prints the GLUE table with our rows under the paper's.

    cloze table RUNS... [--format markdown|html|json]
    cloze table --published [--format markdown|html|json]

RUNS are run folders of finetune.run, or results.jsonl files. Of several runs, what is not finished or cannot be read is
named under the table, which is made of the others. With --published the paper's rows stand alone.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from engine.run.options import read_options
from engine.run.runtime import program
from finetune.table.pages import FORMATS
from finetune.table.results import read_what_is_there
from finetune.table.standings import make_glue_table, make_tables


@dataclass(frozen=True)
class Options:
    """Print one table of the scores of fine-tuning runs, for GLUE beside the published rows.

    Example: cloze table runs/try/pair --format html
    """

    # folders of fine-tuning runs (cloze finetune), or their results.jsonl files
    runs: Annotated[tuple[Path, ...], Positional, arg(metavar="RUN...", help_behavior_hint="(one or several)")]
    format: Literal["markdown", "html", "json"] = "markdown"  # how the table is printed
    published: bool = False  # print the published rows alone, and name no runs


@program
def main(argv: list[str]) -> None:
    """Print the tables of the runs that `argv` names."""
    options = read_options(Options, argv, "python -m finetune.table")
    if options.published == bool(options.runs):
        raise ValueError(
            "name the runs to print, such as runs/glue: folders that finetune.run left; or say --published, without "
            "runs, for the paper's rows alone"
        )
    if options.published:
        found = [make_glue_table([])]
    else:
        results, left_out = read_what_is_there(options.runs)
        for what in left_out:
            print(f"not in the table: {what}", file=sys.stderr)
        found = make_tables(results, left_out)
    print(FORMATS[options.format](found))


if __name__ == "__main__":
    main()
