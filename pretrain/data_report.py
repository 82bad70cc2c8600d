"""Is this the data you meant?  Counts, sizes, padding, balance, and ten examples, before training."""

from pathlib import Path
from typing import Any

from corpus.medium import Medium, OpenCorpus
from engine.publish.exhibits import write_exhibits
from engine.train.batch import Batch
from pretrain.examples import ChapterExamples, check_answers, fixed_batches
from pretrain.objective import Objective

SAMPLE = 2048  # examples that sizes, padding and balance are read from


def write_data_report(
    folder: Path, corpus: OpenCorpus, examples: ChapterExamples, objective: Objective[Any], medium: Medium
) -> str:
    """Write FOLDER/data_report.md, with its pictures if there are any; return its text.

    Errors: ValueError for material that asks nothing, and for a setting of the objective that can do nothing with it.
    """
    batches = fixed_batches(examples, SAMPLE, 32)
    check_answers(batches, objective, "the examples to train on ask nothing, so nothing could be learnt")
    lines = ["# Data", "", *corpus.report]
    lines += write_exhibits(corpus.remarks(examples.chapter), folder, "data_report-material")
    lines += ["", *examples.units.report(), *objective.remarks(batches, medium)]
    lines += ["", *_batch_lines(batches, len(examples.order), medium.unit), "", "## Ten examples", ""]
    lines += [objective.legend, ""] if objective.legend else []
    exhibits = [shown for batch in fixed_batches(examples, 10, 1) for shown in objective.show(batch, medium)]
    text = "\n".join([*lines, *write_exhibits(exhibits, folder, "data_report")]) + "\n"
    (folder / "data_report.md").write_text(text, encoding="utf-8")
    return text


def _batch_lines(batches: list[Batch], number: int, unit: str) -> list[str]:
    units, room = sum(batch.num_units for batch in batches), sum(batch.room for batch in batches)
    sizes = sorted(size for batch in batches for size in batch.sizes)
    tenths = ", ".join(str(sizes[int(share * (len(sizes) - 1))]) for share in (0, 0.05, 0.25, 0.5, 1))
    asked = {name: sum(batch.counts[name] for batch in batches) for name in batches[0].counts}
    return [
        f"Examples of the first chapter: {number:,}. Of the first {len(sizes):,}: "
        f"padding {1 - units / room:.1%}; "
        f"{unit} at 0, 5, 25, 50, 100 %: {tenths}; answers asked: "
        + ", ".join(f"{name} {count:,} ({count / units:.1%} of the {unit})" for name, count in asked.items())
        + "."
    ]
