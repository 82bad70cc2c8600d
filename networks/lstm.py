"""The LSTM language model: a stack of LSTM layers reads the tokens so far, and guesses the next one.

Merity et al. 2018, "Regularizing and Optimizing LSTM Language Models" (AWD-LSTM, arXiv 1708.02182): its sizes and its
dropouts are the defaults. The output layer shares the embeddings' weights, so the last layer is as wide as they are.

Its dropouts are off outside of training, and draw from torch's global generator:

    weight_drop        recurrent weights, the same ones at all places of a batch (DropConnect; section 2)
    embedding_dropout  whole words: every occurrence of a word in the batch, or none (section 4.3)
    input_dropout, hidden_dropout, output_dropout
                       features of the embeddings, between two layers, of the last layer: the same ones at all places of
                       a row (variational dropout, Gal & Ghahramani 2016; section 4.2)
"""

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence
from transformers import GenerationMixin, PreTrainedConfig, PreTrainedModel
from transformers import initialization as init
from transformers.utils.generic import ModelOutput

DROPOUTS = ("input_dropout", "hidden_dropout", "output_dropout", "embedding_dropout", "weight_drop")


class LSTMConfig(PreTrainedConfig):
    """Sizes and dropouts of an LSTM language model. Errors: ValueError for impossible ones."""

    model_type = "lstm"
    keys_to_ignore_at_inference = ("state",)

    vocab_size: int = 33278
    embedding_size: int = 400
    hidden_size: int = 1150  # of all layers but the last, whose states are as wide as the embeddings
    num_hidden_layers: int = 3
    input_dropout: float = 0.65
    hidden_dropout: float = 0.3
    output_dropout: float = 0.4
    embedding_dropout: float = 0.1
    weight_drop: float = 0.5
    initializer_range: float = 0.1  # embeddings begin uniform between this and its negative
    use_cache: bool = True
    tie_word_embeddings: bool = True
    bos_token_id: int | None = None
    eos_token_id: int | None = None
    pad_token_id: int | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        super().__post_init__(**kwargs)
        for name in ("vocab_size", "embedding_size", "hidden_size", "num_hidden_layers"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be 1 or more")
        for name in DROPOUTS:
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it is a share from 0 to below 1, such as 0.3")


class LSTMState(NamedTuple):
    """What a model remembers of the tokens that it has read."""

    layers: tuple[tuple[Tensor, Tensor], ...]  # each layer's output and cell, (1, B, H) each
    tokens: Tensor  # (B, T) all that was read


@dataclass
class LSTMModelOutput(ModelOutput):
    last_hidden_state: Tensor | None = None  # (B, T, E)
    state: LSTMState | None = None
    hidden_states: tuple[Tensor, ...] | None = None  # embeddings, and the output of each layer; before dropout


@dataclass
class LSTMCausalLMOutput(ModelOutput):
    loss: Tensor | None = None  # mean over the tokens asked, in nats
    logits: Tensor | None = None  # (B, T, V)
    state: LSTMState | None = None
    hidden_states: tuple[Tensor, ...] | None = None


class Gates(nn.Linear):
    """What the four gates of H cells make of their input, in the order of `torch.nn.LSTM`: (B, I) to (B, 4 H)."""

    def __init__(self, input_size: int, hidden_size: int):
        super().__init__(input_size, 4 * hidden_size)


class LSTMLayer(nn.Module):
    """One layer: the weights and gates of `torch.nn.LSTM`, by its kernels (oneDNN, cuDNN)."""

    def __init__(self, input_size: int, hidden_size: int, weight_drop: float):
        super().__init__()
        self.hidden_size, self.weight_drop = hidden_size, weight_drop
        self.input = Gates(input_size, hidden_size)
        self.recurrent = Gates(hidden_size, hidden_size)

    def forward(
        self, x: Tensor, state: tuple[Tensor, Tensor] | None = None, lengths: Tensor | None = None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """x (B, T, I) to (B, T, H), and the state after each row's `lengths` tokens (B,), or after all of them."""
        if _lacks_kernel(x.device):
            with torch.autocast(x.device.type, enabled=False):
                return self._read(x.float(), state, lengths)
        return self._read(x, state, lengths)

    def _read(
        self, x: Tensor, state: tuple[Tensor, Tensor] | None, lengths: Tensor | None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        recurrent = dropout(self.recurrent.weight, self.weight_drop, self.training)
        weights = [self.input.weight, recurrent, self.input.bias, self.recurrent.bias]
        if state is None:
            zero = x.new_zeros(1, len(x), self.hidden_size)
            state = zero, zero
        options = True, 1, 0.0, torch.is_grad_enabled(), False  # biases, layers, dropout, to be differentiated, one way
        if lengths is None:
            y, output, cell = torch.lstm(x, state, weights, *options, True)
            return y, (output, cell)
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        order, back = packed.sorted_indices, packed.unsorted_indices
        assert order is not None
        assert back is not None
        state = state[0].index_select(1, order), state[1].index_select(1, order)
        data, output, cell = torch.lstm(packed.data, packed.batch_sizes, state, weights, *options)
        packed = PackedSequence(data, packed.batch_sizes, order, back)
        y, _ = pad_packed_sequence(packed, batch_first=True, total_length=x.shape[1])
        return y, (output.index_select(1, back), cell.index_select(1, back))


class LSTMPreTrainedModel(PreTrainedModel):
    config: LSTMConfig
    config_class = LSTMConfig
    base_model_prefix = "lstm"
    _is_stateful = True  # a state cannot go back to fewer tokens

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """As Merity et al. begin: embeddings uniform within `initializer_range`, layers within 1 / sqrt(H)."""
        if isinstance(module, Gates):
            bound = 1 / math.sqrt(module.out_features / 4)
            init.uniform_(module.weight, -bound, bound)
            init.uniform_(module.bias, -bound, bound)
        elif isinstance(module, nn.Embedding | nn.Linear):
            init.uniform_(module.weight, -self.config.initializer_range, self.config.initializer_range)
            if isinstance(module, nn.Linear):
                init.zeros_(module.bias)


class LSTMModel(LSTMPreTrainedModel):
    """Embeddings and the stack of layers."""

    def __init__(self, config: LSTMConfig):
        super().__init__(config)
        self.embeddings = nn.Embedding(config.vocab_size, config.embedding_size)
        widths = [config.embedding_size, *[config.hidden_size] * (config.num_hidden_layers - 1), config.embedding_size]
        self.layers = nn.ModuleList(LSTMLayer(width, out, config.weight_drop) for width, out in pairwise(widths))
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return self.embeddings

    def set_input_embeddings(self, value: nn.Embedding) -> None:  # type: ignore[override]
        self.embeddings = value

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        state: LSTMState | None = None,
        use_cache: bool | None = None,
        output_hidden_states: bool | None = None,
        **_: Any,
    ) -> LSTMModelOutput:
        """Read `input_ids` (B, T), from zero or from where `state` left off.

        Tokens whose `attention_mask` is 0 are passed over wherever they stand; their places hold states of no meaning.
        The mask is (B, T), or longer where it covers the tokens that were read before too.
        """
        config, training = self.config, self.training
        order = lengths = None
        if attention_mask is not None:
            order, lengths = _tokens_first(attention_mask[:, -input_ids.shape[1] :])
        embedded = self.embeddings(input_ids)  # (B, T, E)
        x = embedded if order is None else placed(embedded, order)
        if training and config.embedding_dropout:
            words = dropout(x.new_ones(config.vocab_size), config.embedding_dropout)  # (V,)
            x = x * words[input_ids if order is None else input_ids.gather(1, order)].unsqueeze(-1)
        x = variational_dropout(x, config.input_dropout, training)
        states, outputs = [], []
        for number, layer in enumerate(self.layers):
            x, after = layer(x, state.layers[number] if state else None, lengths)
            states.append(after)
            outputs.append(x)
            is_last = number == len(self.layers) - 1
            x = variational_dropout(x, config.output_dropout if is_last else config.hidden_dropout, training)
        if order is not None:
            x, *outputs = (placed(values, order.argsort(1)) for values in (x, *outputs))
        keeps = config.use_cache if use_cache is None else use_cache
        tokens = torch.cat([state.tokens, input_ids], 1) if state else input_ids
        return LSTMModelOutput(
            last_hidden_state=x,
            state=LSTMState(tuple(states), tokens) if keeps else None,
            hidden_states=(embedded, *outputs) if output_hidden_states else None,
        )


class LSTMForCausalLM(LSTMPreTrainedModel, GenerationMixin):
    """An LSTM with a guess of the next token after each."""

    _tied_weights_keys = {"lm_head.weight": "lstm.embeddings.weight"}  # noqa: RUF012, as its base class has it

    def __init__(self, config: LSTMConfig):
        super().__init__(config)
        self.lstm = LSTMModel(config)
        self.lm_head = nn.Linear(config.embedding_size, config.vocab_size)
        self.post_init()

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        state: LSTMState | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        output_hidden_states: bool | None = None,
        logits_to_keep: int = 0,
        **kwargs: Any,
    ) -> LSTMCausalLMOutput:
        """As `LSTMModel`; `labels` (B, T) are the tokens themselves, -100 where none is asked, and are shifted here.

        `logits_to_keep` is how many of the last places get logits; 0: all.
        """
        found = self.lstm(input_ids, attention_mask, state, use_cache, output_hidden_states)
        logits = self.lm_head(found.last_hidden_state[:, -logits_to_keep:])
        loss = None
        if labels is not None:
            loss = self.loss_function(logits=logits, labels=labels, vocab_size=self.config.vocab_size, **kwargs)
        return LSTMCausalLMOutput(loss=loss, logits=logits, state=found.state, hidden_states=found.hidden_states)

    def prepare_inputs_for_generation(
        self,
        input_ids: Tensor,
        state: LSTMState | None = None,
        attention_mask: Tensor | None = None,
        use_cache: bool | None = None,
        **_: Any,
    ) -> dict[str, Any]:
        """Only what the state has not read, where it has read these very tokens; else all of them."""
        read = state.tokens.shape[1] if state else 0
        if state is None or read >= input_ids.shape[1] or not torch.equal(input_ids[:, :read], state.tokens):
            state, read = None, 0
        return {
            "input_ids": input_ids[:, read:],
            "state": state,
            "attention_mask": attention_mask,
            "use_cache": use_cache,
        }

    def _update_model_kwargs_for_generation(
        self, outputs: ModelOutput, model_kwargs: dict[str, Any], *arguments: Any, **options: Any
    ) -> dict[str, Any]:
        found: dict[str, Any] = super()._update_model_kwargs_for_generation(
            outputs, model_kwargs, *arguments, **options
        )
        return found if outputs.get("state") is None else {**found, "state": outputs["state"]}

    def _reorder_cache(self, state: LSTMState, beams: Tensor) -> LSTMState:
        layers = ((output.index_select(1, beams), cell.index_select(1, beams)) for output, cell in state.layers)
        return LSTMState(tuple(layers), state.tokens.index_select(0, beams))

    @classmethod
    def _supports_default_dynamic_cache(cls) -> bool:
        return False  # keys and values are what transformers' caches hold


def _lacks_kernel(device: torch.device) -> bool:
    """Whether autocast would ask for an LSTM in a precision in which this CPU has none: then it is made in fp32."""
    on = device.type == "cpu" and torch.is_autocast_enabled("cpu")
    return on and not torch.ops.mkldnn._is_mkldnn_bf16_supported()


def variational_dropout(x: Tensor, rate: float, training: bool) -> Tensor:
    """Drop features of x (B, T, H), the same ones at all places of a row."""
    if not training or not rate:
        return x
    return x * dropout(x.new_ones(len(x), 1, x.shape[-1]), rate)


def _tokens_first(mask: Tensor) -> tuple[Tensor | None, Tensor | None]:
    """The order (B, T) that puts each row's tokens before its padding, and how many there are (B,); None for none."""
    if mask.all():
        return None, None
    return torch.argsort(mask, dim=1, descending=True, stable=True), mask.sum(1).clamp(min=1).cpu()


def placed(x: Tensor, order: Tensor) -> Tensor:
    """x (B, T, H) with the places of each row in another order (B, T)."""
    return x.gather(1, order.unsqueeze(-1).expand_as(x))
