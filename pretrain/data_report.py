"""Is this the data you meant?  Counts, lengths, padding, balance, and ten examples in words, before training."""

from collections.abc import Sequence

from transformers import PreTrainedTokenizerFast

from corpus.store import Store
from corpus.text import Source
from pretrain.examples import ChapterExamples, fixed_batches
from pretrain.objective import Objective

SAMPLE = 2048  # examples that lengths, padding and balance are read from


def data_report(
    sources: Sequence[Source],
    stores: dict[str, Store],
    examples: ChapterExamples,
    objective: Objective,
    tokenizer: PreTrainedTokenizerFast,
) -> str:
    """Describe a corpus, its `stores` by name, and the first examples of a chapter, as Markdown."""
    lines = [
        "# Data",
        "",
        *(f"- {source}" for source in sources),
        "",
        "| | documents | sentences | tokens |",
        "|---|---|---|---|",
    ]
    for name, store in stores.items():
        lines.append(f"| {name} | {len(store):,} | {store.num_sentences:,} | {store.num_tokens:,} |")
    lines += ["", *examples.units.report(), "", *_batch_lines(examples), "", "## Ten examples", ""]
    ten = fixed_batches(examples, 10, 1)
    lines += [line for batch in ten for line in objective.in_words(batch, tokenizer)]
    return "\n".join(lines) + "\n"


def _batch_lines(examples: ChapterExamples) -> list[str]:
    batches = fixed_batches(examples, SAMPLE, 32)
    places = sum(batch.num_places for batch in batches)
    tokens = sum(batch.num_tokens for batch in batches)
    lengths = sorted(length for batch in batches for length in batch.lengths)
    tenths = ", ".join(str(lengths[int(share * (len(lengths) - 1))]) for share in (0, 0.05, 0.25, 0.5, 1))
    asked = {name: sum(batch.counts[name] for batch in batches) for name in batches[0].counts}
    return [
        f"Examples of the first chapter: {len(examples.order):,}. Of the first {len(lengths):,}: "
        f"padding {1 - tokens / places:.1%}; "
        f"lengths at 0, 5, 25, 50, 100 %: {tenths}; answers asked: "
        + ", ".join(f"{name} {count:,} ({count / tokens:.1%} of the tokens)" for name, count in asked.items())
        + "."
    ]
