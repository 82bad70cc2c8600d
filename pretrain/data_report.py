"""Is this the data you meant?  Counts, lengths, padding, balance, and ten examples in words, before training."""

from collections.abc import Sequence

from transformers import PreTrainedTokenizerFast

from corpus.text.doubles import doubles_report
from corpus.text.source import Source
from corpus.text.store import LETTERS, Store
from engine.train.batch import Batch
from pretrain.examples import ChapterExamples, fixed_batches
from pretrain.objective import Objective
from pretrain.vocabulary import Vocabulary

SAMPLE = 2048  # examples that lengths, padding and balance are read from
TOO_MANY_UNKNOWN = 0.005  # of the characters


def data_report(
    sources: Sequence[Source],
    stores: dict[str, Store],
    examples: ChapterExamples,
    objective: Objective,
    tokenizer: PreTrainedTokenizerFast,
) -> str:
    """Describe a corpus, its `stores` by name, and the first examples of a chapter, as Markdown.

    Errors: ValueError for a setting of the objective that can do nothing with this text.
    """
    batches = fixed_batches(examples, SAMPLE, 32)
    read = {"training": examples.units.store, **stores}  # of a stream, the first chapter
    lines = [
        "# Data",
        "",
        *(f"- {source}: {how_read(source)}" for source in sources),
        "",
        "| | documents | sentences | tokens |",
        "|---|---|---|---|",
    ]
    for name, store in stores.items():
        lines.append(f"| {name} | {len(store):,} | {store.num_sentences:,} | {store.num_tokens:,} |")
    lines += left_out(stores) + held_out_how(stores)
    lines += ["", *(line for name, store in read.items() for line in unknown_lines(name, store)), *doubles_report(read)]
    lines += ["", *examples.units.report(), *objective.remarks(batches, Vocabulary.of(tokenizer))]
    lines += ["", *_batch_lines(batches, len(examples.order)), "", "## Ten examples", ""]
    ten = fixed_batches(examples, 10, 1)
    lines += [line for batch in ten for line in objective.in_words(batch, tokenizer)]
    return "\n".join(lines) + "\n"


def how_read(source: Source) -> str:
    """What is a document, and what became of the whitespace."""
    kinds = {"file": "a file", "line": "a line", "blank_line": "what blank lines part"}
    of_kind = {"text": kinds[source.documents], "books": "a file less its title", "docstrings": "a module"}
    unit = of_kind.get(source.kind, "a row")
    if source.whitespace == "keep":
        return f"{unit} is a document, its text as it is, indentation, line breaks and blank lines included"
    sentences = "each line is a sentence" if source.sentences == "line" else "sentences are looked for"
    return (
        f"{unit} is a document, {sentences}; indentation and blank lines are left out, and so are line breaks but for "
        "those between paragraphs (`whitespace: keep` keeps all)"
    )


def left_out(stores: dict[str, Store]) -> list[str]:
    """What did not become text, of all stores: a prepared corpus counts it once."""
    skipped = next(iter(stores.values())).manifest.get("skipped", {})
    counted = ", ".join(f"{count:,} {reason}" for reason, count in sorted(skipped.items()))
    return ["", f"Left out: {counted}."] if counted else []


def held_out_how(stores: dict[str, Store]) -> list[str]:
    """A word where the text held out is not the share of documents that was asked for."""
    divided = stores["held out"].manifest.get("division", {})
    if divided.get("ends"):
        return ["", "There are too few documents to hold any out: the end of each is held out instead."]
    return []


def unknown_lines(name: str, store: Store) -> list[str]:
    """How much of the text the tokenizer does not know; a warning that says what mends it where that is much."""
    tokens, letters, lost = (store.manifest["counts"][key] for key in LETTERS)
    share = lost / max(1, letters)
    lines = [
        f"- {name}: unknown to the tokenizer are {tokens:,} tokens ({tokens / max(1, store.num_tokens):.2%}), that is, "
        f"{lost:,} of {letters:,} characters ({share:.2%})"
    ]
    if share > TOO_MANY_UNKNOWN:
        lines.append(
            "- **Warning: what is unknown is neither read nor learnt.** In the tokenizer's recipe, raise "
            "vocabulary.alphabet (its report says to what), and learn it from this text; or, for causal_lm, say "
            "vocabulary.name: byte-bpe, which knows any text. WordPiece also knows no word of over 100 characters, "
            "which matters where no blanks part words"
        )
    return lines


def _batch_lines(batches: list[Batch], number: int) -> list[str]:
    places = sum(batch.num_places for batch in batches)
    tokens = sum(batch.num_tokens for batch in batches)
    lengths = sorted(length for batch in batches for length in batch.lengths)
    tenths = ", ".join(str(lengths[int(share * (len(lengths) - 1))]) for share in (0, 0.05, 0.25, 0.5, 1))
    asked = {name: sum(batch.counts[name] for batch in batches) for name in batches[0].counts}
    return [
        f"Examples of the first chapter: {number:,}. Of the first {len(lengths):,}: "
        f"padding {1 - tokens / places:.1%}; "
        f"lengths at 0, 5, 25, 50, 100 %: {tenths}; answers asked: "
        + ", ".join(f"{name} {count:,} ({count / tokens:.1%} of the tokens)" for name, count in asked.items())
        + "."
    ]
