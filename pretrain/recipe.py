"""What does a pretraining recipe say?"""

from dataclasses import dataclass, replace
from typing import Any

from corpus.images.opening import Collection
from corpus.text.medium import Text
from corpus.text.opening import Corpus
from engine.publish.hub import NOWHERE, Hub
from engine.run.architecture import check_sizes
from engine.run.precision import Matmul, MixedPrecision
from engine.run.recipe import check_least, check_name, check_seed, operational
from engine.run.saved import located
from engine.run.tracking import TrackerName
from engine.train.optimizer import Optimizer
from engine.train.plan import Phase, Plan
from engine.train.schedule import Schedule
from pretrain.network import declared_positions
from pretrain.objective import Objective

LEAST = 8  # units of an example


@dataclass(frozen=True)
class LastPhase:
    """The last part of the steps, in larger examples: BERT's are 512 tokens for a tenth of its steps.

    Their size is said under the objective's own key: `max_seq_length` for `bert`, `block_size` for `causal_lm`,
    `image_size` for images.
    """

    share: float  # of the steps
    per_device_train_batch_size: int = operational()  # examples a process takes at a time then, at most
    max_seq_length: int | None = None  # tokens of these examples, of objective bert
    block_size: int | None = None  # the same, of objective causal_lm
    image_size: int | None = None  # pixels of the sides of these examples, of an objective on images

    def __post_init__(self) -> None:
        if not 0 < self.share < 1:
            raise ValueError(f"share is {self.share}; it is a share of the steps between 0 and 1, such as 0.1")
        check_least(self, 1, "per_device_train_batch_size")

    def size(self, objective: Objective[Any]) -> int:
        """How large an example is then. Errors: ValueError if another objective's key says it, or none."""
        key = objective.size_key
        sizes = {name: getattr(self, name) for name in ("max_seq_length", "block_size", "image_size")}
        found, others = sizes.pop(key, None), [name for name, value in sizes.items() if value is not None]
        if found is None or others:
            instead = f", not {others[0]}" if others else ""
            raise ValueError(f"last_phase says how large its examples are by {key}, as the objective does{instead}")
        return found


@dataclass(frozen=True)
class PretrainRecipe:
    """A whole experiment."""

    name: str  # the run's folder is runs/NAME
    model: dict[str, Any]  # model_type and keys of its config; or from, and revision: a run, a folder or a Hub id
    objective: Objective
    optimizer: Optimizer
    schedule: Schedule
    plan: Plan
    corpus: Corpus | None = None  # of an objective on text: where it is
    images: Collection | None = None  # of an objective on images: where they are
    tokenizer: str = ""  # a folder or a Hub id; "": that of the model to continue (model.from)
    last_phase: LastPhase | None = None  # null: all steps are alike
    seed: int = 0  # of weights, order, masks and dropout
    mixed_precision: MixedPrecision = operational("auto")  # no: fp32; auto: the faster of both, or as the run began
    matmul: Matmul = operational("auto")  # a CPU's fp32 kernels; auto: the faster, or as the run began
    max_eval_samples: int = 2048  # held-out examples that are evaluated, always the same ones, at most
    probe_every: int = operational(1)  # of images: evaluations from one look at the features to the next; 0: none
    overwrite: bool = operational(False)  # delete what the run's folder holds
    resume_from_checkpoint: str | None = operational(None)  # such as step-200; None: the run's newest state
    hub: Hub = operational(NOWHERE)  # where the model is published, if anywhere
    report_to: tuple[TrackerName, ...] = operational(())  # trackers, beside metrics.jsonl, which `make dashboard` reads
    profile: bool = operational(False)  # trace a few steps into the run's folder

    def __post_init__(self) -> None:
        check_name(self.name)
        check_seed(self.seed)
        check_sizes(self.model, "model")
        check_least(self, 1, "max_eval_samples")
        check_least(self, 0, "probe_every")
        self._check_material()
        if self.objective.medium is Text:
            self._check_text()
        self.check_examples(declared_positions(self.model, self.objective.model_type))
        if self.last_phase and self.plan.minutes:
            raise ValueError("last_phase begins at a share of the steps, which are unknown where plan.minutes ends the "
                             "run: give plan.max_steps or plan.flops")  # fmt: skip

    def _check_material(self) -> None:
        """Refuse the section of another medium than the objective's."""
        section, name = self.objective.medium.section, self.objective.name
        for key in ("corpus", "images"):
            if key != section and getattr(self, key) is not None:
                raise ValueError(f"{name} is trained on what `{section}:` says, so `{key}:` does nothing: leave it out")
        if section == "images":
            if self.tokenizer:
                raise ValueError(f"{name} is trained on images, so `tokenizer:` does nothing: leave it out")
            if self.images is None:  # a run's recipe says what was chosen
                object.__setattr__(self, "images", Collection())

    def _check_text(self) -> None:
        if self.corpus is None:
            raise ValueError("it lacks corpus: where the text is, such as  corpus: {sources: [{kind: docstrings}]}")
        sources = tuple(source.wanting(self.objective.whitespace) for source in self.corpus.sources)
        object.__setattr__(self, "corpus", replace(self.corpus, sources=sources))  # a run's recipe says what was chosen
        if self.objective.needs_sentences and any(source.whitespace == "keep" for source in sources):
            raise ValueError(
                "a source says whitespace: keep, where no sentences are looked for, but sentence pairs are made of "
                "them: leave it out, or say objective.next_sentence: false"
            )
        if not self.tokenizer and "from" not in self.model:
            raise ValueError("it lacks a tokenizer: a folder, such as runs/bert-wordpiece/tokenizer, or a Hub id")

    @property
    def text_corpus(self) -> Corpus:
        """The `corpus:` section of a recipe on text."""
        assert self.corpus is not None, f"{self.objective.name} is trained on no text"
        return self.corpus

    @property
    def image_collection(self) -> Collection:
        """The `images:` section of a recipe on images."""
        assert self.images is not None, f"{self.objective.name} is trained on no images"
        return self.images

    def check_examples(self, positions: int | None) -> None:
        """Refuse examples that are too small, or larger than a model of so many positions takes. Errors: ValueError."""
        for phase, where in zip(self.phases, ("objective", "last_phase"), strict=False):
            key = f"{where}.{self.objective.size_key}"
            if positions is not None and phase.size > positions:
                raise ValueError(
                    f"{key} is {phase.size}, but the model has {positions} positions; lower it, or raise "
                    "model.max_position_embeddings (GPT-2: model.n_positions)"
                )
            medium = self.objective.medium
            if not LEAST <= phase.size <= medium.largest:
                bounds = f"{LEAST} {medium.size_unit} or more, and {medium.largest:,} at most"
                raise ValueError(f"{key} is {phase.size}; examples need {bounds}")

    @property
    def tokenizer_source(self) -> str:
        """The folder or Hub id of its tokenizer."""
        return self.tokenizer or located(self.model["from"])

    @property
    def tokenizer_revision(self) -> str | None:
        """The Hub's branch, tag or commit of the tokenizer, if it is that of the model to continue."""
        return None if self.tokenizer else self.model.get("revision")

    @property
    def phases(self) -> tuple[Phase, ...]:
        """What is trained on, in order."""
        if self.last_phase is None:
            return (Phase(1.0, self.plan.per_device_train_batch_size, self.objective.size),)
        last = self.last_phase
        first = Phase(1 - last.share, self.plan.per_device_train_batch_size, self.objective.size)
        return first, Phase(last.share, last.per_device_train_batch_size, last.size(self.objective))
