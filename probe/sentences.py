"""Are the vectors of like sentences alike?  Sentence similarity against people's judgement, by layer: STS-B.

A sentence's vector is made of the states of one layer in three ways: their `mean` over all tokens that the tokenizer
makes, special ones included, as sentence-transformers does; that of BERT's first token (`cls`); and that of the `last`
token, which is all that a GPT has for a whole sentence. The score is that of the mean of the last layer. Beside it:
the share of words that both sentences have (`overlap`), and the cosine of how often each word stands in them
(`bag_of_words`). Nothing is trained here; a model that was tuned for similarity is at an advantage over one that
has only been pretrained.
"""

import csv
import io
import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from scipy.stats import pearsonr
from torch import Tensor

from engine.run.recipe import data_path
from networks.states import Encoded, StateReader, take_mean
from probe.lines import read_text
from probe.pairs import to_score
from probe.probe import Found
from probe.readers import open_reader
from probe.similarity import FileProbe, check_scores, cosines_of, spearman

AT_ONCE = 256  # pairs whose vectors are kept
WORD = re.compile(r"\w+")
COLUMNS = ("sentence1", "sentence2", "score")  # as GLUE's STS-B has them

Pair = tuple[str, str, float]
Pooled = dict[str, list[Tensor]]  # how it was made -> a vector (D,) of each layer


@dataclass(frozen=True, kw_only=True)
class SentenceSimilarity(FileProbe):
    """Pairs of sentences with a score: GLUE's STS-B, or a file with the columns sentence1, sentence2 and score, or
    with these three fields and no heading. A .csv file has quotes, in any other tabs part the fields."""

    def ask(self, model: str, untrained: bool, seed: int) -> Found:
        pairs = read_sentence_pairs(data_path(self.path))
        reader = open_reader(model, untrained, seed)
        compared = compare(reader, pairs)
        cosines, covered = compared.cosines, compared.covered
        scores = [pairs[number][2] for number in covered]
        check_scores(scores, f"{self.path}: {len(covered)} of {len(pairs)} pairs have words that {model} knows")
        ranked = {name: [spearman(layer, scores) for layer in layers] for name, layers in cosines.items()}
        linear = {name: [pearson(layer, scores) for layer in layers] for name, layers in cosines.items()}
        last = {("" if name == "mean" else f"{name}_") + "spearmanr": values[-1] for name, values in ranked.items()}
        shortcuts = {
            way.__name__: spearman([way(one, other) for one, other, _ in pairs], [score for *_, score in pairs])
            for way in (overlap, bag_of_words)
        }
        found = {**last, "pearson": linear["mean"][-1], "coverage": len(covered) / len(pairs), **shortcuts}
        blind = {"all": {"spearmanr": 0.0, "pearson": 0.0}}
        by_layer = ranked if len(ranked["mean"]) > 1 else {}
        return Found(
            {"all": found}, blind, "spearmanr", {"all": len(pairs)},
            tell(ranked, linear, reader, tell_cut(compared.num_cut, len(pairs), reader)),
            details={"cut": compared.num_cut}, layers=by_layer, shortcuts=tuple(shortcuts),
        )  # fmt: skip


@dataclass(frozen=True)
class Compared:
    cosines: dict[str, list[list[float]]]  # by how a vector is made, and by layer, that of each pair that is covered
    covered: list[int]  # the pairs that can be compared
    num_cut: int  # pairs of which the model reads a sentence in part only


def compare(reader: StateReader, pairs: Sequence[Pair]) -> Compared:
    """The cosines of the vectors of each pair."""
    found: dict[str, list[list[float]]] = {}
    covered, num_cut = list[int](), 0
    for begin in range(0, len(pairs), AT_ONCE):
        some = pairs[begin : begin + AT_ONCE]
        texts = list(dict.fromkeys(text for one, other, _ in some for text in (one, other)))
        vectors, cut = dict[str, Pooled](), set[str]()
        for number, encoded, states in reader.read(texts):
            if encoded.is_cut:
                cut.add(texts[number])
            if any(encoded.counted):
                vectors[texts[number]] = pool(reader, encoded, states)
        num_cut += sum(one in cut or other in cut for one, other, _ in some)
        there = [number for number, (one, other, _) in enumerate(some) if one in vectors and other in vectors]
        covered += [begin + number for number in there]
        sides = [[vectors[some[number][0]] for number in there], [vectors[some[number][1]] for number in there]]
        for name in sides[0][0] if there else ():
            layers = found.setdefault(name, [[] for _ in sides[0][0][name]])
            for layer, values in enumerate(layers):
                values += cosines_of(*(torch.stack([of_text[name][layer] for of_text in side]) for side in sides))
    return Compared(found, covered, num_cut)


