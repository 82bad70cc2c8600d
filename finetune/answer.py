"""What does a model answer to the rows of a split?  Rows become ids, batches, outputs and predictions, in order."""

import copy
from typing import TYPE_CHECKING

from datasets import Dataset
from tokenizers import processors
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from engine.evaluation import predict
from finetune.encoding import Encoded, Predictions
from finetune.examples import evaluation_batches
from finetune.heads import HEADS
from finetune.task import Task

if TYPE_CHECKING:
    from accelerate import Accelerator


def answer(
    model: PreTrainedModel, task: Task, rows: Dataset, tokenizer: PreTrainedTokenizerFast, max_length: int,
    batch_size: int, accelerator: "Accelerator",
) -> Predictions:  # fmt: skip
    """Predict the rows of a split, whether they have answers or not. `model` must be in evaluation mode."""
    encoded = encode(task, rows, tokenizer, max_length)
    batches, order = evaluation_batches(encoded.columns, tokenizer, batch_size)
    found = predict(model, HEADS[task.head].read, batches, accelerator)
    in_order = [output for _, output in sorted(zip(order.tolist(), found, strict=True), key=lambda pair: pair[0])]
    return encoded.decode(in_order)


def encode(task: Task, rows: Dataset, tokenizer: PreTrainedTokenizerFast, max_length: int) -> Encoded:
    """Encode the rows of any task for its head. A longer text loses its end; a longer context becomes several windows.

    Raises ValueError if `max_length` leaves no room for the texts.
    """
    tokenizer = framed(tokenizer)
    room = max_length - tokenizer.num_special_tokens_to_add(pair=len(task.columns) == 2)
    if room < 2 * len(task.columns):
        raise ValueError(f"max_length {max_length} leaves {room} tokens for {' and '.join(task.columns)}; raise it")
    return HEADS[task.head].encode(task, rows, tokenizer, max_length)


def framed(tokenizer: PreTrainedTokenizerFast) -> PreTrainedTokenizerFast:
    """The tokenizer itself if it puts special tokens around texts, else one that puts its end-of-text token after each.

    GPT-2's adds none, and would run the two texts of a pair together. Radford et al. 2018, section 3.3, part them by a
    delimiter; the end-of-text token, which the model knows, is that here. It also pads, if nothing else does: the label
    is then read where transformers looks for the last token that is no padding, at the end of the text.
    """
    if tokenizer.num_special_tokens_to_add() or tokenizer.eos_token is None:
        return tokenizer
    own, end = copy.deepcopy(tokenizer), tokenizer.eos_token
    frame = processors.TemplateProcessing(
        single=f"$A {end}", pair=f"$A {end} $B {end}", special_tokens=[(end, tokenizer.eos_token_id)]
    )
    before = own.backend_tokenizer.post_processor
    own.backend_tokenizer.post_processor = processors.Sequence([before, frame]) if before else frame
    own.pad_token = own.pad_token or end
    return own
