"""Word vectors for tasks: they are frozen, and a BiLSTM with attention learns to read them.

The baseline of Wang et al. 2018 (networks/bilstm.py) on static vectors, one for each word wherever it stands: the row
above ELMo's. What frames the texts, such as a delimiter, has no vector that was learnt, and is left out.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout, layer_norm
from transformers import PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput

from networks.bilstm import TextClassifier, begin
from networks.elmo_tasks import behind_the_first, tokens_first
from networks.word_vectors import WordVectors, WordVectorsConfig


class WordVectorsForSequenceClassification(PreTrainedModel):
    """A label or a score of a text, or of a pair."""

    config: WordVectorsConfig
    config_class = WordVectorsConfig
    base_model_prefix = "word_vectors"

    def __init__(self, config: WordVectorsConfig):
        super().__init__(config)
        self.word_vectors = WordVectors(config).requires_grad_(False)
        self.classifier = TextClassifier(config, config.hidden_size)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        begin(module)

    def train(self, mode: bool = True) -> "WordVectorsForSequenceClassification":
        """transformers asks for `eval()` once it has put saved weights in the place of the frozen ones: these are
        frozen, too."""
        super().train(mode)
        self.word_vectors.requires_grad_(False)
        return self

    def get_input_embeddings(self) -> nn.Module:
        return self.word_vectors.words

    def resize_token_embeddings(self, new_num_tokens: int | None = None, *_: Any, **__: Any) -> nn.Embedding:
        """Make room for tokens that frame texts, whose vectors are not read."""
        self.config.vocab_size = size = new_num_tokens or self.config.vocab_size
        for table in self.word_vectors.children():
            if isinstance(table, nn.Embedding):
                more = table.weight.new_zeros(size - len(table.weight), table.embedding_dim)
                table.weight = nn.Parameter(torch.cat([table.weight.detach(), more]), requires_grad=False)
                table.num_embeddings = size
        return self.word_vectors.words

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        labels: Tensor | None = None,
        **_: Any,
    ) -> SequenceClassifierOutput:
        """input_ids (B, T): a text, or two with a token between them that frames texts."""
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        frames = torch.isin(input_ids, input_ids.new_tensor(self.config.frame_token_ids or [])) & (mask > 0)
        ids, words = input_ids, mask * ~frames
        if self.classifier.pairs:
            second = behind_the_first(frames, mask)
            ids, words = torch.cat([ids, ids]), torch.cat([words * ~second, words * second])
        ids, words = tokens_first(ids, words, len(ids) // len(input_ids))
        return self.classifier.answer(self.read(ids), words, labels)

    def read(self, ids: Tensor) -> Tensor:
        """The vectors (B, T, D) of words. All are made as long as each other: fresh ones, which are a hundred times as
        short as trained ones, would be nothing to the BiLSTM, and a poor control."""
        found = self.word_vectors(ids).last_hidden_state
        found = layer_norm(found, found.shape[-1:], eps=1e-12)
        return dropout(found, self.config.feature_dropout, self.training)
