"""ELMo's features for tasks: the pretrained network is frozen, and a BiLSTM learns to read what it says.

Peters et al. 2018, section 3.2: of each token gamma * sum(s_j h_j), where h_j are the layers, s is a softmax and gamma
a number, both learnt with the task. Labels of texts and pairs by the BiLSTM with attention of Wang et al. 2018
(networks/bilstm.py), tags of words by a BiLSTM alone.

What frames the texts, such as [CLS] or a delimiter, ELMo reads as the separator that it was pretrained with: so each
text stands between two separators, as documents did, and each text of a pair is read by itself.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, dropout
from transformers import initialization as init
from transformers.modeling_outputs import SequenceClassifierOutput, TokenClassifierOutput

from networks.bilstm import BiLSTM, TextClassifier
from networks.elmo import FRAMES, ElmoConfig, ElmoModel, ElmoPreTrainedModel, is_outline, numbered


class ScalarMix(nn.Module):
    """gamma * sum(s_j h_j) of L layers h_j (B, T, F)."""

    def __init__(self, num_layers: int):
        super().__init__()
        self.weights = nn.Parameter(torch.zeros(num_layers))
        self.gamma = nn.Parameter(torch.ones(1))

    def forward(self, layers: list[Tensor]) -> Tensor:
        shares = self.weights.softmax(0)
        return self.gamma * torch.stack([share * layer for share, layer in zip(shares, layers, strict=True)]).sum(0)


class ElmoForTask(ElmoPreTrainedModel):
    """A frozen ELMo and what is made of its layers; `config.features` says which of them."""

    def __init__(self, config: ElmoConfig):
        super().__init__(config)
        self.elmo = ElmoModel(config).requires_grad_(False)
        self.feature_size = config.projection_size * (2 if config.features == "both" else 1)
        if config.features == "none":
            self.embeddings = nn.Embedding(config.vocab_size, config.projection_size)
        else:
            self.mix = ScalarMix(1 if config.features == "static" else 1 + config.num_hidden_layers)

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, ScalarMix):
            init.zeros_(module.weights)
            init.constant_(module.gamma, 1)

    def train(self, mode: bool = True) -> "ElmoForTask":
        """What is frozen has no dropout either. transformers asks for `eval()` once it has put saved weights in the
        place of the frozen ones: these are frozen, too."""
        super().train(mode)
        self.elmo.requires_grad_(False).eval()
        return self

    def resize_token_embeddings(self, new_num_tokens: int | None = None, *_: Any, **__: Any) -> nn.Embedding:
        """Make room for more tokens, which frame texts."""
        before, table = self.config.vocab_size, self.elmo.tokens
        self.config.vocab_size = after = new_num_tokens or before
        more = numbered(before, after, table.characters.shape[1]).to(table.characters.device)
        more[:, 0] = FRAMES
        table.characters = torch.cat([table.characters, more])
        if self.config.features == "none":
            weight = self.embeddings.weight.detach()
            self.embeddings = nn.Embedding.from_pretrained(torch.cat([weight, weight[: after - before]]), freeze=False)
        return table.embedding

    def read(self, ids: Tensor, mask: Tensor) -> Tensor:
        """The features (B, T, F) of rows of tokens, which are read from separator to separator."""
        return dropout(self._features(ids, mask), self.config.feature_dropout, self.training)

    def _features(self, ids: Tensor, mask: Tensor) -> Tensor:
        if self.config.features == "none":
            return self.embeddings(ids)
        with torch.no_grad():
            if self.config.features == "static":
                layers: tuple[Tensor, ...] = (self.elmo.tokens(ids),)
            else:
                layers = self.elmo(ids, mask, output_hidden_states=True).hidden_states or ()
        width = self.config.projection_size
        side = {"forward": slice(width), "backward": slice(width, None)}.get(self.config.features, slice(None))
        return self.mix([layer[..., side] for layer in layers])

    def framed_alike(self, input_ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """The ids with the separator of the pretraining for all that frames texts, and where that is (B, T)."""
        frames = self.elmo.is_frame(input_ids) & (mask > 0)
        separator = self.config.separator_token_id
        return (input_ids if separator is None else input_ids.masked_fill(frames, separator)), frames


class ElmoForSequenceClassification(ElmoForTask):
    """A label or a score of a text, or of a pair."""

    def __init__(self, config: ElmoConfig):
        super().__init__(config)
        self.classifier = TextClassifier(config, self.feature_size)
        self.post_init()

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        labels: Tensor | None = None,
        **_: Any,
    ) -> SequenceClassifierOutput:
        """input_ids (B, T): a text, or two with something between them that frames texts. `token_type_ids` (B, T) are 1
        in the second one; without them what frames texts tells the two apart."""
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        ids, frames = self.framed_alike(input_ids, mask)
        if self.classifier.pairs:
            second = behind_the_first(frames, mask) if token_type_ids is None else (token_type_ids == 1) & (mask > 0)
            masks = [mask * ~second, with_one_before(second)]
            ids, mask = torch.cat([ids, ids]), torch.cat([own.to(mask.dtype) for own in masks])
        ids, mask = tokens_first(ids, mask, len(ids) // len(input_ids))
        return self.classifier.answer(self.read(ids, mask), mask, labels)


class ElmoForTokenClassification(ElmoForTask):
    """A label of each token."""

    def __init__(self, config: ElmoConfig):
        super().__init__(config)
        self.encoder = BiLSTM(self.feature_size, config.encoder_size, config.encoder_layers)
        self.classifier = nn.Linear(2 * config.encoder_size, config.num_labels or 1)
        self.post_init()

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        **_: Any,
    ) -> TokenClassifierOutput:
        """input_ids (B, T) to logits (B, T, labels); padding stands behind the tokens."""
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        ids, _frames = self.framed_alike(input_ids, mask)
        states = self.encoder(self.read(ids, mask), mask)
        logits = self.classifier(dropout(states, self.config.classifier_dropout, self.training))
        loss = None if labels is None else cross_entropy(logits.flatten(0, 1), labels.flatten())
        return TokenClassifierOutput(loss=loss, logits=logits)


def behind_the_first(frames: Tensor, mask: Tensor) -> Tensor:
    """Which places (B, T) stand behind the frame that ends the first text: the second one, and what ends it."""
    leading = frames.gather(1, mask.argmax(1, keepdim=True)).long()  # whether a frame stands before the first text
    before = frames.cumsum(1) - frames.long()  # frames to the left of each place
    return (before - leading > 0) & (mask > 0)


def with_one_before(places: Tensor) -> Tensor:
    """`places` (B, T), and the one to the left of each."""
    found = places.clone()
    found[:, :-1] |= places[:, 1:]
    return found


def tokens_first(ids: Tensor, mask: Tensor, texts: int = 1) -> tuple[Tensor, Tensor]:
    """The tokens of each row (B, T) without gaps from the first place on, and no wider than the longest row. In an
    outline, which has no lengths, the `texts` that a row was split into are taken to be equally long."""
    order = torch.argsort(mask, dim=1, descending=True, stable=True)
    longest = -(-mask.shape[1] // texts) if is_outline(mask) else max(1, int(mask.sum(1).max()))
    return ids.gather(1, order)[:, :longest], mask.gather(1, order)[:, :longest]
