"""How fast does it learn at this moment?  The learning rate as a share of its peak, a function of how much is done.

The learning-rate scheduler: linear, cosine, constant with warm-up, and WSD. It is computed from the position, never
stepped: nothing counts calls or processes, and a resume needs no state.
"""

import math
from dataclasses import dataclass
from typing import Literal

Decay = Literal["linear", "cosine", "constant_with_warmup", "warmup_stable_decay"]


@dataclass(frozen=True)
class Schedule:
    """The recipe's `schedule:` section: a linear warm-up from 0, then what `lr_scheduler_type` says.

    linear: in a line to `min_lr_ratio` (Devlin et al. 2019).

    cosine: along half a cosine to `min_lr_ratio` (Loshchilov & Hutter 2017).

    constant_with_warmup: stays at the peak.

    warmup_stable_decay: stays at the peak, then falls to `min_lr_ratio` over the last `cooldown_ratio` as 1 - sqrt
    (WSD: Hu et al. 2024, MiniCPM; Hägele et al. 2024 found it better than a line, and a fifth to be enough).
    """

    warmup_ratio: float = 0.1  # share of the whole training
    lr_scheduler_type: Decay = "linear"  # how the rate falls; transformers' names
    cooldown_ratio: float = 0.0  # share of the whole training, for warmup_stable_decay alone
    min_lr_ratio: float = 0.0  # share of the peak that is left at the end

    def __post_init__(self) -> None:
        if not 0 <= self.warmup_ratio <= 1:
            raise ValueError(f"warmup_ratio is {self.warmup_ratio}; it is a share of the whole training, from 0 to 1")
        if not 0 <= self.min_lr_ratio <= 1:
            raise ValueError(f"min_lr_ratio is {self.min_lr_ratio}; it is a share of the learning rate, from 0 to 1")
        kind = self.lr_scheduler_type
        if kind == "constant_with_warmup" and self.min_lr_ratio:
            raise ValueError(
                f"min_lr_ratio is {self.min_lr_ratio}, but {kind} never falls; drop it, or say lr_scheduler_type: "
                "linear"
            )
        if kind == "warmup_stable_decay" and not 0 < self.cooldown_ratio <= 1 - self.warmup_ratio:
            raise ValueError(
                f"cooldown_ratio is {self.cooldown_ratio}; {kind} needs a share above 0 that fits beside a "
                f"warmup_ratio of {self.warmup_ratio}, such as 0.2"
            )
        if kind != "warmup_stable_decay" and self.cooldown_ratio:
            raise ValueError(
                f"cooldown_ratio is {self.cooldown_ratio}, but {kind} has no cooldown; drop it, or take "
                "lr_scheduler_type: warmup_stable_decay"
            )

    def factor(self, done: float, whole: float) -> float:
        """The share of the peak learning rate, 0 to 1, at `done` of `whole`.

        In steps, `done` counts the step at hand: the first is 1, the last is `whole`. Anything else that is counted in
        small units, such as seconds or FLOPs, does as well; what is beyond `whole` is as the end. The warm-up gives a
        step the rate at its end, so that the first is not wasted, the decay the rate at its beginning, so that the last
        is not. (transformers gives both the rate at the beginning, and so lags by one step in the warm-up.)
        """
        warmup = round(self.warmup_ratio * whole)
        if done < warmup:
            return done / warmup
        to_go = whole - min(done, whole) + 1
        left = min(1.0, to_go / max(whole - warmup, 1))  # share of the decay
        fall = {
            "linear": lambda: left,
            "cosine": lambda: (1 - math.cos(math.pi * left)) / 2,
            "constant_with_warmup": lambda: 1.0,
            "warmup_stable_decay": lambda: (
                1 - math.sqrt(1 - min(1.0, to_go / max(round(self.cooldown_ratio * whole), 1)))
            ),
        }
        return self.min_lr_ratio + (1 - self.min_lr_ratio) * fall[self.lr_scheduler_type]()
