"""Into which of Q colours does a pixel fall, and which colour is meant by a guess over them?  The bins of ab.

Zhang et al. 2016, "Colorful Image Colorization" (arXiv 1603.08511), sections 2.1 to 2.3, and the authors' code: the
plane of a and b is cut into squares of 10 x 10, of which those that occur are the bins. A pixel's target is spread over
the 10 bins nearest to it, by a Gaussian of 5. Rare colours weigh more in training, or all pictures would turn out grey.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from networks.lab import rgb_to_lab

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]

GRID = 10  # the side of a bin
SIGMA = 5.0  # of the Gaussian that spreads a target
NEAREST = 10  # bins that a target is spread over
REACH = 110  # a and b of sRGB lie within
CELL = 5  # the side of a square whose pixels look for their bins together


@dataclass(frozen=True)
class Bins:
    """Q colours, and how common each is."""

    centers: Ints  # (Q, 2) a and b, in rising order
    prior: Floats  # (Q,) sums to 1

    def __len__(self) -> int:
        return len(self.prior)

    @staticmethod
    def around(ab: npt.NDArray[Any], share: npt.NDArray[Any] | None = None) -> "Bins":
        """The bins in which the colours `ab` (M, 2) fall. The prior is the mean of the colours' targets, each counting
        `share` (M,); that smooths it."""
        centers = np.unique(np.rint(ab / GRID).astype(np.int64), axis=0) * GRID
        bins = Bins(centers, np.zeros(len(centers), np.float32))
        share = np.ones(len(ab)) if share is None else share
        return Bins(centers, bins.mean_target(ab, share))

    @staticmethod
    def of_gamut() -> "Bins":
        """All that sRGB can show, equally common: where no pictures say more."""
        steps = np.arange(0, 256, 15).astype(np.uint8)
        every = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(-1, 3)
        centers = Bins.around(rgb_to_lab(every)[:, 1:]).centers
        return Bins(centers, np.full(len(centers), 1 / len(centers), np.float32))

    def encode(self, ab: npt.NDArray[Any]) -> tuple[Ints, Floats]:
        """The targets of the colours `ab` (M, 2): bins, nearest first, and their shares, both (M, K)."""
        cell = ((ab + REACH) // CELL).clip(0, 2 * REACH // CELL - 1).astype(np.int64)
        near = self._candidates[cell[:, 0], cell[:, 1]]  # (M, C)
        a, b = self.centers.T.astype(np.float32)
        apart = (ab[:, :1] - a[near]) ** 2 + (ab[:, 1:] - b[near]) ** 2
        found = torch.from_numpy(apart).topk(min(NEAREST, len(self)), dim=1, largest=False)
        shares = (-found.values / (2 * SIGMA**2)).softmax(1)
        return np.take_along_axis(near, found.indices.numpy(), 1), shares.numpy()

    def mean_target(self, ab: npt.NDArray[Any], share: npt.NDArray[Any]) -> Floats:
        """The mean (Q,) of the targets of `ab` (M, 2), each counting `share` (M,)."""
        bins, shares = self.encode(ab.astype(np.float32))
        total = np.bincount(bins.ravel(), (shares * share[:, None]).ravel(), len(self))
        return (total / max(total.sum(), 1e-12)).astype(np.float32)

    def weights(self, rebalance: float) -> Floats:
        """How much a pixel of each bin weighs (Q,): 1 / (prior, mixed with a share `rebalance` of all alike), so that
        the mean over the prior is 1."""
        mixed = (1 - rebalance) * self.prior + rebalance / len(self)
        weights = 1 / np.maximum(mixed, 1e-12)
        return (weights / (self.prior * weights).sum()).astype(np.float32)

    @cached_property
    def _candidates(self) -> Ints:
        """For each cell of the plane, all bins that are among the nearest of some point in it: (44, 44, C)."""
        middle = np.arange(-REACH, REACH, CELL) + CELL / 2
        points = np.stack(np.meshgrid(middle, middle, indexing="ij"), axis=-1)
        apart = np.hypot(*np.moveaxis(points[:, :, None] - self.centers, -1, 0))  # (44, 44, Q)
        order = np.argsort(apart, axis=-1, kind="stable")
        ranked = np.take_along_axis(apart, order, -1)
        last = ranked[:, :, min(NEAREST, len(self)) - 1, None]
        most = int((ranked <= last + CELL * np.sqrt(2)).sum(-1).max())
        return order[:, :, :most]


def annealed_mean(logits: Tensor, centers: Tensor, temperature: float) -> Tensor:
    """The colours (..., 2) meant by `logits` (..., Q) over bins at `centers` (Q, 2): their mean at temperature 1, the
    likeliest bin at 0, and between them livelier than the mean and more even than the likeliest (section 2.3)."""
    if temperature == 0:
        return centers[logits.argmax(-1)]
    return (logits.float() / temperature).softmax(-1) @ centers
