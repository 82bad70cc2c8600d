"""What did the masks hide, and does B follow A?  BERT's two tasks: masked LM (MLM), next-sentence prediction (NSP).

Devlin et al. 2019, section 3.1 and appendix A.2. Any encoder that transformers has a masked LM of is trained so. Of
most, the masked positions are gathered *before* the projection onto the vocabulary (`networks.heads`): of a mini
model's step that projection is the larger part, and six of seven positions are not asked.
"""

from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from transformers import (
    MODEL_FOR_MASKED_LM_MAPPING,
    MODEL_FOR_PRETRAINING_MAPPING,
    BertModel,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)
from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES

from corpus.text.chapters import Chapter
from corpus.text.medium import Text
from corpus.text.units import Block, Blocks, SegmentPairs, Segments
from corpus.text.vocabulary import Vocabulary
from engine.publish.exhibits import Exhibit
from engine.train import draws
from engine.train.batch import Batch
from engine.train.last_layer import columns_to_read, read_selectively, reads_selectively
from networks import heads
from pretrain.initialisation import start_locally
from pretrain.network import configuration, fresh
from pretrain.objective import Objective, correct_sum, cross_entropy_sum, vocabulary_sums
from pretrain.terms import Term

KINDS = tuple(MODEL_FOR_MASKED_LM_MAPPING_NAMES)  # model types
LONG_WORDS = 10  # tokens a word, on average: in such a text the marks are not those of words
SAMPLES = 8  # held-out examples of which a mask is guessed aloud at each evaluation
NEAR = 12  # tokens shown on each side of one


