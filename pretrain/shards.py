"""What does a process hold of a model that is spread in shards, and how many cards does that take?  FSDP2, ZeRO-3.

As `engine.train.sharding` spreads it: weights, gradients and moments are divided by the number of processes; a layer is
whole while it computes, and the next one already on its way; what is no layer, such as the embeddings, stays whole for
a pass; activations are each process's own.
"""

from dataclasses import dataclass, replace

from torch import nn

from engine.train.flops import CARDS
from engine.train.forecast import Memory
from engine.train.sharding import find_layers

COUNTED = ("B200", "H200", "H100", "A100", "A6000", "L40S", "4090", "3090")  # cards that can be hired
AHEAD = 2  # layers that are whole at once
MOST = 8192  # processes


@dataclass(frozen=True)
class Shards:
    """Bytes of a model that is spread, and of what one process adds."""

    memory: Memory  # of a process that holds the model whole
    whole: int  # of the tensors that are whole on each process at the worst moment: weights, gradients, bf16 copies

    @classmethod
    def of(cls, model: nn.Module, memory: Memory, bf16: bool) -> "Shards":
        layers = find_layers(model)
        sizes = [sum(parameter.nbytes for parameter in layer.parameters()) for layer in layers]
        largest, rest = max(sizes, default=0), memory.weights - sum(sizes)
        copies = (largest + rest) // 2 if bf16 else 0
        return cls(memory, AHEAD * largest + rest + (largest + rest) + copies)

    def on_one_of(self, processes: int) -> Memory:
        """What one of several processes holds."""
        memory = self.memory
        spread = memory.weights + memory.gradients + memory.moments + memory.average
        own = memory.activations + memory.logits
        parts = {name: getattr(memory, name) // processes for name in ("weights", "gradients", "moments", "average")}
        return replace(memory, **parts, copies=self.whole, peak=spread // processes + self.whole + own)

    def count_cards(self, batch: int, device_batch: int, program: int) -> dict[str, int | None]:
        """By card, the fewest that hold the model and divide a step's `batch` of examples; None where none do.

        `device_batch` examples are computed at once on each; `program` is what a process takes besides.
        """
        counts = [count for count in range(1, MOST) if batch % (count * device_batch) == 0]
        return {
            card.name: next((n for n in counts if self.on_one_of(n).peak + program <= 1e9 * card.memory), None)
            for card in CARDS
            if card.name in COUNTED
        }
