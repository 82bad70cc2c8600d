"""What of BERT's last layer does a loss read?  The masked positions, or [CLS]; for the rest nothing is computed there.

Of the last layer's output most positions reach no loss: six of seven in masked LM, all but one in classification. Their
keys and values do, through the attention of the others; their queries, attention and feed-forward do not. Leaving these
out changes neither the loss nor a gradient.
"""

import functools
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn
from torch.nn import functional
from transformers import BertForMultipleChoice, BertForSequenceClassification, PreTrainedModel

KINDS = ("bert", "roberta", "electra")  # model types whose layers have the same parts, under the same names


def read_selectively(model: PreTrainedModel) -> PreTrainedModel:
    """Have a BERT, RoBERTa or ELECTRA understand `read`, as in model.bert(..., read=columns). Return the model.

    `columns` (B, R) say which positions of each row are asked for, and `last_hidden_state` becomes (B, R, H). Without
    `read` nothing changes, nor do the parameters and their names. A model of another kind stays as it is.
    """
    if model.config.model_type in KINDS:
        layer = _last_layer(model)
        kind: Any = type(layer)
        layer.__class__ = _selective(kind)
    return model


def reads_selectively(model: PreTrainedModel) -> bool:
    """Whether the model understands `read`."""
    return model.config.model_type in KINDS and isinstance(_last_layer(model), _Selective)


def read_first(model: PreTrainedModel) -> PreTrainedModel:
    """Have a BERT whose head reads [CLS] alone compute no other position of its last layer. Return the model.

    Any other model stays as it is. What looks into the last layer, such as at its attention, needs the usual one.
    """
    if isinstance(model, BertForSequenceClassification | BertForMultipleChoice):
        _last_layer(read_selectively(model)).reads_first = True
    return model


def columns_to_read(
    places: npt.NDArray[np.int64], shape: tuple[int, int], first: bool
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Sort `places` (M,) of the flattened (B, T), which are ascending, into rows.

    Return the columns to read (B, R), and where in the flattened (B, R) each of the M stands. With `first`, every row
    begins with column 0 ([CLS]). Rows with fewer places are filled up with column 0.
    """
    rows, columns = np.divmod(places, shape[1])
    counts = np.bincount(rows, minlength=shape[0])
    slots = np.arange(len(places)) - (np.cumsum(counts) - counts)[rows] + first
    read = np.zeros((shape[0], int(counts.max()) + first), np.int64)
    read[rows, slots] = columns
    return read, rows * read.shape[1] + slots


@functools.cache
def _selective(kind: Any) -> Any:
    return type(f"Selective{kind.__name__}", (_Selective, kind), {})


def _last_layer(model: Any) -> Any:
    return model.base_model.encoder.layer[-1]


class _Selective(nn.Module):
    """What is put before the class of a layer, whose parts are called as in BertLayer."""

    attention: Any
    feed_forward_chunk: Any
    reads_first = False  # column 0 alone, where `read` says nothing

    def forward(
        self,
        hidden_states: Tensor,
        attention_mask: Tensor | None = None,
        *arguments: Any,
        read: Tensor | None = None,
        **options: Any,
    ) -> Any:
        if read is not None:
            asked = hidden_states.gather(1, read[:, :, None].expand(-1, -1, hidden_states.shape[-1]))  # (B, R, H)
        elif self.reads_first:
            asked = hidden_states[:, :1]
        else:
            return super().forward(hidden_states, attention_mask, *arguments, **options)
        context = _attend(self.attention.self, asked, hidden_states, attention_mask)
        return self.feed_forward_chunk(self.attention.output(context, asked))


def _attend(attention: Any, asked: Tensor, states: Tensor, mask: Tensor | None) -> Tensor:
    """What `asked` (B, R, H) attends to among `states` (B, T, H); `mask` is as the model's attention takes it."""

    def heads(projected: Tensor) -> Tensor:
        return projected.unflatten(-1, (-1, attention.attention_head_size)).transpose(1, 2)

    if mask is not None:  # padding hides keys from all queries alike
        mask = mask[:, None, None].bool() if mask.ndim == 2 else mask[:, :, :1]
    found = functional.scaled_dot_product_attention(
        heads(attention.query(asked)), heads(attention.key(states)), heads(attention.value(states)), mask,
        attention.dropout.p if attention.training else 0.0, scale=attention.scaling,
    )  # fmt: skip
    return found.transpose(1, 2).flatten(-2)
