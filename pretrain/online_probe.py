"""Is it learning, or has it collapsed?  Online probes: what a trunk's features are worth while it is pretrained.

The loss of a pretext task tells neither. So at evaluations the features of some pictures, the mean of the last stage's
map, are looked at (`engine.train.features`): how many directions they use (effective rank) and how far they lie apart
(spread), and, where the pictures have labels, how often kNN and a linear classifier are right, which learn from
pictures of the training part and are asked about held-out ones. The labels reach no weight of the network.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from corpus.images.medium import Images
from corpus.images.pictures import Ints, PictureChapter
from corpus.images.scaling import middle
from corpus.medium import Medium, OpenCorpus
from engine.run.tracking import beside_baseline
from engine.train import draws
from engine.train.batch import Batch
from engine.train.evaluation import predict
from engine.train.features import LinearProbe, effective_rank, predict_nearest, spread
from engine.train.plan import Plan
from networks.pictures import PretextModel, feature_maps

if TYPE_CHECKING:
    from accelerate import Accelerator

KNOWN, ASKED = 2000, 1000  # pictures with labels to learn from, and held-out ones, at most
FEW = 20  # held-out pictures with labels, of which no accuracy is told
LARGEST = 96  # pixels of a picture's side
AT_ONCE = 128  # pictures in a forward pass
PENALTY = 0.1  # of the linear classifier
COLLAPSED = 0.01  # a spread below which features tell nothing
PANELS = (
    ("Online probes, accuracy", {
        "kNN": "eval_knn_accuracy", "linear": "eval_linear_accuracy", "commonest": "baseline_knn_accuracy",
    }),
    ("Effective rank of the features", {"held out": "eval_effective_rank"}),
    ("Spread of the features", {"held out": "eval_feature_spread"}),
)  # fmt: skip


@dataclass(frozen=True)
class OnlineProbe:
    """Pictures to learn from and to ask about, and their classes."""

    images: Images
    batches: list[Batch]
    labels: Tensor  # (N,) -1 where there is none
    num_known: int  # of the pictures: those to learn from, which come first

    @staticmethod
    def of(medium: Medium, corpus: OpenCorpus, model: nn.Module, size: int, seed: int) -> "OnlineProbe | None":
        """Choose and read the pictures, the same ones on each process. None where no features are to be looked at."""
        if not isinstance(medium, Images) or not isinstance(model, PretextModel):
            return None
        train, held_out = (cast(PictureChapter, part.chapter(0, 0, {})) for part in (corpus.train, corpus.held_out))
        asked = choose(held_out, ASKED, seed)
        known = choose(train, KNOWN, seed)
        known = known[train.pictures.labels[known] >= 0]
        members, side = np.concatenate([known, asked]), min(size, LARGEST)
        squares = [middle(pixels, side) for start in range(0, len(members), AT_ONCE)
                   for pixels in train.pictures.load(members[start : start + AT_ONCE], side)]  # fmt: skip
        stacked = torch.from_numpy(np.stack(squares)).permute(0, 3, 1, 2)
        batches = [Batch({"squares": some}, {}, {"picture": len(some)}, (1,) * len(some), len(some))
                   for some in stacked.split(AT_ONCE)]  # fmt: skip
        return OnlineProbe(medium, batches, torch.from_numpy(train.pictures.labels[members]), len(known))

    def measure(self, model: nn.Module, accelerator: "Accelerator") -> dict[str, float]:
        """Values for the log, baselines among them. `model` is whole, and in evaluation mode."""

        def read(network: Any, batch: Batch) -> list[Any]:
            pixels = self.images.normalised(batch.x["squares"].float() / 255)
            found: list[Any] = feature_maps(network.trunk, pixels)[-1].mean((2, 3)).float().tolist()
            return found

        features = torch.tensor(predict(model, read, self.batches, accelerator))
        asked = features[self.num_known :]
        found = {"eval_effective_rank": effective_rank(asked), "eval_feature_spread": spread(asked)}
        return found | self._accuracies(features)

    def _accuracies(self, features: Tensor) -> dict[str, float]:
        known, there = slice(self.num_known), self.labels[self.num_known :] >= 0
        if there.sum() < FEW or self.num_known < FEW:
            return {}
        asked, right = features[self.num_known :][there], self.labels[self.num_known :][there]
        labels = self.labels[known]
        guesses = {
            "knn_accuracy": predict_nearest(features[known], labels, asked),
            "linear_accuracy": LinearProbe(features[known], labels, [PENALTY])(asked),
        }
        found = {f"eval_{name}": (guess == right).float().mean().item() for name, guess in guesses.items()}
        commonest = (right == labels.mode().values).float().mean().item()
        return found | {f"baseline_{name}": commonest for name in guesses}


def choose(chapter: PictureChapter, number: int, seed: int) -> Ints:
    """Some pictures of a chapter, drawn by `seed`."""
    members = np.sort(chapter.members)
    return members[draws.permutation(draws.stream("online probe", seed), len(members))[:number]]


def is_due(step: int, plan: Plan, probe_every: int) -> bool:
    """Whether the evaluation at a step looks at features: each `probe_every`-th does, and so does the last, also where
    nobody knows its step before, as where minutes end the run. 0: none does."""
    is_last = not plan.eval_steps or step % plan.eval_steps > 0 or step == plan.max_steps
    return probe_every > 0 and (is_last or step // plan.eval_steps % probe_every == 0)


def in_words(found: Mapping[str, float]) -> list[str]:
    """What the console says of what was measured, if it was."""
    if "eval_feature_spread" not in found:
        return []
    lines = [beside_baseline("eval_knn_accuracy", found)] if "eval_knn_accuracy" in found else []
    rank, spread = found["eval_effective_rank"], found["eval_feature_spread"]
    collapsed = "; the features have collapsed: all pictures are alike to it" if spread < COLLAPSED else ""
    return [*lines, f"effective_rank {rank:.1f}, feature_spread {spread:.3g}{collapsed}"]
