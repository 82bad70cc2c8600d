"""What can be asked of the docstrings of the installed packages, with answers that are known by construction?

Four small tasks that need no download, in the shapes of the published ones, so that most kinds of question can be
tried on real English. They are cut from the default corpus (`corpus.text.docstrings`) as its store is: the modules that
are held out from pretraining at a rate of HELD_OUT give dev and test, every other module gives train. No module,
sentence or description stands in two of these parts, so a model that was pretrained on the default corpus with
`held_out: 0.15` has met the text of the train rows, as text, and nothing of dev and test.

They compare models, above all pretrained weights with random ones at the same budget; they are no measure of English.
Documentation repeats itself, near-copies in other words are not looked for, and each task has a rule of one line that a
small model may well not reach: `finetune.tasks.shortcuts` has it, to be printed beside the model's score.
"""

import gzip
import json
import re
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from datasets import ClassLabel, Features, List, Value

from corpus.text import names
from corpus.text.docstrings import CACHE, Docstring, Module, origin, read, term
from corpus.text.document import draw
from corpus.text.names import KINDS, namespace, tag
from corpus.text.numpydoc import Parameter, plain
from corpus.text.sentences import sentences
from engine.run.disk import whole_file
from engine.train import draws
from engine.train.draws import permutation, stream
from finetune.questions.label import Label
from finetune.questions.question import Question
from finetune.questions.span import SpanQuestion
from finetune.questions.tags import Tags
from finetune.tasks.rows import make_table
from finetune.tasks.task import DataSource, Rows, Task

HELD_OUT = 0.15  # share of the documents; half of them give dev, the other half test
EXCHANGED = 3  # little words of a wrong wording
SIZES = {"train": 3000, "dev": 800, "test": 600}  # rows
TAGS = ("O", *(f"{prefix}-{kind}" for kind in KINDS for prefix in "BI"))

Row = dict[str, Any]
Thing = TypeVar("Thing")


def load(name: str, features: Features, make: Callable[..., list[Row]], source: DataSource) -> Rows:
    """Split name → its rows, all with answers: choose on dev, publish on test.

    Raises ValueError if the source is not `sample`.
    """
    if source.source != "sample":
        raise ValueError(
            f"{name}: data.source is {source.source!r}; this task is made on the spot: data.source: sample"
        )
    made = read_rows(name, make)
    rows = {}
    for split in SIZES:
        columns = {column: [row[column] for row in made[split]] for column in features}
        text = f"sample of the installed docstrings, sha256 {made['stamp']}, {split}"
        rows[split] = make_table(columns, features, text)
    return rows


def read_rows(name: str, make: Callable[..., list[Row]]) -> dict[str, Any]:
    """Split name → its rows, and `stamp` → the docstrings' sha256: made, or what an earlier process wrote down.

    To find the sentences takes ten seconds and more, and the demo asks for the same rows three times.
    """
    code = [Path(__file__).read_text(), *(Path(module.__file__ or "").read_text() for module in (names, draws))]
    key = sha256("\n".join([origin(), *code]).encode()).hexdigest()
    file = CACHE / f"{name.replace('/', '-')}-{key[:16]}.json.gz"
    if not file.exists():
        made = {split: make(modules, SIZES[split]) for split, modules in parts().items()}
        text = json.dumps({"stamp": read().stamp, **made}, ensure_ascii=False)
        whole_file(file, gzip.compress(text.encode(), compresslevel=3))
    return dict(json.loads(gzip.decompress(file.read_bytes())))


@cache
def parts() -> dict[str, list[Module]]:
    """Split name → its modules. Below HELD_OUT a module is held out from pretraining by the very same number."""
    found: dict[str, list[Module]] = {split: [] for split in SIZES}
    for module in read().modules:
        number = draw(module.document_id)
        found["train" if number >= HELD_OUT else "dev" if number >= HELD_OUT / 2 else "test"].append(module)
    return found


# Pair: does this description belong to this parameter?


def pairs(modules: Sequence[Module], size: int) -> list[Row]:
    """Make `size` rows: a parameter, as `axis : int, optional`, and its own description or, in every second, another's.

    Measures whether a name and a type are understood together with a sentence about them. The others' descriptions
    are each other's, so neither column alone tells the label. Shortcut: a description that shares a word with the name
    is mostly its own. Some others would do as well (two `dtype` by other names): the ceiling is below 1.
    """
    chosen = sample(described(modules), size)
    given = exchanged([parameter.name for _, parameter in chosen])
    return [
        {
            "id": place,
            "sentence1": term(parameter),
            "sentence2": plain(chosen[giver][1].description),
            "label": int(giver == row),
        }
        for row, ((place, parameter), giver) in enumerate(zip(chosen, given, strict=True))
    ]


