"""Which models are on the page, and what can each be asked?  A model is opened with the head that it was saved with."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from engine.run.architecture import count_positions
from engine.run.precision import Precision
from engine.run.runtime import make_accelerator
from engine.run.saved import architecture, config_of, is_backbone, located, opened, opened_backbone
from finetune.ask.model import ARCHITECTURES, Answerer, load_fine_tuned
from finetune.ask.playground.gallery import Gallery, open_collection
from finetune.tasks.fields import Fields
from finetune.tasks.task import Task
from networks.trunk import Trunk
from networks.word_vectors import WordVectors
from tokenizer.load import load_tokenizer, refuse_strange_ids

if TYPE_CHECKING:
    from accelerate import Accelerator

    from corpus.images.store import StoredPictures

# What a model that was not fine-tuned does, by the end of its class's name.
PRETRAINED: dict[str, tuple[str, ...]] = {
    "ElmoForPreTraining": (),  # its features are for other networks
    "ForPreTraining": ("fill", "follow"),
    "ForMaskedLM": ("fill",),
    "ForNextSentencePrediction": ("follow",),
    "LMHeadModel": ("continue",),
    "ForCausalLM": ("continue",),
}
OF_PICTURES: dict[str, tuple[str, ...]] = {"ForColorization": ("color",), "RelativePositionModel": ("place",)}


@dataclass
class LoadedModel:
    """A model on the page: its name there, what it can be asked, and its tokenizer."""

    name: str
    source: str  # its folder, or its Hub id
    model: PreTrainedModel
    own_tokenizer: PreTrainedTokenizerFast | None  # of a model that reads texts; None: it looks at pictures
    abilities: tuple[str, ...]
    accelerator: "Accelerator" = field(repr=False)
    task: Task | None = None  # of a fine-tuned model
    trunk: Trunk | None = None  # of a model of pictures
    pictures: "StoredPictures | None" = field(default=None, repr=False)  # that were named for all models

    @cached_property
    def gallery(self) -> Gallery:
        """The pictures among which it looks for near ones. Errors: ValueError where they are not here."""
        assert self.trunk is not None
        pictures = self.pictures or (open_collection(self.run) if self.run else None)
        if pictures is None:
            raise ValueError(
                f"The pictures that {self.name} was trained on are not here: start the playground with --pictures "
                "FOLDER, a folder of pictures among which to look"
            )
        return Gallery(self.trunk, pictures)

    @property
    def reads_texts(self) -> bool:
        return self.own_tokenizer is not None

    @property
    def tokenizer(self) -> PreTrainedTokenizerFast:
        assert self.own_tokenizer is not None, f"{self.name} reads no texts"
        return self.own_tokenizer

    @property
    def most_tokens(self) -> int:
        return count_positions(self.model)

    @property
    def run(self) -> Path | None:
        """The folder of the run or the job that it came of, if it lies in one."""
        folder = Path(self.source)
        return folder.parent if folder.name == "model" else None

    @property
    def num_layers(self) -> int:
        return int(getattr(self.model.config, "num_hidden_layers", 0))

    @property
    def num_heads(self) -> int:
        """Of attention, in each layer; 0 for a model without attention."""
        return int(getattr(self.model.config, "num_attention_heads", 0))

    @property
    def reads_pairs(self) -> bool | None:
        """Whether it was trained on pairs of texts; None if its folder does not say."""
        if self.task:
            return len(self.task.columns) == 2 if self.task.columns else None
        return True if "follow" in self.abilities else False if "continue" in self.abilities else None

    def encode(self, text: str, pair: str | None = None) -> dict[str, Tensor]:
        """A text, or a pair, as the model reads it: (1, T) each. Errors: ValueError for none, and for a long one."""
        if not text.strip() or (pair is not None and not pair.strip()):
            raise ValueError("There is no text yet: write one")
        x = self.tokenizer(text, pair, return_tensors="pt").to(self.model.device)
        length = x["input_ids"].shape[1]
        if length > self.most_tokens:
            raise ValueError(f"This is {length} tokens, and {self.name} reads {self.most_tokens}: shorten the text")
        return dict(x)

    def find_gaps(self, ids: Tensor) -> list[int]:
        """The places of the masks among ids (T,). Errors: ValueError if there is none."""
        mask = self.tokenizer.mask_token
        places = [place for place, token in enumerate(ids.tolist()) if token == self.tokenizer.mask_token_id]
        if not places:
            raise ValueError(f"There is no gap in the text: write {mask} where a word is to be guessed")
        return places

    def tokens(self, ids: Sequence[int]) -> list[str]:
        """Tokens as people read them, each by itself: blanks at the ends stay visible."""
        if self.tokenizer.mask_token is None:  # bytes, of which a token may be a part of a letter
            return [str(self.tokenizer.decode([token])).replace("\n", "⏎") for token in ids]
        return [str(token) for token in self.tokenizer.convert_ids_to_tokens(list(ids))]

    def answer(self, given: Fields) -> Fields:
        """What a fine-tuned model answers to one row, as a line of `finetune.predict`, beside the row's fields.

        Errors: ValueError for a text that says nothing.
        """
        assert self.task is not None
        question, layout = self.task.question, {name: name for name in given}
        question.check_layout(self.task, layout)
        fields = question.read_fields(given, layout)
        task = replace(self.task, columns=question.columns(layout))
        (line,) = Answerer(self.model, task, self.tokenizer, self.accelerator).answer([fields])
        return fields | line


def load_models(names: Sequence[str], pictures: "StoredPictures | None" = None) -> list[LoadedModel]:
    """Open models: runs, folders and Hub ids, these perhaps with a revision, as user/name@step-10000.

    `pictures`: among which models of pictures look for near ones; by default those that each was trained on. Errors:
    FileNotFoundError, ValueError for one that cannot be opened.
    """
    sources = [parse_source(name) for name in names]
    if twice := [name for (name, _), times in Counter(sources).items() if times > 1]:
        raise ValueError(f"{twice[0]} is named twice: name every model once")
    accelerator = make_accelerator(0, Precision("no"), announce=False)  # single answers need no speed
    return [
        load_model(name, *where, accelerator, pictures)
        for name, where in zip(shorten_names(names), sources, strict=True)
    ]


def parse_source(name: str) -> tuple[str, str]:
    """(folder or Hub id, revision): what follows an @ is a revision, unless a folder has that name."""
    model, at, revision = name.rpartition("@")
    return (located(model), revision) if at and not Path(name).exists() else (located(name), "main")


def load_model(
    name: str, source: str, revision: str, accelerator: "Accelerator", pictures: "StoredPictures | None" = None
) -> LoadedModel:
    """Open one model. Errors: as for `load_models`."""
    saved_from = architecture(source, revision)
    if any(saved_from.endswith(suffix) for suffix in ARCHITECTURES):
        model, task, tokenizer = load_fine_tuned(source, revision)
        made = LoadedModel(name, source, model, tokenizer, (task.question.name,), accelerator, task)
    elif is_backbone(config_of(source, revision)):
        trunk = Trunk.around(opened_backbone(source, revision), source, revision)
        model = opened(source, revision) if saved_from in OF_PICTURES else trunk.backbone
        able = (*OF_PICTURES.get(saved_from, ()), "near")
        made = LoadedModel(name, source, model, None, able, accelerator, trunk=trunk, pictures=pictures)
    else:
        able = next((abilities for suffix, abilities in PRETRAINED.items() if saved_from.endswith(suffix)), ())
        model, tokenizer = opened(source, revision), load_tokenizer(source, revision)
        able += ("neighbours",) if isinstance(model, WordVectors) else ()
        able += () if model.config.is_encoder_decoder else ("occurrences",)
        refuse_strange_ids(tokenizer, model.config.vocab_size, source)
        made = LoadedModel(name, source, model, tokenizer, able, accelerator)
    if made.reads_texts:
        made.model.set_attn_implementation("eager")  # the one that tells how much each token looks at each other
    made.model.to(accelerator.device).eval()
    return made


def shorten_names(names: Sequence[str]) -> list[str]:
    """The last part of each name that says something: not /model, and a seed or an owner only where two differ in it.

    >>> shorten_names(["runs/glue/glue-rte/seed-0/model", "runs/glue/glue-mrpc/seed-0/model"])
    ['glue-rte', 'glue-mrpc']
    """
    forms = [name_forms(name) for name in names]
    alike = [[other for other in forms if other[0] == own[0]] for own in forms]
    return [own[shortest_distinct(others)] for own, others in zip(forms, alike, strict=True)]


def name_forms(name: str) -> list[str]:
    """What a model may be called, the shortest first: `rte`, `rte/seed-0`, `glue/rte`, `glue/rte/seed-0`, ..."""
    parts = Path(name.removesuffix("/")).parts
    parts = parts[:-1] if parts[-1] == "model" and len(parts) > 1 else parts
    seed = parts[-1:] if len(parts) > 1 and parts[-1].startswith("seed-") else ()
    own = parts[: len(parts) - len(seed)]
    tails = [own[-length:] for length in range(1, len(own) + 1)]
    return [str(Path(*tail, *more)) for tail in tails for more in ((), seed)]


def shortest_distinct(forms: Sequence[list[str]]) -> int:
    """The number of the first form in which these names differ; the last one where they are all the same."""
    levels = range(min(map(len, forms)))
    return next((level for level in levels if len({own[level] for own in forms}) == len(forms)), -1)