def pool(reader: StateReader, encoded: Encoded, states: Sequence[Tensor]) -> Pooled:
    """One vector of each layer's states (T, D), in each way that says something of this model."""
    places = [place for place, counts in enumerate(encoded.counted) if counts]
    found = {"mean": take_mean(states, places)}
    if encoded.ids[0] == reader.tokenizer.cls_token_id and encoded.counted[0]:
        found["cls"] = [layer[0] for layer in states]
    if reader.context != "none":
        found["last"] = [layer[places[-1]] for layer in states]
    return found


def overlap(one: str, other: str) -> float:
    """The share of the words of two sentences that both have (Jaccard)."""
    first, second = (set(WORD.findall(text.lower())) for text in (one, other))
    return len(first & second) / max(1, len(first | second))


def bag_of_words(one: str, other: str) -> float:
    """The cosine of how often each word stands in two sentences."""
    first, second = (Counter(WORD.findall(text.lower())) for text in (one, other))
    norms = math.prod(sum(count * count for count in counts.values()) for counts in (first, second))
    return sum(count * second[word] for word, count in first.items()) / math.sqrt(norms or 1)


def pearson(one: Sequence[float], other: Sequence[float]) -> float:
    """Pearson's correlation; 0 where one side has a single value."""
    return float(pearsonr(one, other).statistic) if len(set(one)) > 1 and len(set(other)) > 1 else 0.0


def tell(ranked: dict[str, list[float]], linear: dict[str, list[float]], reader: StateReader, note: str) -> str:
    """Every layer and pooling, in Markdown, and a note below them."""
    lines = ["# Spearman's and Pearson's correlation by layer, in %", "", f"| layer | {' | '.join(ranked)} |",
             f"| --- |{' ---: |' * len(ranked)}"]  # fmt: skip
    for layer in range(len(ranked["mean"])):
        cells = [f"{100 * ranked[name][layer]:.1f} / {100 * linear[name][layer]:.1f}" for name in ranked]
        lines.append(f"| {layer or 'embeddings'} | {' | '.join(cells)} |")
    if reader.context == "left":
        lines += ["", "This model reads from the left: of a sentence the last token alone has seen all words."]
    lines += ["", note] if note else []
    return "\n".join(lines) + "\n"


def tell_cut(number: int, of: int, reader: StateReader) -> str:
    """That the model read some sentences in part only; "" where it read all of each."""
    if not number:
        return ""
    return (
        f"{number:,} of {of:,} pairs have a sentence that is longer than the {reader.most_tokens:,} tokens that this "
        "model reads at once: it was cut, and what stands behind has no part in the score."
    )


def read_sentence_pairs(path: Path) -> list[Pair]:
    """Errors: ValueError that names file and line."""
    pairs: list[Pair] = []
    columns: list[int] = [0, 1, 2]
    for place, (number, row) in enumerate(read_rows(path)):
        names = [field.strip().lower() for field in row]
        if not place and set(COLUMNS) <= set(names):
            columns = [names.index(name) for name in COLUMNS]
            continue
        one, other, score = (row[column].strip() if column < len(row) else "" for column in columns)
        value = to_score(score)
        if value is None:
            raise ValueError(
                f"{path}, line {number}: two sentences and a number are expected, parted by "
                f"{'commas' if is_csv(path) else 'tabs'}, or a first line that names the columns "
                f"{', '.join(COLUMNS)}; found {' | '.join(row)[:60]!r}"
            )
        if not one or not other:
            raise ValueError(
                f"{path}, line {number}: sentence {2 if one else 1} is empty; each line needs two sentences and a "
                "score: write the sentence, or leave the line out"
            )
        pairs.append((one, other, value))
    if not pairs:
        raise ValueError(f"{path} holds no pairs of sentences with a score, one in each line")
    return pairs


def read_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """The number of the last line of each row that is not empty, and its fields. A .csv file has quotes, and commas or
    semicolons; in any other tabs part the fields. GLUE's files have no quoting, and bare quotes."""
    lines = io.StringIO(read_text(path), newline="")
    if is_csv(path):
        mark = max(",;", key=next(filter(str.strip, lines), "").count)
        lines.seek(0)
        rows = csv.reader(lines, delimiter=mark, strict=True)  # an unclosed quote is an error
        numbered = ((rows.line_num, row) for row in rows)
    else:
        numbered = ((number, line.rstrip("\r\n").split("\t")) for number, line in enumerate(lines, start=1))
    try:
        yield from ((number, row) for number, row in numbered if any(field.strip() for field in row))
    except csv.Error as error:
        raise ValueError(f"{path} is no table in CSV ({error}): is a quote missing?") from None


def is_csv(path: Path) -> bool:
    return path.suffix.lower() == ".csv"