def described(modules: Sequence[Module]) -> Iterator[tuple[str, Parameter]]:
    """The parameters that have a type and 5 to 45 words of description."""
    for module, docstring in docstrings(modules):
        for parameter in parameters(docstring):
            if 5 <= len(parameter.description.split()) <= 45:
                yield f"{module.name}:{docstring.qualname}:{parameter.name}", parameter


# Wording: is this sentence as its author wrote it?


def wordings(modules: Sequence[Module], size: int) -> list[Row]:
    """Make `size` rows: a sentence, in every second of which three little words were exchanged for others.

    Measures English syntax, as CoLA does ("The number from samples."), by machine: the exchanged words are each
    other's, so no word is more frequent under one label, and a bag of words has nothing to go by. Shortcut: how often
    neighbouring words meet, of which the pretraining documents tell more than the training rows. Some exchanges are no
    mistake ("used in", "used for"): the ceiling is below 1.
    """
    chosen = sample(with_little_words(modules), size)
    places = [some_little_words(sentence, row) for row, (_, sentence) in enumerate(chosen)]
    givers = [exchanged([row[turn].group() for row in places]) for turn in range(EXCHANGED)]
    rows = []
    for row, (place, sentence) in enumerate(chosen):
        for turn in reversed(range(EXCHANGED)):  # from the right, so that the places further left still hold
            old, new = places[row][turn], places[givers[turn][row]][turn]
            sentence = sentence[: old.start()] + new.group() + sentence[old.end() :]
        rows.append({"id": place, "sentence": sentence, "label": int(givers[0][row] == row)})
    return rows


def some_little_words(sentence: str, row: int) -> list[re.Match[str]]:
    """EXCHANGED of the sentence's little words, chosen at random, from left to right."""
    found = list(LITTLE_WORD.finditer(sentence))
    return [found[number] for number in sorted(permutation(stream("little words", row), len(found))[:EXCHANGED])]


def with_little_words(modules: Sequence[Module]) -> Iterator[tuple[str, str]]:
    """The whole sentences of 8 to 30 words, at least EXCHANGED of them little ones."""
    for place, _, _, marked in all_sentences(modules):
        sentence = plain(marked)
        whole = sentence[0].isupper() and sentence.endswith(".")
        if whole and 8 <= len(sentence.split()) <= 30 and len(LITTLE_WORD.findall(sentence)) >= EXCHANGED:
            yield place, sentence


LITTLE_WORDS = """
    a an the this that these each all no any other of to in for on with from by at as into over between is are be was
    has have can will should does and or but not if when than only also it its they which
"""
LITTLE_WORD = re.compile(rf"(?<![\w.'-])(?:{'|'.join(LITTLE_WORDS.split())})(?![\w.'-])")


# Tags: which words name a parameter, type, function, class or module?


def taggings(modules: Sequence[Module], size: int) -> list[Row]:
    """Make `size` rows: the words of a sentence, and in IOB2 which of them name what.

    Measures how well names in running text are known by form and company. See `corpus.text.names` for where the answers
    come from; a name that its author did not mark, and that looks like an ordinary word, counts as no name. Shortcuts:
    a lexicon of the training words; their form (underscores, capitals) with their neighbours.
    """
    return [
        {"id": place, "words": words, "label": [TAGS.index(tag) for tag in tags]}
        for place, (words, tags) in sample(with_names(modules), size)
    ]


def with_names(modules: Sequence[Module]) -> Iterator[tuple[str, tuple[list[str], list[str]]]]:
    """The sentences of 5 to 40 words with one name or more, all of known kinds."""
    known = namespace(read().modules)
    for place, module, docstring, marked in all_sentences(modules):
        found = tag(marked, module, docstring, known) if "`" in marked else None
        if found and 5 <= len(found[0]) <= 40 and set(found[1]) != {"O"}:
            yield place, found


# Span: what does this parameter mean?


def spans(modules: Sequence[Module], size: int) -> list[Row]:
    """Make `size` rows: "What does axis of sum mean?", the docstring's parameters around it, and where the answer is.

    Measures finding an entry by its name and telling where the answer, the first sentence of its description, begins
    and ends. Shortcut: it is the sentence after the name's line, nearly always.
    """
    return [
        {"id": place, "question": f"What does {asked.name} of {owner} mean?", **located(asked, listed)}
        for place, (owner, asked, listed) in sample(listings(modules), size)
    ]


def located(asked: Parameter, listed: Sequence[Parameter]) -> Row:
    """The parameters as one text, and where in it the first sentence about one of them stands."""
    context = "\n".join(map(entry, listed))
    answer = sentences(plain(asked.description))[0].strip()
    start = context.index(entry(asked)) + len(term(asked)) + 1
    return {"context": context, "answers": {"text": [answer], "answer_start": [start]}}


def entry(parameter: Parameter) -> str:
    return f"{term(parameter)}\n{plain(parameter.description)}"


