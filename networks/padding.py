"""Which texts can be read together?  Those of like lengths, the shorter ones padded, if the model does not see padding.

An attention mask hides padding from attention alone. Convolutions (ConvBERT), Fourier transforms (FNet) and some
approximations of attention see it all the same; of such models only texts of one length are read together, so that no
score depends on what else is in a batch.
"""

from collections.abc import Iterator, Sequence

import torch
from transformers import PreTrainedModel


@torch.inference_mode()
def sees_padding(model: PreTrainedModel) -> bool:
    """Whether padding behind a text changes what the model says of it: tried on a few tokens."""
    ids = torch.zeros(1, 8, dtype=torch.int64, device=model.device)
    ids[0, :3] = model.config.vocab_size // 2 + torch.arange(3)
    mask = (torch.arange(8, device=ids.device) < 3).long()[None]
    alone, beside = (
        model.base_model(input_ids=ids[:, :width], attention_mask=mask[:, :width]).last_hidden_state[0, :3]
        for width in (3, 8)
    )
    return not torch.allclose(alone.float(), beside.float(), rtol=1e-3, atol=1e-4)


def make_batches(lengths: Sequence[int], tokens: int, padded: bool) -> Iterator[list[int]]:
    """Numbers of texts to read together, the longest first: some `tokens` with their padding, or one text; if they are
    not to be `padded`, of one length."""
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    while order:
        longest = lengths[order[-1]]
        batch = order[-max(1, tokens // longest) :]
        if not padded:
            batch = [number for number in batch if lengths[number] == longest]
        del order[-len(batch) :]
        yield batch
