"""Which label does a text have, or a pair?  The BiLSTM with attention of the GLUE paper, over features of any origin.

Wang et al. 2018, "GLUE" (arXiv 1804.07461), section 5: each text is read by a BiLSTM; of a pair, each place of one text
attends to all of the other (Seo et al. 2016, arXiv 1611.01603), and a second BiLSTM reads both; the largest value of
each feature over a text is the text, u, and an MLP judges [u; v; |u - v|; u * v], or u alone.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, dropout, mse_loss
from transformers import initialization as init
from transformers.modeling_outputs import SequenceClassifierOutput

from networks.lstm import Gates, LSTMLayer, placed


@torch.no_grad()
def begin(module: nn.Module) -> None:
    """Draw the weights of a layer: an LSTM's as PyTorch has them, a linear layer's so that it keeps the variance."""
    if isinstance(module, Gates):
        bound = (module.out_features / 4) ** -0.5
        init.uniform_(module.weight, -bound, bound)
        init.uniform_(module.bias, -bound, bound)
    elif isinstance(module, nn.Linear):
        init.normal_(module.weight, 0, module.in_features**-0.5)
        init.zeros_(module.bias)


class BiLSTM(nn.Module):
    """Layers that read a text from both sides, each all that the one below it says."""

    def __init__(self, input_size: int, hidden_size: int, num_layers: int):
        super().__init__()
        sizes = [input_size] + [2 * hidden_size] * (num_layers - 1)
        self.layers = nn.ModuleList(BothWays(size, hidden_size) for size in sizes)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """x (B, T, I) to (B, T, 2 H). Padding, where `mask` (B, T) is 0, is behind the tokens, and changes nothing."""
        for layer in self.layers:
            x = layer(x, mask)
        return x


class BothWays(nn.Module):
    """One layer of them."""

    def __init__(self, input_size: int, hidden_size: int):
        super().__init__()
        self.from_left = LSTMLayer(input_size, hidden_size, weight_drop=0.0)
        self.from_right = LSTMLayer(input_size, hidden_size, weight_drop=0.0)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        order = backwards(mask)
        back, _ = self.from_right(placed(x, order))
        return torch.cat([self.from_left(x)[0], placed(back, order)], -1)


class TextClassifier(nn.Module):
    """From the features of texts, or of pairs of texts, to logits: labels, or a score where there is one label. Its
    sizes are those of `config`, whose `text_columns` says whether it reads pairs."""

    def __init__(self, config: Any, feature_size: int):
        super().__init__()
        hidden_size, self.dropout, self.num_labels = config.encoder_size, config.classifier_dropout, config.num_labels
        self.pairs = config.text_columns is None or len(config.text_columns) == 2
        self.encoder = BiLSTM(feature_size, hidden_size, config.encoder_layers)
        self.modelling = BiLSTM(4 * hidden_size, hidden_size, 1) if self.pairs else None
        self.hidden = nn.Linear((8 if self.pairs else 2) * hidden_size, config.classifier_size)
        self.output = nn.Linear(config.classifier_size, config.num_labels or 1)

    def answer(self, x: Tensor, mask: Tensor, labels: Tensor | None) -> SequenceClassifierOutput:
        """The logits of features, and their loss if the right answers `labels` (B,) are given."""
        logits, loss = self(x, mask), None
        if labels is not None:
            is_score = self.num_labels == 1
            loss = mse_loss(logits.squeeze(-1), labels.float()) if is_score else cross_entropy(logits, labels)
        return SequenceClassifierOutput(loss=loss, logits=logits)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """x (N, T, F), with `mask` (N, T) 1 where tokens are, from the first place on, to (B, labels). Of pairs there
        are all first texts and then all second ones, N = 2 B; a second text may be empty."""
        x = self.encoder(x, mask)
        if self.modelling is None:
            found = most(x, mask)
        else:
            x = self._dropped(torch.cat([x, attend(x, mask)], -1))
            u, v = most(self.modelling(x, mask), mask).chunk(2)
            found = torch.cat([u, v, (u - v).abs(), u * v], -1)
        return self.output(self._dropped(self.hidden(self._dropped(found)).tanh()))

    def _dropped(self, x: Tensor) -> Tensor:
        return dropout(x, self.dropout, self.training)


def attend(x: Tensor, mask: Tensor) -> Tensor:
    """What each place of a text finds in the other text of its pair, and nothing in an empty one: x (2 B, T, H) to the
    same shape."""
    (u, v), (u_mask, v_mask) = x.chunk(2), mask.chunk(2)
    alike = u @ v.transpose(1, 2)  # (B, T, T)
    lowest = torch.finfo(alike.dtype).min
    of_v = alike.masked_fill(v_mask[:, None] == 0, lowest).softmax(2)
    of_u = alike.masked_fill(u_mask[:, :, None] == 0, lowest).softmax(1)
    return torch.cat([of_v @ (v * v_mask[..., None]), of_u.transpose(1, 2) @ (u * u_mask[..., None])])


def most(x: Tensor, mask: Tensor) -> Tensor:
    """The largest value of each feature of x (B, T, H) over the tokens: (B, H); zero for a text without any."""
    found = x.masked_fill(mask[:, :, None] == 0, torch.finfo(x.dtype).min).amax(1)
    return torch.where(mask.any(1, keepdim=True), found, 0.0)


def backwards(mask: Tensor) -> Tensor:
    """The order (B, T) that turns each row's tokens round, and leaves the padding behind them; it undoes itself."""
    column, length = torch.arange(mask.shape[1], device=mask.device), mask.sum(1, keepdim=True)
    return torch.where(column < length, length - 1 - column, column)