def listings(modules: Sequence[Module]) -> Iterator[tuple[str, tuple[str, Parameter, list[Parameter]]]]:
    """(id, (owner's name, a parameter, it and its neighbours)), two parameters or more and 70 words at the most."""
    for module, docstring in docstrings(modules):
        owner = docstring.qualname.removesuffix(".__init__")
        for run in runs(parameters(docstring)):
            for asked in run:
                yield f"{module.name}:{docstring.qualname}:{asked.name}", (owner, asked, run)


def runs(listed: Sequence[Parameter], most: int = 70) -> Iterator[list[Parameter]]:
    """Cut into runs of two or more parameters that together have at most `most` words; what is too long is left out."""
    run: list[Parameter] = []
    words = 0
    for parameter in listed:
        length = len(entry(parameter).split())
        if words + length > most:
            if len(run) > 1:
                yield run
            run, words = [], 0
        if length <= most:
            run.append(parameter)
            words += length
    if len(run) > 1:
        yield run


# What the four have in common


def docstrings(modules: Sequence[Module]) -> Iterator[tuple[Module, Docstring]]:
    return ((module, docstring) for module in modules for docstring in module.docstrings)


def parameters(docstring: Docstring) -> list[Parameter]:
    """The parameters under a single name that have a type."""
    listed = [block for block in docstring.blocks if isinstance(block, Parameter)]
    return [parameter for parameter in listed if parameter.name.isidentifier() and parameter.type]


def all_sentences(modules: Sequence[Module]) -> Iterator[tuple[str, Module, Docstring, str]]:
    """(id, module, docstring, marked sentence), of prose and of descriptions."""
    for module, docstring in docstrings(modules):
        texts = (block.description if isinstance(block, Parameter) else block for block in docstring.blocks)
        every = (sentence.strip() for text in texts for sentence in sentences(text))
        for number, sentence in enumerate(every):
            yield f"{module.name}:{docstring.qualname}:{number}", module, docstring, sentence


def sample(found: Iterator[tuple[str, Thing]], size: int) -> list[tuple[str, Thing]]:
    """`size` of the (id, thing) found, in random order; of several with one id the last stands."""
    every = list(dict(found).items())
    return [every[index] for index in permutation(stream("sample"), len(every))[:size]]


def exchanged(kinds: Sequence[str]) -> list[int]:
    """For each row, the row that gives it what it shows: every even row itself, every odd row another odd one.

    Each odd row gives once, and none gives to its own kind: with the kinds in one line each, as many places further on
    as the largest kind has members there is always another one. Raises ValueError if one kind has more than half.
    """
    given = list(range(len(kinds)))
    odd = given[1::2]
    rank = {kind: place for place, kind in enumerate(dict.fromkeys(kinds))}  # in the rows' random order
    line = sorted(odd, key=lambda row: rank[kinds[row]])
    largest = int(np.bincount([rank[kinds[row]] for row in odd]).max())
    if 2 * largest > len(odd):
        raise ValueError(f"{len(kinds)} rows are too few for exchanges: {largest} of {len(odd)} are of one kind")
    for row, giver in zip(line, [*line[largest:], *line[:largest]], strict=True):
        given[row] = giver
    return given


TEXT = Value("string")
SPAN = {"text": List(TEXT), "answer_start": List(Value("int32"))}


def make_task(
    name: str, make: Callable[[Sequence[Module], int], list[Row]], question: Question, labels: tuple[str, ...],
    columns: dict[str, Any], answer: dict[str, Any], metric: str, headline: str,
) -> Task:  # fmt: skip
    loaded = partial(load, name, Features({"id": TEXT, **columns, **answer}), make)
    return Task(
        name, question, labels, tuple(columns), metric, headline, loaded, dev_splits=("dev", "test"), test_splits=()
    )


OWNERSHIP = ("other", "own")
AUTHORSHIP = ("exchanged", "as_written")

TASKS = {
    "pair": make_task(
        "docs/pair", pairs, Label(), OWNERSHIP, {"sentence1": TEXT, "sentence2": TEXT},
        {"label": ClassLabel(names=list(OWNERSHIP))}, "accuracy", "accuracy",
    ),
    "wording": make_task(
        "docs/wording", wordings, Label(), AUTHORSHIP, {"sentence": TEXT},
        {"label": ClassLabel(names=list(AUTHORSHIP))}, "accuracy", "accuracy",
    ),
    "tags": make_task(
        "docs/tags", taggings, Tags(), TAGS, {"words": List(TEXT)},
        {"label": List(ClassLabel(names=list(TAGS)))}, "entities", "f1",
    ),
    "span": make_task(
        "docs/span", spans, SpanQuestion(), (), {"question": TEXT, "context": TEXT},
        {"answers": SPAN}, "squad_v1.1", "f1",
    ),
}  # fmt: skip
