"""What does a tokenizer's recipe say?"""

from dataclasses import dataclass
from pathlib import Path

from corpus.text.source import Source
from engine.run.recipe import check_least, check_name
from tokenizer.learn import Learner


@dataclass(frozen=True)
class TokenizerRecipe:
    """One tokenizer."""

    name: str  # the tokenizer is runs/NAME/tokenizer
    sources: tuple[Source, ...]
    vocabulary: Learner
    model_max_length: int = 512  # tokens; where the tokenizer truncates when it is asked to
    max_bytes: int | None = None  # of text to learn from, spread over all sources; None: all of it
    held_out: float = 0.01  # share of the documents, chosen by a hash of their ids, that only the report sees
    compare: str | None = None  # a folder or Hub id: another tokenizer to set beside this one in the report
    runs: Path = Path("runs")  # the result is runs/NAME
    overwrite: bool = False  # replace the tokenizer that runs/NAME holds

    def __post_init__(self) -> None:
        check_name(self.name)
        if not self.sources:
            raise ValueError("sources is empty; name at least one")
        sources = tuple(source.wanting(self.vocabulary.whitespace) for source in self.sources)
        object.__setattr__(self, "sources", sources)  # the result's recipe says what was chosen
        if not 0 <= self.held_out < 1:
            raise ValueError(f"held_out is {self.held_out}; it is a share of the documents, from 0 to below 1")
        check_least(self, 1, "model_max_length")
        if self.max_bytes is not None and self.max_bytes < 1:
            raise ValueError(f"max_bytes is {self.max_bytes}; give a number of bytes, or leave it out to read all text")
