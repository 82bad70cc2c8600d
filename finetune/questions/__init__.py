"""The heads by the name that a task gives them."""

from finetune.questions.choice import Choice
from finetune.questions.label import Classification, Regression
from finetune.questions.question import Head
from finetune.questions.span import SpanHead
from finetune.questions.tags import Tagging

HEADS: dict[str, Head] = {
    "classification": Classification(),
    "regression": Regression(),
    "choice": Choice(),
    "tagging": Tagging(),
    "span": SpanHead(),
}
