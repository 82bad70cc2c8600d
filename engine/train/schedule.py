"""How fast does it learn at this moment?  The learning rate as a share of its peak, a function of how much is done.

It is computed from the position, never stepped: nothing counts calls or processes, and a resume needs no state.
"""

import math
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Schedule:
    """The recipe's `schedule:` section: a linear warm-up from 0, then what `decay` says.

    linear    to the floor in a line (Devlin et al. 2019)
    cosine    to the floor along half a cosine (Loshchilov & Hutter 2017)
    constant  stays at the peak
    wsd       warm-up, stable, decay (Hu et al. 2024, MiniCPM): stays at the peak, then falls to the floor over the last
              `cooldown_rate` as 1 - sqrt (Hägele et al. 2024 found it better than a line, and a fifth to be enough)
    """

    warmup_rate: float = 0.1  # share of the whole
    decay: Literal["linear", "cosine", "constant", "wsd"] = "linear"
    cooldown_rate: float = 0.0  # share of the whole, for wsd alone
    floor: float = 0.0  # share of the peak at the end

    def __post_init__(self) -> None:
        if not 0 <= self.warmup_rate <= 1:
            raise ValueError(f"warmup_rate is {self.warmup_rate}; it is a share of the whole training, from 0 to 1")
        if not 0 <= self.floor <= 1:
            raise ValueError(f"floor is {self.floor}; it is a share of the peak learning rate, from 0 to 1")
        if self.decay == "constant" and self.floor:
            raise ValueError(f"floor is {self.floor}, but decay: constant never falls; drop it, or take decay: linear")
        if self.decay == "wsd" and not 0 < self.cooldown_rate <= 1 - self.warmup_rate:
            raise ValueError(
                f"cooldown_rate is {self.cooldown_rate}; decay: wsd needs a share above 0 that fits beside a "
                f"warmup_rate of {self.warmup_rate}, such as 0.2"
            )
        if self.decay != "wsd" and self.cooldown_rate:
            raise ValueError(
                f"cooldown_rate is {self.cooldown_rate}, but decay: {self.decay} has no cooldown; drop it, or take "
                "decay: wsd"
            )

    def factor(self, done: float, whole: float) -> float:
        """The share of the peak learning rate, 0 to 1, at `done` of `whole`.

        In steps, `done` counts the step at hand: the first is 1, the last is `whole`. Anything else that is counted in
        small units, such as seconds or FLOPs, does as well; what is beyond `whole` is as the end. The warm-up gives a
        step the rate at its end, so that the first is not wasted, the decay the rate at its beginning, so that the last
        is not. (transformers gives both the rate at the beginning, and so lags by one step in the warm-up.)
        """
        warmup = round(self.warmup_rate * whole)
        if done < warmup:
            return done / warmup
        to_go = whole - min(done, whole) + 1
        left = min(1.0, to_go / max(whole - warmup, 1))  # share of the decay
        fall = {
            "linear": lambda: left,
            "cosine": lambda: (1 - math.cos(math.pi * left)) / 2,
            "constant": lambda: 1.0,
            "wsd": lambda: 1 - math.sqrt(1 - min(1.0, to_go / max(round(self.cooldown_rate * whole), 1))),
        }
        return self.floor + (1 - self.floor) * fall[self.decay]()
