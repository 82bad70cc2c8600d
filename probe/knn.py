"""Are the nearest pictures of the same class?  Weighted kNN on frozen features (Wu et al. 2018)."""

from dataclasses import dataclass

from torch import Tensor

from engine.run.recipe import check_least
from engine.train.features import divide, predict_nearest
from probe.pictures import Classify, PictureProbe, share_right


@dataclass(frozen=True, kw_only=True)
class Knn(PictureProbe):
    """The `k` nearest pictures by cosine vote, each with exp(cosine / temperature). Nothing is trained."""

    k: int = 200
    temperature: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_least(self, 1, "k")
        if not self.temperature > 0:
            raise ValueError(f"temperature is {self.temperature}; it is above 0, such as 0.1")

    def learn(self, features: Tensor, labels: Tensor) -> tuple[Classify, float]:
        def vote(known: Tensor, classes: Tensor) -> Classify:
            return lambda asked: predict_nearest(known, classes, asked, self.k, self.temperature)

        seen, unseen = divide(len(labels))
        right = share_right(vote(features[seen], labels[seen])(features[unseen]), labels[unseen])
        return vote(features, labels), right

    def flat(self, maps: Tensor) -> Tensor:
        return maps.mean((2, 3))
