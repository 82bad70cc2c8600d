"""ELMo: two LSTM language models read a text, one from the left and one from the right, and their states are features.

Peters et al. 2018, "Deep contextualized word representations" (arXiv 1802.05365), by the sizes and details of the
authors' code (bilm-tf). The two share the characters' convolutions and the softmax, and nothing else: no layer of one
sees a state of the other, or each would be told what it is asked.

What is other than there: tokens are the entries of any vocabulary, such as WordPiece, so that BERT may have the same
one. Each is read by its characters, a word outside of the vocabulary piece by piece. The states begin at zero with each
row, where the authors' are kept from batch to batch, and a text has other features for what was read before it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor
from torch.nn.functional import dropout, embedding, pad
from transformers import PreTrainedConfig, PreTrainedModel
from transformers import initialization as init
from transformers.utils.generic import ModelOutput

from networks.bilstm import backwards, begin
from networks.lstm import placed
from networks.projected_lstm import ProjectedLSTM, Weights, read_side_by_side

# Characters: the bytes of UTF-8 (0 to 255), how a token begins, its end, and what is behind it.
BEGINS, GOES_ON, FRAMES = 256, 257, 258
END, PADDING = 259, 260
NUM_CHARACTERS = 261
HOW = {"begins": BEGINS, "goes on": GOES_ON, "frames": FRAMES}
PAPER_FILTERS = [[1, 32], [2, 32], [3, 64], [4, 128], [5, 256], [6, 512], [7, 1024]]
# Of its directions, of tokens without their context (static), or none of it: embeddings that are learnt with the task.
FEATURES = ("both", "forward", "backward", "static", "none")
SIZES = ("vocab_size", "projection_size", "cell_size", "num_hidden_layers", "encoder_size", "encoder_layers")


class ElmoConfig(PreTrainedConfig):
    """Sizes of an ELMo, the paper's where nothing is said. Errors: ValueError for impossible ones."""

    model_type = "elmo"

    vocab_size: int = 30522
    max_characters: int = 50  # that are read of a token, its beginning and end included
    character_size: int = 16  # of a character's embedding
    filters: list[list[int]] | None = None  # [width, how many] of each convolution; None: the paper's
    num_highway_layers: int = 2
    projection_size: int = 512  # of a token, and of each layer's output in each direction
    cell_size: int = 4096  # of an LSTM layer in each direction
    num_hidden_layers: int = 2
    cell_clip: float = 3.0
    projection_clip: float = 3.0
    dropout: float = 0.1  # of what each layer reads, and of what the softmax reads
    pad_token_id: int | None = None
    separator_token_id: int | None = None  # stands between two texts in pretraining
    # Of the networks that read its features for a task (networks/elmo_tasks.py)
    features: str = "both"  # see FEATURES
    feature_dropout: float = 0.5
    encoder_size: int = 1500  # of the BiLSTM in each direction
    encoder_layers: int = 2
    classifier_size: int = 512
    classifier_dropout: float = 0.2
    text_columns: list[str] | None = None  # of the task: one text, or a pair; None: not known

    def __post_init__(self, **kwargs: Any) -> None:
        super().__post_init__(**kwargs)
        if self.filters is None:
            self.filters = [list(pair) for pair in PAPER_FILTERS]
        for name in SIZES:
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be 1 or more")
        if self.max_characters < 6:
            raise ValueError(f"max_characters is {self.max_characters}; it must be 6 or more, such as 50")
        if not self.filters or not all(len(pair) == 2 and min(pair) > 0 for pair in self.filters):
            raise ValueError(f"filters is {self.filters}; it is a list of [width, how many], such as [[1, 32]]")
        if (widest := max(width for width, _ in self.filters)) > self.max_characters:
            raise ValueError(
                f"filters has a width of {widest}, and of a token only {self.max_characters} characters are read "
                "(max_characters): give narrower filters, or more characters"
            )
        for name in ("dropout", "feature_dropout", "classifier_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it is a share from 0 to below 1, such as 0.1")
        for name in ("cell_clip", "projection_clip"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be above 0")
        if self.features not in FEATURES:
            raise ValueError(f"features is {self.features!r}; it is one of {', '.join(FEATURES)}")


@dataclass
class ElmoOutput(ModelOutput):
    last_hidden_state: Tensor | None = None  # (B, T, 2 P): what the forward LSTM says, and what the backward one does
    hidden_states: tuple[Tensor, ...] | None = None  # the tokens, twice, and each layer; (B, T, 2 P) each


@dataclass
class ElmoForPreTrainingOutput(ModelOutput):
    loss: Tensor | None = None  # mean over both directions, in nats
    forward_logits: Tensor | None = None  # (B, T, V): guesses of the next token
    backward_logits: Tensor | None = None  # (B, T, V): guesses of the token before
    hidden_states: tuple[Tensor, ...] | None = None


class CharacterEncoder(nn.Module):
    """What a token's characters say of it: convolutions, the most of each over the token, highways, a projection.

    Kim et al. 2016, "Character-aware neural language models" (arXiv 1508.06615).
    """

    characters: Tensor  # (V, max_characters) int32: of every token of the vocabulary

    def __init__(self, config: ElmoConfig):
        super().__init__()
        assert config.filters is not None
        self.register_buffer("characters", numbered(0, config.vocab_size, config.max_characters))
        self.embedding = nn.Embedding(NUM_CHARACTERS, config.character_size)
        shapes, size = config.filters, sum(many for _, many in config.filters)
        self.convolutions = nn.ModuleList(nn.Conv1d(config.character_size, many, width) for width, many in shapes)
        self.highways = nn.ModuleList(Highway(size) for _ in range(config.num_highway_layers))
        self.projection = nn.Linear(size, config.projection_size)

    def forward(self, input_ids: Tensor) -> Tensor:
        """input_ids (B, T) to (B, T, P). Each token is computed once, however often it stands in the batch."""
        if is_outline(input_ids):  # at most so many
            distinct, place = input_ids.flatten()[: len(self.characters)], torch.zeros_like(input_ids)
        else:
            distinct, place = input_ids.unique(return_inverse=True)
        return embedding(place, self.encode(self.characters[distinct]))

    def encode(self, characters: Tensor) -> Tensor:
        """characters (U, max_characters) to (U, P). What stands behind a token's end changes nothing."""
        length = (characters != PADDING).sum(1)  # (U,)
        longest = characters.shape[1] if is_outline(characters) else int(length.max())
        characters = characters[:, :longest]
        behind = torch.arange(longest, device=length.device) >= length[:, None]  # windows that begin there
        widest = max(convolution.kernel_size[0] for convolution in self._convolutions)
        x = self.embedding(pad(characters, (0, widest - 1), value=PADDING)).transpose(1, 2)  # (U, C, characters)
        found = [
            convolution(x)[..., :longest].masked_fill(behind[:, None], -torch.inf).amax(-1)
            for convolution in self._convolutions
        ]
        x = torch.cat(found, -1).relu()
        for highway in self.highways:
            x = highway(x)
        return self.projection(x)

    @property
    def _convolutions(self) -> list[nn.Conv1d]:
        return [module for module in self.convolutions if isinstance(module, nn.Conv1d)]


class Gate(nn.Linear):
    """How much is transformed: little at the start."""


class Highway(nn.Module):
    """A part of each feature is carried through, the other transformed (Srivastava et al. 2015, arXiv 1505.00387)."""

    def __init__(self, size: int):
        super().__init__()
        self.transform = nn.Linear(size, size)
        self.gate = Gate(size, size)

    def forward(self, x: Tensor) -> Tensor:
        gate = self.gate(x).sigmoid()
        return gate * self.transform(x).relu() + (1 - gate) * x


class ElmoLayer(nn.Module):
    """A layer of both language models, side by side; neither reads what the other does."""

    def __init__(self, config: ElmoConfig):
        super().__init__()
        self.clips = config.cell_clip, config.projection_clip
        sizes = config.projection_size, config.cell_size, config.projection_size
        self.from_left = ProjectedLSTM(*sizes)
        self.from_right = ProjectedLSTM(*sizes)

    def forward(self, x: Tensor) -> Tensor:
        """x (2, B, T, P), the second in reverse, to the same."""
        return read_side_by_side(x, (self.from_left, self.from_right), *self.clips)


class ElmoPreTrainedModel(PreTrainedModel):
    config: ElmoConfig
    config_class = ElmoConfig
    base_model_prefix = "elmo"

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """As bilm-tf begins: forget gates are open, highways carry. But convolutions of characters keep their variance,
        where bilm-tf's make it a fiftieth: what a small network makes of so little takes long to learn from."""
        if isinstance(module, CharacterEncoder):
            init.copy_(module.characters, numbered(0, *module.characters.shape).to(module.characters.device))
            init.uniform_(module.embedding.weight, -1, 1)
        elif isinstance(module, nn.Conv1d):
            init.normal_(module.weight, 0, (module.in_channels * module.kernel_size[0] / 3) ** -0.5)  # 1/3: U(-1, 1)'s
            if module.bias is not None:
                init.zeros_(module.bias)
        elif isinstance(module, Weights):
            init.xavier_uniform_(module.weight)
            if module.bias is not None:
                only_forget = torch.eye(4)[1].repeat_interleave(module.out_features // 4)
                init.copy_(module.bias, only_forget.to(module.bias.device))
        elif isinstance(module, nn.Linear):
            begin(module)
            if isinstance(module, Gate):
                init.constant_(module.bias, -2)
        elif isinstance(module, nn.Embedding):
            init.normal_(module.weight, 0, module.embedding_dim**-0.5)


class ElmoModel(ElmoPreTrainedModel):
    """Characters, and the two stacks of LSTM layers."""

    def __init__(self, config: ElmoConfig):
        super().__init__(config)
        self.tokens = CharacterEncoder(config)
        self.layers = nn.ModuleList(ElmoLayer(config) for _ in range(config.num_hidden_layers))
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        """The nearest to it: there is no embedding of a token."""
        return self.tokens.embedding

    def spell(self, spelled: Mapping[int, tuple[str, bytes]]) -> None:
        """Set the characters of tokens: of each id how it begins, see `HOW`, and its bytes."""
        table = self.tokens.characters
        rows = {number: row(how, text, table.shape[1]) for number, (how, text) in spelled.items()}
        table[list(rows)] = torch.tensor(list(rows.values()), dtype=table.dtype, device=table.device)

    def is_frame(self, input_ids: Tensor) -> Tensor:
        """Which tokens are none of the text, but stand before, between or behind texts."""
        return self.tokens.characters[input_ids, 0] == FRAMES

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        output_hidden_states: bool | None = None,
        **_: Any,
    ) -> ElmoOutput:
        """Read `input_ids` (B, T). Tokens whose `attention_mask` is 0 are passed over wherever they stand, in both
        directions; their places hold states of no meaning."""
        config = self.config
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        orders = in_both_directions(mask)
        tokens = self.tokens(input_ids)  # (B, T, P)
        states = [torch.cat([tokens, tokens], -1)]
        x = torch.stack([placed(tokens, order) for order in orders])  # (2, B, T, P)
        for number, layer in enumerate(self.layers):
            x = dropout(x, config.dropout, self.training)
            x = layer(x) + x if number else layer(x)
            states.append(torch.cat([placed(way, order.argsort(1)) for way, order in zip(x, orders, strict=True)], -1))
        return ElmoOutput(states[-1], tuple(states) if output_hidden_states else None)


class ElmoForPreTraining(ElmoPreTrainedModel):
    """ELMo with a guess of the next token, and one of the token before, by one softmax over the whole vocabulary."""

    def __init__(self, config: ElmoConfig):
        super().__init__(config)
        self.elmo = ElmoModel(config)
        self.softmax = nn.Linear(config.projection_size, config.vocab_size)
        self.post_init()

    def get_output_embeddings(self) -> nn.Module:
        return self.softmax

    def read(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """What meets the softmax: (2, B, T, P), from the left and from the right."""
        states = self.elmo(input_ids, attention_mask).last_hidden_state
        return torch.stack(dropout(states, self.config.dropout, self.training).chunk(2, -1))

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        output_hidden_states: bool | None = None,
        **_: Any,
    ) -> ElmoForPreTrainingOutput:
        """As `ElmoModel`; `labels` (B, T) are the tokens themselves, -100 where none is asked: both neighbours are
        asked for them."""
        found = self.elmo(input_ids, attention_mask, output_hidden_states)
        states = dropout(found.last_hidden_state, self.config.dropout, self.training)
        forward_logits, backward_logits = map(self.softmax, states.chunk(2, -1))
        loss = None
        if labels is not None:
            pairs = (forward_logits[:, :-1], labels[:, 1:]), (backward_logits[:, 1:], labels[:, :-1])
            losses = [nn.functional.cross_entropy(logits.flatten(0, 1), asked.flatten()) for logits, asked in pairs]
            loss = torch.stack(losses).mean()
        return ElmoForPreTrainingOutput(loss, forward_logits, backward_logits, found.hidden_states)


def is_outline(x: Tensor) -> bool:
    """Whether x has a shape and no numbers."""
    return isinstance(x, FakeTensor) or x.device.type == "meta"


def in_both_directions(mask: Tensor) -> tuple[Tensor, Tensor]:
    """The orders (B, T) in which the tokens of each row, where `mask` (B, T) is 1, are read from the left and from the
    right; what is no token comes behind them in both."""
    from_left = torch.argsort(mask, dim=1, descending=True, stable=True)
    return from_left, from_left.gather(1, backwards(mask))


def row(how: str, text: bytes, width: int) -> list[int]:
    """The characters of one token; of too long a one the first."""
    found = [HOW[how], *text[: width - 2], END]
    return found + [PADDING] * (width - len(found))


def numbered(first: int, last: int, width: int) -> Tensor:
    """The characters of tokens that nobody spelt: their numbers, in four bytes. (last - first, width)"""
    ids = torch.arange(first, last, dtype=torch.int32)[:, None]
    digits = (ids >> torch.tensor([24, 16, 8, 0], dtype=torch.int32)) & 255
    found = torch.cat([torch.full_like(ids, BEGINS), digits, torch.full_like(ids, END)], 1)
    return pad(found, (0, max(0, width - found.shape[1])), value=PADDING)[:, :width]
