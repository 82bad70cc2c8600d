"""On which side of a plane does a box lie?  A linear SVM, with the squared hinge loss, solved in the primal.

R-CNN's code has the plain hinge loss and solves the dual, which takes many thousand steps here: features of boxes are
all alike, and positives few. The squared loss is smooth, so that L-BFGS finds its one minimum in some dozen steps.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

from probe.detection.boxes import Floats

COST, POSITIVE_WEIGHT, BIAS = 1e-3, 2.0, 10.0  # of the errors; of a positive's; of the constant feature
MOST_STEPS = 1_000
CLOSE = 1e-5  # to a gradient of zero, as a share of that of a plane of zeros
TOO_FAR = 1e-4  # from it; scores are fp32, whose rounding may end the search a little before CLOSE


@dataclass(frozen=True)
class Plane:
    """A box scores weights @ features + bias: 1 or more is what a positive should have, -1 or less a negative."""

    weights: Floats  # (D,)
    bias: float
    is_best: bool = True  # False: the solver stopped on its way

    @staticmethod
    def of_nothing(size: int) -> "Plane":
        return Plane(np.zeros(size), 0.0)


def fit(positives: npt.NDArray[np.float32], negatives: npt.NDArray[np.float32], start: Plane) -> Plane:
    """The plane with the least loss between `positives` (P, D) and `negatives` (N, D), looked for from `start`.

    The loss: w @ w / 2 + COST * the sum of max(0, 1 - answer * score)^2, twice for positives. `w` has the weights and
    the bias as the weight of a feature that is always BIAS.
    """
    examples = np.concatenate([positives, negatives])
    answers = np.where(np.arange(len(examples)) < len(positives), 1.0, -1.0)
    costs = COST * np.where(answers > 0, POSITIVE_WEIGHT, 1.0)

    def judge(plane: Floats) -> tuple[float, Floats]:
        """The loss, and its gradient."""
        scores = examples @ plane[:-1].astype(np.float32) + BIAS * plane[-1]
        errors = np.maximum(0, 1 - answers * scores)
        slopes = -2 * costs * answers * errors  # of the loss, by score
        gradient = np.append(slopes.astype(np.float32) @ examples, BIAS * slopes.sum())
        return float(plane @ plane / 2 + costs @ errors**2), plane + gradient

    nothing = np.abs(judge(np.zeros(examples.shape[1] + 1))[1]).max()
    options = {"maxiter": MOST_STEPS, "maxfun": 2 * MOST_STEPS, "gtol": CLOSE * nothing, "ftol": 0.0}
    found = minimize(judge, np.append(start.weights, start.bias / BIAS), jac=True, method="L-BFGS-B", options=options)
    is_best = bool(np.abs(found.jac).max() <= TOO_FAR * nothing)
    return Plane(found.x[:-1], BIAS * float(found.x[-1]), is_best)
