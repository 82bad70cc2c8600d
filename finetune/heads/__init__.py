"""The heads by the name that a task gives them."""

from finetune.head import Head
from finetune.heads.choice import Choice
from finetune.heads.span import SpanHead
from finetune.heads.text import Classification, Regression
from finetune.heads.words import Tagging

HEADS: dict[str, Head] = {
    "classification": Classification(),
    "regression": Regression(),
    "choice": Choice(),
    "tagging": Tagging(),
    "span": SpanHead(),
}