@dataclass(frozen=True, kw_only=True)
class Bert(Objective[Text]):
    """Masked LM with next-sentence prediction; with `next_sentence: false`, masked LM alone, over packed documents (the
    FULL-SENTENCES of Liu et al. 2019, section 4.2)."""

    max_seq_length: int = 128  # tokens in an example, special ones included
    mlm_probability: float = 0.15  # share of the real tokens that are hidden; special tokens never are
    whole_word_mask: bool = False  # hide all pieces of a word or none, by the tokenizer's marks: ## or Ġ or ▁
    next_sentence: bool = True  # also ask whether B follows A (NSP)
    short_seq_probability: float = 0.1  # share of the pairs that aim at a random shorter length
    start: Literal["paper", "local"] = "paper"  # local: the first layer looks at neighbours (pretrain.initialisation)

    medium = Text
    size_key = "max_seq_length"
    pipeline = "fill-mask"
    legend = (
        "In brackets stands what is asked: [MASK: cat] hides `cat`, [random dog: cat] shows a random token in its "
        "place, and [kept: cat] shows `cat` itself."
    )
    model_type = "bert"

    def __post_init__(self) -> None:
        if not 0 < self.mlm_probability < 1:
            raise ValueError(f"mlm_probability is {self.mlm_probability}; it is a share between 0 and 1, such as 0.15")
        if not 0 <= self.short_seq_probability <= 1:
            raise ValueError(
                f"short_seq_probability is {self.short_seq_probability}; it is a share from 0 to 1, such as 0.1"
            )
        if not self.next_sentence and self.short_seq_probability != Bert.short_seq_probability:
            raise ValueError(
                f"short_seq_probability is {self.short_seq_probability}, but it shortens pairs, which next_sentence: "
                "false does not make: leave it out"
            )

    @property
    def needs_sentences(self) -> bool:
        return self.next_sentence

    @property
    def terms(self) -> tuple[Term, ...]:
        masked = Term("masked_lm", "Masked LM", "tokens", perplexity=True)
        pairs = (Term("next_sentence", "Next sentence", "is_random_next", among=2),) if self.next_sentence else ()
        return masked, *pairs

    @property
    def in_short(self) -> str:
        tasks = "masked language model" + (" and next-sentence prediction" if self.next_sentence else "")
        hidden = f"{self.mlm_probability:.0%} of the {'words' if self.whole_word_mask else 'tokens'} hidden"
        return f"{tasks}, {hidden} (Devlin et al. 2019)"

    def check(self, text: Text) -> None:
        if self.whole_word_mask and not text.vocabulary.continues.any():
            raise ValueError(
                "objective.whole_word_mask can do nothing: the tokenizer does not mark which of its tokens begin a "
                "word or continue one (with ## or Ġ or ▁); say whole_word_mask: false"
            )
        text.vocabulary.require(("pad", "cls", "sep", "mask"))

    def units(self, chapter: Chapter, size: int, text: Text, key: int) -> SegmentPairs | Blocks:
        if self.next_sentence:
            return SegmentPairs(chapter, size, self.short_seq_probability, key)
        return Blocks(chapter, size - 2, text.vocabulary.sep)  # [CLS] in front, [SEP] behind

    def split(self, t: Segments | Block, text: Text, key: int) -> Batch:
        vocabulary = text.vocabulary
        ids, segment, real, maskable = joined(t, vocabulary) if isinstance(t, Segments) else framed(t, vocabulary)
        lot = draws.uniform(
            draws.stream("mask", key), t.index[:, None], words(ids, maskable, self.whole_word_mask, vocabulary)
        )
        hidden = np.flatnonzero(
            chosen(maskable, lot, self.mlm_probability, self.whole_word_mask)
        )  # (M,) places of (B * T)
        x = {
            "input_ids": torch.from_numpy(corrupted(ids, hidden, t.index, vocabulary, key)),  # (B, T)
            "token_type_ids": torch.from_numpy(segment),  # (B, T) 0 for [CLS] A [SEP], 1 for B [SEP]
            "attention_mask": torch.from_numpy(real.astype(np.int64)),  # (B, T)
        }
        read, slots = columns_to_read(hidden, ids.shape, first=self.next_sentence)
        y = {
            "positions": torch.from_numpy(hidden),  # (M,)
            "tokens": torch.from_numpy(ids.ravel()[hidden]),  # (M,)
            "read": torch.from_numpy(read),  # (B, R) columns of which the last layer's states are asked for
            "slots": torch.from_numpy(slots),  # (M,) of (B * R)
        }
        counts = {"masked_lm": len(y["tokens"])}
        if isinstance(t, Segments):
            y["is_random_next"] = torch.from_numpy(t.is_random_next)  # (B,)
            counts["next_sentence"] = len(t.is_random_next)
        return Batch(x, y, counts, tuple(real.sum(1).tolist()), ids.size)

    def build(self, model: dict[str, Any], text: Text) -> PreTrainedModel:
        words = text.vocabulary
        special: dict[str, int | None] = {
            "pad_token_id": words.pad, "bos_token_id": words.cls, "cls_token_id": words.cls, "eos_token_id": words.sep,
            "sep_token_id": words.sep,
        }  # fmt: skip
        config = configuration(model, self.name, KINDS, heads.MASKED, words, special)
        self._check_fit(config)
        made = fresh(config, MODEL_FOR_PRETRAINING_MAPPING if self.next_sentence else MODEL_FOR_MASKED_LM_MAPPING)
        if self.start == "local":
            if "from" in model:
                raise ValueError("objective.start: local is a start from random weights; with model.from, leave it out")
            start_locally(cast(BertModel, made.base_model))
        return read_selectively(made)

    def _check_fit(self, config: PreTrainedConfig) -> None:
        """Errors: ValueError for an architecture that cannot be trained so."""
        kind = config.model_type
        if config.is_encoder_decoder:
            raise ValueError(f"model.model_type {kind} is an encoder with a decoder; a masked LM is an encoder alone")
        if self.next_sentence and kind not in heads.NEXT_SENTENCE:
            raise ValueError(
                f"model.model_type {kind} has no head for the next sentence (those of {', '.join(heads.NEXT_SENTENCE)} "
                "have one): say objective.next_sentence: false"
            )
        if self.start == "local" and kind != "bert":
            raise ValueError(f"objective.start: local is a start of bert, and model.model_type is {kind}; leave it out")

    def loss(self, model: Any, batch: Batch) -> dict[str, Tensor]:
        reading = {"read": batch.y["read"]} if reads_selectively(model) else {}
        places = batch.y["slots" if reading else "positions"]
        encoded = heads.encode(model, prepare_inputs(model, batch), **reading)
        gathered = encoded[0].flatten(0, 1).index_select(0, places)  # (M, H): only what is asked
        total, correct = vocabulary_sums(model, gathered, batch.y["tokens"])
        sums = {"masked_lm": total} if model.training else {"masked_lm": total, "masked_lm_correct": correct}
        if self.next_sentence:
            relation = model.cls.seq_relationship(encoded.pooler_output)  # (B, 2)
            sums["next_sentence"] = cross_entropy_sum(relation, batch.y["is_random_next"])
            if not model.training:
                sums["next_sentence_correct"] = correct_sum(relation, batch.y["is_random_next"])
        return sums

    def remarks(self, batches: list[Batch], text: Text) -> list[str]:
        """How long the words are that are hidden whole. Errors: ValueError where the marks do not part a text so."""
        if not self.whole_word_mask:
            return []
        vocabulary, num_tokens, num_words = text.vocabulary, 0, 0
        for batch in batches:
            ids = restored(batch).numpy()
            maskable = ~np.isin(ids, [vocabulary.pad, vocabulary.cls, vocabulary.sep])
            begins = words(ids, maskable, True, vocabulary) == np.arange(ids.shape[1])
            num_tokens, num_words = num_tokens + int(maskable.sum()), num_words + int((maskable & begins).sum())
        a_word = num_tokens / num_words
        if num_words == num_tokens or a_word > LONG_WORDS:
            raise ValueError(
                f"objective.whole_word_mask can do nothing of use: by the tokenizer's marks, a word of this text has "
                f"{a_word:.4g} token(s) on average; say whole_word_mask: false"
            )
        return [f"Whole words: {num_words:,} of {a_word:.3f} tokens on average are hidden whole or not at all."]

    def show(self, batch: Batch, text: Text) -> list[Exhibit]:
        """Each example in tokens, with what is asked of it in brackets."""
        tokenizer = text.words
        asked = dict(zip(batch.y["positions"].tolist(), batch.y["tokens"].tolist(), strict=True))
        lines: list[Exhibit] = []
        for row, ids in enumerate(batch.x["input_ids"].tolist()):
            length = int(batch.x["attention_mask"][row].sum())
            tokens = [
                describe_place(tokenizer, shown, asked.get(row * len(ids) + column))
                for column, shown in enumerate(ids[:length])
            ]
            kind = ""
            if self.next_sentence:
                kind = f"B is {'a random next sentence' if batch.y['is_random_next'][row] else 'what follows'}: "
            lines.append(f"- {kind}`{' '.join(tokens).replace('`', '')}`")
        return lines

    def samples(self, model: Any, text: Text, seed: int, unseen: list[Batch]) -> list[Exhibit]:
        """A mask in each of a few examples: what stands around it, what it hides, and the likeliest guesses."""
        tokenizer = text.words
        x = {name: values[:SAMPLES] for name, values in unseen[0].x.items()}
        answers = dict(zip(unseen[0].y["positions"].tolist(), unseen[0].y["tokens"].tolist(), strict=True))
        masks = torch.nonzero(x["input_ids"].flatten() == tokenizer.mask_token_id)[:, 0]
        asked = masks[middle_of_each(masks.numpy() // unseen[0].width)]
        likely, share = guesses(model, x, asked, best=3)
        return [
            sample(x["input_ids"], place, answers[place], list(zip(*guess, strict=True)), tokenizer)
            for place, *guess in zip(asked.tolist(), likely.tolist(), share.tolist(), strict=True)
        ]


def prepare_inputs(model: Any, batch: Batch) -> dict[str, Tensor]:
    """x, with an attention mask that transformers need not look into: on a GPU it would wait for every look."""
    x = dict(batch.x)
    mask = x.pop("attention_mask")
    if batch.num_units < batch.room:
        ready = reads_selectively(model) and model.config._attn_implementation == "sdpa"
        x["attention_mask"] = mask[:, None, None].bool() if ready else mask
    return x


def describe_place(tokenizer: PreTrainedTokenizerFast, shown: int, asked: int | None) -> str:
    """A token, and in brackets what is asked where one is, as `legend` says."""
    token = str(tokenizer.convert_ids_to_tokens(shown))
    if asked is None:
        return token
    right = tokenizer.convert_ids_to_tokens(asked)
    if shown == tokenizer.mask_token_id:
        return f"[MASK: {right}]"
    return f"[kept: {right}]" if shown == asked else f"[random {token}: {right}]"


def restored(batch: Batch) -> Tensor:
    """The ids (B, T) of a batch before any was hidden."""
    ids = batch.x["input_ids"].clone()
    ids.view(-1)[batch.y["positions"]] = batch.y["tokens"]
    return ids


@torch.inference_mode()
def guesses(model: Any, x: dict[str, Tensor], places: Tensor, best: int) -> tuple[Tensor, Tensor]:
    """The likeliest tokens at `places` (M,) of the flattened x, and how likely the model holds them: (M, best) each."""
    share = heads.logits_at(model, x, places).float().softmax(-1)  # (M, V)
    found = share.topk(best)
    return found.indices.cpu(), found.values.cpu()


def middle_of_each(rows: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Where in sorted `rows` the middle one of each value stands."""
    _, first, count = np.unique(rows, return_index=True, return_counts=True)
    return first + count // 2


def sample(
    ids: Tensor, place: int, answer: int, guess: list[tuple[int, float]], tokenizer: PreTrainedTokenizerFast
) -> str:
    """A Markdown line: the text on both sides of a place of flattened `ids` (B, T), the answer, the guesses."""
    row, column = divmod(place, ids.shape[1])
    ahead, behind = ids[row, max(0, column - NEAR) : column], ids[row, column + 1 : column + 1 + NEAR]
    behind = behind[behind != tokenizer.pad_token_id]
    found = [(tokenizer.convert_ids_to_tokens(token), share) for token, share in guess]
    texts = (tokenizer.decode(ahead), tokenizer.convert_ids_to_tokens(answer), tokenizer.decode(behind))
    left, right, further = (shown(text) for text in texts)
    guessed = ", ".join(f"*{shown(token)}* {share:.0%}" for token, share in found)
    return f"- {left} **{right}** {further} → {guessed}"


def shown(text: str | list[str]) -> str:
    """Text in Markdown that nothing in it can break."""
    return f"`{str(text).replace('`', '') or '…'}`"


def joined(t: Segments, vocabulary: Vocabulary) -> tuple[npt.NDArray[Any], ...]:
    """Lay out [CLS] A [SEP] B [SEP] and padding: ids, segment ids, real (not padding), maskable; all (B, T)."""
    column = np.arange(t.ids.shape[1])
    first_separator = t.a_length[:, None] + 1
    second_separator = first_separator + t.b_length[:, None] + 1
    ids = np.where(column > second_separator, vocabulary.pad, t.ids)
    ids[:, 0] = vocabulary.cls
    is_separator = (column == first_separator) | (column == second_separator)
    ids[is_separator] = vocabulary.sep
    real = column <= second_separator
    segment = (real & (column > first_separator)).astype(np.int64)
    return ids, segment, real, real & ~is_separator & (column > 0)


def framed(t: Block, vocabulary: Vocabulary) -> tuple[npt.NDArray[Any], ...]:
    """Lay out [CLS] and a block, which ends in [SEP]: ids, segment ids, real, maskable; all (B, T + 2)."""
    length = (t.document >= 0).sum(1, keepdims=True)  # (B, 1)
    ids = np.pad(t.ids, ((0, 0), (1, 1)), constant_values=vocabulary.sep)
    ids[:, 0] = vocabulary.cls
    column = np.arange(ids.shape[1])
    real = column <= length + 1
    ids = np.where(real, ids, vocabulary.pad)
    return ids, np.zeros_like(ids), real, real & (ids != vocabulary.sep) & (column > 0)


def words(
    ids: npt.NDArray[np.int64], maskable: npt.NDArray[np.bool_], whole: bool, vocabulary: Vocabulary
) -> npt.NDArray[np.int64]:
    """What shares one lot (B, T): a token's own column, or, for whole words, the column of its word's first piece."""
    column = np.broadcast_to(np.arange(ids.shape[1]), ids.shape)
    if not whole:
        return column
    before = np.pad(maskable & vocabulary.open[ids], ((0, 0), (1, 0)))[:, :-1]
    goes_on = vocabulary.continues[ids] & before
    return np.maximum.accumulate(np.where(goes_on, 0, column), axis=1)


def chosen(
    maskable: npt.NDArray[np.bool_], lot: npt.NDArray[np.float64], rate: float, whole: bool
) -> npt.NDArray[np.bool_]:
    """Choose `rate` of each row's maskable places by their `lot`, and at least one: hidden (B, T).

    To the nearest whole number of places, or, where the pieces of a word share a lot, to the nearest end of a word.
    """
    lot = np.where(maskable, lot, np.inf)
    wanted = np.maximum(1, np.rint(rate * maskable.sum(1, keepdims=True)).astype(np.int64))  # (B, 1)
    most = lot.shape[1] if whole else int(wanted.max())
    smallest = np.sort(np.partition(lot, most - 1, axis=1)[:, :most], axis=1)  # (B, most)
    last = _nearest_end(smallest, wanted) if whole else wanted - 1
    return (lot <= np.take_along_axis(smallest, last, axis=1)) & maskable


def _nearest_end(lots: npt.NDArray[np.float64], wanted: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The place (B, 1) in each row of sorted `lots` (B, N) where a run of equal ones ends, nearest to `wanted`."""
    place = np.arange(lots.shape[1])
    ends = np.pad(lots[:, 1:] != lots[:, :-1], ((0, 0), (0, 1)), constant_values=True) & np.isfinite(lots)
    distance = np.where(ends, np.abs(place + 1 - wanted), lots.shape[1])
    return distance.argmin(1, keepdims=True)


def corrupted(
    ids: npt.NDArray[np.int64],
    hidden: npt.NDArray[np.int64],
    index: npt.NDArray[np.int64],
    vocabulary: Vocabulary,
    key: int,
) -> npt.NDArray[np.int64]:
    """80 % become [MASK], 10 % a random ordinary token, 10 % stay: the model never knows which tokens it can trust.

    `hidden` (M,) are places of the flattened `ids` (B, T). The tenth that a draw falls into decides, and where in it,
    which token.
    """
    row, column = np.divmod(hidden, ids.shape[1])
    tenths = 10 * draws.uniform(draws.stream("fate", key), index[row], column)  # (M,)
    word = vocabulary.ordinary[((tenths % 1) * len(vocabulary.ordinary)).astype(np.int64)]
    shown = ids.copy()
    kept = np.where(tenths < 9, word, ids.ravel()[hidden])
    shown.ravel()[hidden] = np.where(tenths < 8, vocabulary.mask, kept)
    return shown
