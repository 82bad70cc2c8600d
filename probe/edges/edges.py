"""At which layer does an encoder know parts of speech, and at which coreference?  Edge probing (Tenney et al. 2019).

"BERT Rediscovers the Classical NLP Pipeline", arXiv 1905.05950, after arXiv 1905.06316. One probe for each cumulative
mix of the layers 0..l, and one that learns the control task from all layers, trained side by side; nothing of the
encoder is trained.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any, ClassVar, Literal

import numpy as np
import torch

from engine.run.recipe import check_least, data_path
from probe.edges.batches import make_rows
from probe.edges.examples import Asked, control_labels, f1, guess_blindly, guess_by_words, score
from probe.edges.layers import read_layers
from probe.edges.network import Probes
from probe.edges.page import make_page, tell
from probe.edges.summary import centre_of_gravity, summarize
from probe.edges.training import Schedule, count, train
from probe.edges.treebank import Treebank, list_files, read_treebank, trees_of
from probe.probe import Found, Probe, label_of

READ_FROM = {
    "pos": "the column UPOS", "dependencies": "the columns HEAD and DEPREL", "constituents": "the trees beside it",
    "entities": "Entity= in MISC, with their types, as GUM has it",
    "coreference": "Entity= in MISC, as GUM has it: two mentions of an entity in one sentence",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Edges(Probe):
    """A task of edge probing, on a folder of CoNLL-U files; constituents need trees (.ptb) beside them, entities and
    coreference need `Entity=` in MISC."""

    path: str  # a folder with train and dev in its files' names; else, or if it is a file, its documents are divided
    annotation: Literal["pos", "dependencies", "constituents", "entities", "coreference"]  # what is asked
    max_sentences: int = 0  # of the training files, drawn at random; 0: all
    max_eval_sentences: int = 0  # of those that are judged, drawn at random; 0: all
    hidden_size: int = 256  # of the projections and the MLP
    dropout: float = 0.3  # within the MLP
    learning_rate: float = 0.001  # of Adam
    batch_size: int = 32  # sentences
    eval_steps: int = 100  # steps between two looks at the validation score
    lr_patience: int = 5  # looks without a better score, after which the rate is halved
    patience: int = 20  # looks without a better score, after which a probe's training ends
    max_steps: int = 5000  # of training, at the most

    trains: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_least(self, 0, "max_sentences", "max_eval_sentences", "dropout")
        check_least(self, 1, "hidden_size", "batch_size", "eval_steps", "lr_patience", "patience", "max_steps")
        if not 0 < self.learning_rate < 1 or self.dropout >= 1:
            raise ValueError(
                f"learning_rate is {self.learning_rate} and dropout {self.dropout}; both must be below 1, and the "
                "learning rate above 0"
            )

    @property
    def task(self) -> str:
        return f"edges/{self.annotation}-{label_of(self.path)}"

    @property
    def files(self) -> Sequence[str]:
        names = list_files(self.path).read
        return [*names, *(trees_of(name) for name in names if self.needs_trees)]

    @property
    def needs_trees(self) -> bool:
        return self.annotation == "constituents"

    def ask(self, model: str, untrained: bool, seed: int) -> Found:
        times = tuple(data_path(name).stat().st_mtime_ns for name in self.files)
        bank = read_once(self.path, self.needs_trees, self.max_sentences, self.max_eval_sentences, times)
        parts = [Asked.of(self.annotation, part) for part in (bank.train, bank.validation, bank.dev)]
        for name, part in zip(("to train on", "to end training by", "to judge"), parts, strict=True):
            if not any(part.labels):
                raise ValueError(f"{self.path} has no {self.annotation} among the sentences {name}; they are read from "
                                 f"{READ_FROM[self.annotation]}")  # fmt: skip
        layers = read_layers(model, untrained, seed, bank.sentences)
        labels = sorted({label for part in parts for one in part.labels for label in one})
        controls = [control_labels(parts[0], part, seed) for part in parts]
        firsts = np.cumsum([0, len(bank.train), len(bank.validation)])
        rows = [
            make_rows(part, control, labels, layers, int(first))
            for part, control, first in zip(parts, controls, firsts, strict=True)
        ]
        if not all(part.rows for part in rows):
            raise ValueError(
                f"{model} reads none of the {self.annotation} of {self.path}: all lie behind its last token"
            )

        device = "cuda" if torch.cuda.is_available() else "cpu"
        number = layers.num_layers
        sees = torch.ones(number + 1, number, dtype=torch.bool).tril()  # 0..l of each; the last, the control, sees all
        kinds = torch.tensor([*[0] * number, 1], device=device)
        probes = Probes(sees, layers.size, rows[0].sides, len(labels), self.hidden_size, self.dropout, seed).to(device)
        steps = train(probes, kinds, rows[0], rows[1], layers, self.schedule, seed)
        counts = count(probes, kinds, rows[2], layers, self.batch_size)

        scores = [f1(*of_probe) for of_probe in counts.sum(1).tolist()]
        shares = probes.shares[number - 1].tolist()
        by_words = score(guess_by_words(parts[0], parts[2]), parts[2].labels)
        blind = score([guess_blindly(parts[0])] * len(parts[2].labels), parts[2].labels)
        found = {
            "f1": scores[number - 1], "layer_0": scores[0], "control": scores[number],
            "selectivity": scores[number - 1] - scores[number], "by_words": by_words,
            "coverage": 1 - rows[2].num_lost / rows[2].num_examples,
        }  # fmt: skip
        details = {
            "counts": counts[:number].tolist(), "shares": shares, "centre_of_gravity": centre_of_gravity(shares),
            "control": scores[number], "blind": blind, "by_words": by_words, "steps": steps, "labels": labels,
            "lost": [part.num_lost for part in rows], "drawn_from": bank.drawn_from,
            "division": asdict(bank.division),
        }  # fmt: skip
        sizes = {"train": rows[0].num_examples, "validation": rows[1].num_examples, "dev": rows[2].num_examples}
        summary = summarize([counts[:number]], [centre_of_gravity(shares)], [scores[number]])
        page = tell(self.task, summary, details)
        return Found({"dev": found}, {"dev": {"f1": blind}}, "f1", sizes, page=page, details=details)

    @property
    def schedule(self) -> Schedule:
        return Schedule(
            self.learning_rate, self.batch_size, self.eval_steps, self.lr_patience, self.patience, self.max_steps
        )

    @classmethod
    def make_pages(cls, jobs: Sequence[tuple[dict[str, Any], dict[str, Any]]]) -> dict[str, str]:
        return {"edges.html": make_page(jobs)}


@lru_cache(maxsize=2)  # tasks and seeds read the same one, with trees and without
def read_once(path: str, with_trees: bool, most: int, most_eval: int, times: tuple[int, ...]) -> Treebank:
    return read_treebank(path, with_trees, most, most_eval)
