"""What is CoNLL-2003, and how are its sentences read and checked?

Tjong Kim Sang & De Meulder 2003, "Introduction to the CoNLL-2003 Shared Task: Language-Independent Named Entity
Recognition". A line is a word with its part of speech, chunk and entity tag; an empty line ends a sentence. The files
are IOB1 (an entity begins with B- only right after another of its type); here every entity begins with B- (IOB2).
"""

from pathlib import Path
from typing import Any

from datasets import ClassLabel, Dataset, Features, List, Value

from finetune.questions.tags import Tags, to_iob2
from finetune.tasks.rows import describe_file, find_files, load_hub_rows, make_table, read_text, unknown_source
from finetune.tasks.task import DataSource, HubData, Rows, Task
from finetune.tasks.word_lines import read_sentences

NAME = "conll2003"
TAGS = ("O", "B-PER", "I-PER", "B-ORG", "I-ORG", "B-LOC", "I-LOC", "B-MISC", "I-MISC")  # the Hub's order
FILES = {"train": "eng.train", "dev": "eng.testa", "test": "eng.testb"}
# Its main branch is a loading script, which `datasets` no longer runs; this is the Hub's own conversion of it.
HUB = HubData("eriktks/conll2003", revision="refs/convert/parquet")
HUB_SPLITS = {"train": "train", "dev": "validation", "test": "test"}
NUM_COLUMNS = 4
CONTEXT = 512  # words on each side of a sentence that may be read with it
FEATURES = Features(
    {"id": Value("string"), "words": List(Value("string")), "label": List(ClassLabel(names=list(TAGS)))}
)


def load(source: DataSource) -> Rows:
    """Split name → rows with "id", "words" and "label", a tag a word. The test split has its tags too.

    Raises FileNotFoundError for a missing file, and ValueError, naming file and line, for a line without four columns
    or with an unknown tag.
    """
    rows = load_sentences(source)
    return {split: add_documents(part) for split, part in rows.items()} if source.context == "document" else rows


def load_sentences(source: DataSource) -> Rows:
    """The sentences, each with the number of its document."""
    if source.source == "hub":
        if source.context == "document":
            raise ValueError(f"{NAME}: the Hub's copy does not say where documents begin: data.context: sentence")
        return {split: convert_hub(part) for split, part in load_hub_rows(NAME, source, HUB, HUB_SPLITS).items()}
    if source.source == "folder":
        paths = find_files(NAME, source, FILES, {"train", "dev"})
        return {split: read_file(path, describe_file(source, path)) for split, path in paths.items()}
    raise unknown_source(NAME, source)


def add_documents(rows: Dataset) -> Dataset:
    """The rows with the words before and after them in their document: Devlin et al. 2019, section 5.3, "the maximal
    document context provided by the data"; more than CONTEXT words fill no model's input."""
    documents, words = rows["document"][:], rows["words"][:]
    begins: dict[int, int] = {}
    ends: dict[int, int] = {}
    for place, document in enumerate(documents):
        begins.setdefault(document, place)
        ends[document] = place + 1
    left, right = [], []
    for place, document in enumerate(documents):
        before = [word for sentence in words[begins[document] : place] for word in sentence]
        after = [word for sentence in words[place + 1 : ends[document]] for word in sentence]
        left.append(before[-CONTEXT:])
        right.append(after[:CONTEXT])
    columns: dict[str, list[Any]] = {name: rows[name][:] for name in ("id", "words", "label")}
    columns |= {"left": left, "right": right}
    sides = {name: List(Value("string")) for name in ("left", "right")}
    return make_table(columns, Features(FEATURES | sides), f"{rows.info.description}, read with their documents")


def read_file(path: Path, description: str) -> Dataset:
    codes = {tag: code for code, tag in enumerate(TAGS)}
    words, labels, documents = [], [], []
    read = read_sentences(read_text(path))
    for sentence in read.found:
        pairs = [read_word(fields, f"{path}:{number}") for number, fields in sentence.lines]
        documents.append(sentence.document)
        words.append([word for word, _ in pairs])
        labels.append([codes[tag] for tag in to_iob2([tag for _, tag in pairs])])
    if not words:
        raise ValueError(f"{path} holds no sentences")
    columns: dict[str, list[Any]] = {"id": number_rows(words), "words": words, "label": labels, "document": documents}
    left_out = f", {read.left_out}" if read.left_out else ""
    return make_table(columns, Features(FEATURES | {"document": Value("int32")}), description + left_out)


def read_word(fields: list[str], place: str) -> tuple[str, str]:
    if len(fields) != NUM_COLUMNS:
        raise ValueError(
            f"{place}: {NUM_COLUMNS} columns expected (word, part of speech, chunk, entity), {len(fields)} found"
        )
    if fields[-1] not in TAGS:
        raise ValueError(f"{place}: entity tag {fields[-1]!r}; allowed: {', '.join(TAGS)}")
    return fields[0], fields[-1]


def convert_hub(rows: Dataset) -> Dataset:
    """One split of the Hub's copy: its tags are numbers, and IOB2."""
    where = rows.info.description
    names = getattr(getattr(rows.features["ner_tags"], "feature", None), "names", None)
    if names is None or set(names) != set(TAGS):
        raise ValueError(f"{where}: its tags are {names}; expected {', '.join(TAGS)}")
    codes = [TAGS.index(name) for name in names]
    words = rows["tokens"][:]
    labels = [[codes[tag] for tag in tags] for tags in rows["ner_tags"]]
    return make_table({"id": number_rows(words), "words": words, "label": labels}, FEATURES, where)


def number_rows(words: list[Any]) -> list[str]:
    """An id a sentence: its number in the split, from 0, as on the Hub."""
    return [str(number) for number in range(len(words))]


TASKS = {
    NAME: Task(
        name=NAME, question=Tags(), labels=TAGS, columns=("words",), metric="entities", headline="f1", load=load,
        language="en",
    )
}  # fmt: skip
