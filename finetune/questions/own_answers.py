"""How do the user's own files hold the answers to a kind of question?  The labels of the tasks own/…"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from datasets import List, Value

from finetune.tasks.fields import Fields, clean_text, to_choices, to_words


@dataclass(frozen=True)
class Column:
    """How a field of a column is read, and as what it is kept."""

    read: Callable[[Any], Any]
    feature: Any
    is_optional: bool = False


TEXT = Value("string")
TEXTS = {"text": Column(clean_text, TEXT), "text_pair": Column(clean_text, TEXT, is_optional=True)}
CHOICES = {
    "text": Column(clean_text, TEXT, is_optional=True),
    "choices": Column(lambda value: [clean_text(choice) for choice in to_choices(value)], List(TEXT)),
}
WORDS = {"words": Column(lambda value: [clean_text(word) for word in to_words(value)], List(TEXT))}


class OwnAnswers(ABC):
    """The task own/NAME. An answer is first read as the file has it, then encoded as a number of the labels."""

    name: ClassVar[str]
    columns: ClassVar[Mapping[str, Column]]  # by the names that a recipe gives them
    answer: ClassVar[str] = "label"  # what a recipe calls the column of answers
    metric: ClassVar[str]
    headline: ClassVar[str]
    is_by_word: ClassVar[bool] = False  # whether files may have a word a line, their columns named by numbers

    @abstractmethod
    def read(self, value: Any, row: Fields) -> Any:
        """An answer, from its field and the row's other fields. Errors: ValueError."""

    @abstractmethod
    def feature(self, labels: Sequence[str]) -> Any:
        """The type of the column of encoded answers."""

    def labels_in(self, answer: Any) -> set[str]:
        """The labels that a row's answer holds."""
        return set()

    def list_labels(self, found: set[str], rows: Sequence[Fields]) -> list[str]:
        """The task's labels in order: from those `found` in training rows, or from the rows of all splits.

        Errors: ValueError if there is nothing to learn.
        """
        return []

    def encode(self, answer: Any, code: Callable[[str], int]) -> Any:
        """An answer in numbers; `code` gives the number of a label."""
        return answer

    def find_missing(self, answers: Sequence[Any]) -> set[str]:
        """Those of a file's answers that say that there is none."""
        return set()
