"""What does a person fill in on the page?  The boxes for texts, numbers, pictures and stages of a network."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Text:
    """A text that a person writes."""

    label: str
    value: str
    lines: int = 2
    for_pairs: bool = False  # shown where a model may read pairs, filled where one does
    line_each: bool = False  # several texts, a line each
    without_gap: str = ""  # the example for models that fill no gaps, where that is another one


@dataclass(frozen=True)
class Number:
    """A number that a person slides."""

    label: str
    value: float
    low: float
    high: float
    step: float


@dataclass(frozen=True)
class Drop:
    """A picture that a person drops or chooses."""

    label: str


@dataclass(frozen=True)
class Stage:
    """A stage of a network that a person chooses, the last one at first."""

    label: str


Box = Text | Number | Drop | Stage
