"""Which token comes next, and which was before?  The two language models of ELMo.

Peters et al. 2018, section 3.1. Documents stand one behind the other, each ended by a separator, and are cut into
blocks of equal length; each token is asked twice: of the forward model from the tokens before it in its block, of the
backward model from those behind it. The softmax is over the whole vocabulary, so exp(loss) is a perplexity; the paper's
code trains by a sample of the vocabulary, of which it is none. Each block begins with states of zero (theirs are kept).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import MODEL_FOR_PRETRAINING_MAPPING, PreTrainedModel

from corpus.text.chapters import Chapter
from corpus.text.medium import Text
from corpus.text.units import Block, Blocks
from engine.publish.exhibits import Exhibit
from engine.train.batch import Batch
from engine.train.cross_entropy import projected_cross_entropy
from networks.elmo import ElmoConfig
from pretrain.network import configuration, fresh
from pretrain.objective import Objective
from pretrain.terms import Term
from tokenizer.spelling import spell

SHOWN, GUESSED = 3, 12  # samples: blocks, and tokens of each that are guessed


@dataclass(frozen=True, kw_only=True)
class Elmo(Objective[Text]):
    """A forward and a backward language model over packed documents."""

    block_size: int = 128  # tokens in an example

    medium = Text
    size_key = "block_size"
    pipeline = "feature-extraction"
    model_type = ElmoConfig.model_type

    @property
    def terms(self) -> tuple[Term, ...]:
        return (
            Term("forward", "Next token", "next", perplexity=True),
            Term("backward", "Token before", "before", perplexity=True),
        )

    @property
    def in_short(self) -> str:
        return "ELMo, a forward and a backward language model of packed documents (Peters et al. 2018)"

    def check(self, text: Text) -> None:
        separator(text)

    def units(self, chapter: Chapter, size: int, text: Text, key: int) -> Blocks:
        # The last token of a block begins the next one: so each is asked once in either direction.
        return Blocks(chapter, size, separator(text), overlap=1)

    def split(self, t: Block, text: Text, key: int) -> Batch:
        real = t.document >= 0  # (B, T) all but padding
        pairs = real[:, 1:]  # (B, T - 1) neighbours: the left one is asked for the right one, and the other way round
        rows, columns = np.nonzero(pairs)
        x = {"input_ids": torch.from_numpy(t.ids.copy()), "attention_mask": torch.from_numpy(real.astype(np.int64))}
        y = {
            "positions": torch.from_numpy(rows * t.ids.shape[1] + columns),  # (M,) left ones, in the flattened (B * T)
            "next": torch.from_numpy(t.ids[:, 1:][pairs]),  # (M,)
            "before": torch.from_numpy(t.ids[:, :-1][pairs]),  # (M,)
        }
        counts = {"forward": len(rows), "backward": len(rows)}
        return Batch(x, y, counts, tuple(real.sum(1).tolist()), t.ids.size)

    def build(self, model: dict[str, Any], text: Text) -> PreTrainedModel:
        special = {"pad_token_id": text.vocabulary.special.get("pad")}
        settings = {"separator_token_id": separator(text), **special, **model}
        config = configuration(settings, self.name, (self.model_type,), (self.model_type,), text.vocabulary, special)
        made: Any = fresh(config, MODEL_FOR_PRETRAINING_MAPPING)
        if text.tokenizer is not None:
            made.elmo.spell(spell(text.tokenizer))
        return made

    def loss(self, model: Any, batch: Batch) -> dict[str, Tensor]:
        from_left, from_right = (states.flatten(0, 1) for states in model.read(**batch.x))  # (B * T, P) each
        place, softmax = batch.y["positions"], model.softmax
        sums: dict[str, Tensor] = {}
        for name, states, asked in (
            ("forward", from_left.index_select(0, place), batch.y["next"]),
            ("backward", from_right.index_select(0, place + 1), batch.y["before"]),
        ):
            sums[name], correct = projected_cross_entropy(states, softmax.weight, softmax.bias, asked)
            if not model.training:
                sums[f"{name}_correct"] = correct
        return sums

    def show(self, batch: Batch, text: Text) -> list[Exhibit]:
        """The block, token by token, with `│` between two: all are shown, and all are asked, but for its ends."""
        rows = zip(batch.x["input_ids"].tolist(), batch.x["attention_mask"].tolist(), strict=True)
        return [f"- `{'│'.join(_readable(text, ids[: sum(mask)]))}`" for ids, mask in rows]

    def samples(self, model: Any, text: Text, seed: int, unseen: list[Batch]) -> list[Exhibit]:
        """What both guess for some tokens in the middle of held-out blocks: a Markdown line each."""
        x = {name: values[:SHOWN].to(model.device) for name, values in unseen[0].x.items()}
        first = x["input_ids"].shape[1] // 2
        last = min(first + GUESSED, x["input_ids"].shape[1] - 1)
        with torch.inference_mode():
            from_left, from_right = model.read(**x)  # (B, T, P) each
            left = model.softmax(from_left[:, first - 1 : last - 1]).argmax(-1)
            right = model.softmax(from_right[:, first + 1 : last + 1]).argmax(-1)
        lines: list[Exhibit] = []
        for row in zip(x["input_ids"][:, first:last], left, right, strict=True):
            texts = (" ".join(_readable(text, ids.tolist())) for ids in row)
            lines.append("- the text `{}`; from the left `{}`; from the right `{}`".format(*texts))
        return lines


def separator(text: Text) -> int:
    """What ends a document: `<|endoftext|>`, or WordPiece's [SEP]. Errors: ValueError if the vocabulary has neither."""
    words = text.vocabulary
    return words.eos if "eos" in words.special else words.sep


def _readable(text: Text, ids: list[int]) -> list[str]:
    """Tokens that fit between two ` of a Markdown line."""
    if text.words.mask_token is None:  # bytes, of which a token may be a part of a letter
        pieces = [str(text.words.decode([number])) for number in ids]
    else:
        pieces = [str(piece) for piece in text.words.convert_ids_to_tokens(ids)]
    return ["⏎".join(piece.replace("`", "").splitlines()) for piece in pieces]
