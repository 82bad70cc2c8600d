"""The heads by the name that a task gives them."""

from finetune.head import Head
from finetune.heads.span import SpanHead
from finetune.heads.text import Classification, Regression
from finetune.heads.words import Tagging

HEADS: dict[str, Head] = {
    "classification": Classification(),
    "regression": Regression(),
    "tagging": Tagging(),
    "span": SpanHead(),
}
