"""Is this the data you meant?  Counts, lengths, padding, balance, and ten examples in words, before training."""

from transformers import PreTrainedTokenizerFast

from corpus.store import Store
from pretrain.examples import ObjectiveEpoch, fixed_batches
from pretrain.objective import Objective

SAMPLE = 2048  # examples that lengths, padding and balance are read from


def data_report(
    train: Store, held_out: Store, epoch: ObjectiveEpoch, objective: Objective, tokenizer: PreTrainedTokenizerFast
) -> str:
    """Describe a corpus and the first examples of an epoch, as Markdown."""
    lines = ["# Data", "", "| | documents | sentences | tokens |", "|---|---|---|---|"]
    for name, store in (("training", train), ("held out", held_out)):
        sentences = len(store.sentences) - 1
        lines.append(f"| {name} | {len(store):,} | {sentences:,} | {len(store.ids):,} |")
    lines += ["", *epoch.units.report(), "", *_batch_lines(epoch), "", "## Ten examples", ""]
    ten = fixed_batches(epoch, 10, 1)
    lines += [line for batch in ten for line in objective.in_words(batch, tokenizer)]
    return "\n".join(lines) + "\n"


def _batch_lines(epoch: ObjectiveEpoch) -> list[str]:
    batches = fixed_batches(epoch, SAMPLE, 32)
    places = sum(batch.x["input_ids"].numel() for batch in batches)
    tokens = sum(batch.num_tokens for batch in batches)
    lengths = sorted(length for batch in batches for length in batch.x["attention_mask"].sum(1).tolist())
    tenths = ", ".join(str(lengths[int(share * (len(lengths) - 1))]) for share in (0, 0.05, 0.25, 0.5, 1))
    asked = {name: sum(batch.counts[name] for batch in batches) for name in batches[0].counts}
    return [
        f"Examples an epoch: {len(epoch.order):,}. Of the first {len(lengths):,}: padding {1 - tokens / places:.1%}; "
        f"lengths at 0, 5, 25, 50, 100 %: {tenths}; answers asked: "
        + ", ".join(f"{name} {count:,} ({count / tokens:.1%} of the tokens)" for name, count in asked.items())
        + "."
    ]
