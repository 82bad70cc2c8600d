"""Can a line part the classes?  A linear probe: logistic regression on frozen features.

Not by SGD, whose learning rate would have to be tried for each network: the loss is convex, and L-BFGS finds its
minimum. Features are standardised, and the penalty is the best on a fifth of the training pictures.
"""

from dataclasses import dataclass

from torch import Tensor

from engine.train.features import LinearProbe
from probe.pictures import Classify, PictureProbe


@dataclass(frozen=True, kw_only=True)
class Linear(PictureProbe):
    """Multinomial logistic regression."""

    def learn(self, features: Tensor, labels: Tensor) -> tuple[Classify, float]:
        probe = LinearProbe(features, labels)
        return probe, probe.unseen_accuracy
