"""What is there to say of a text?  Sources, licences, sizes; what was left out, what is unknown, what stands twice."""

from collections.abc import Mapping, Sequence

from corpus.text.chapters import Chapter
from corpus.text.doubles import doubles_report
from corpus.text.source import Source
from corpus.text.store import LETTERS, Store

TOO_MANY_UNKNOWN = 0.005  # of the characters
LICENCES = {
    "wikipedia": "Wikipedia's text is CC BY-SA",
    "docstrings": "each package's own",
}
UNSAID = {"hub": "as its publisher says: see there before you use the model"}


def report(sources: Sequence[Source], stores: Mapping[str, Store], license: str) -> list[str]:
    """Markdown lines for the model card and the data report: the sources with their licences, and their sizes.

    `license` is what the recipe says of one's own text.
    """
    lines = [f"- {source}: {how_read(source)}; licence: {licence_of(source, license)}" for source in sources]
    lines += ["", "| | documents | sentences | tokens |", "|---|---:|---:|---:|"]
    lines += [
        f"| {name} | {len(store):,} | {store.num_sentences:,} | {store.num_tokens:,} |"
        for name, store in stores.items()
    ]
    return lines


def remarks(stores: dict[str, Store], chapter: Chapter) -> list[str]:
    """Markdown lines for the data report alone. Of a stream, `chapter` is its first."""
    read = {"training": chapter.store, **stores}
    lines = left_out(stores) + held_out_how(stores)
    return [
        *lines,
        "",
        *(line for name, store in read.items() for line in unknown_lines(name, store)),
        *doubles_report(read),
    ]


def licence_of(source: Source, license: str) -> str:
    """What is known of the kind, or else what the recipe says; nothing is guessed."""
    return LICENCES.get(source.kind) or license or UNSAID.get(source.kind, "not stated")


def hub_ids(sources: Sequence[Source]) -> tuple[str, ...]:
    return tuple(source.path for source in sources if source.kind == "hub")


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
            "vocabulary.limit_alphabet (its report says to what), and learn it from this text; or, for causal_lm, say "
            "vocabulary.name: byte-bpe, which knows any text. WordPiece also knows no word of over 100 characters, "
            "which matters where no blanks part words. A vocabulary of whole words, for word vectors, is meant to "
            "leave out what is rarer than its vocabulary.min_frequency"
        )
    return lines
