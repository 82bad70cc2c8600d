"""Which tokens does a model read, and which of them are judged?  Prompts with K examples, and options behind them.

Context and option are tokenized together, since a token may lie across their join, and a blank at the end of a context
belongs to the word that follows. What is judged begins with the first token that the context alone has not, in any of
the options: of all of them the same characters are compared.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from probe.few_shot.task import Item, Task
from probe.language_models import LanguageModel
from probe.losses import Window


@dataclass(frozen=True)
class Prompts:
    """How a model is asked: K examples, the draw, and where a prompt begins."""

    task: Task
    examples: tuple[tuple[Item, ...], ...]  # of each row to score
    bos: bool | None = None  # whether a prompt begins behind the token that texts begin behind; None: as its tokenizer

    def context(self, number: int, prompt: str) -> str:
        """The prompt of a row behind its examples."""
        task = self.task
        shown = [example.prompt + task.delimiter + example.answer for example in self.examples[number]]
        return task.separator.join([*filter(None, [task.description]), *shown, prompt])

    def with_wrong_answers(self, pool: Sequence[Item], seed: int) -> "Prompts":
        """The same with examples whose answers are wrong: another of their options, or another row's answer."""
        chance = random.Random(f"wrong {seed}")
        made: dict[str, Item] = {}
        answers = {one.answer for one in pool}
        for example in (one for row in self.examples for one in row):
            others = [text for text in example.options or answers if text not in example.answers]
            if others and example.where not in made:
                made[example.where] = replace(example, answer=chance.choice(sorted(others)))
        wrong = tuple(tuple(made.get(one.where, one) for one in row) for row in self.examples)
        return replace(self, examples=wrong)

    def count_unchanged(self, other: "Prompts") -> int:
        """How many examples, each counted once, are the same here and in `other`."""
        pairs = {
            (one.where, one == two)
            for mine, theirs in zip(self.examples, other.examples, strict=True)
            for one, two in zip(mine, theirs, strict=True)
        }
        return sum(same for _, same in pairs)


def draw_prompts(
    task: Task, items: Sequence[Item], pool: Sequence[Item], shots: int, seed: int, fresh: bool, bos: bool | None
) -> Prompts:
    """`shots` examples in an order, both of `seed`: the same for all rows, or `fresh` ones for each.

    Of one seed and order, fewer examples are the first of more. Errors: ValueError where there are not enough.
    """
    check_shots(task, pool, shots)
    if fresh:
        rows = [random.Random(f"{seed} {item.where}").sample(pool, shots) for item in items]
    else:
        order = random.Random(str(seed)).sample(pool, len(pool))
        rows = [order[:shots]] * len(items)
    return Prompts(task, tuple(map(tuple, rows)), bos)


def check_shots(task: Task, pool: Sequence[Item], shots: int) -> None:
    """Errors: ValueError where there are not enough rows."""
    if shots > len(pool):
        raise ValueError(
            f"--shots {shots}: {task.name} has {len(pool)} rows that examples are drawn from, without those that are "
            "scored, too; ask for no more"
        )


@dataclass(frozen=True)
class Question:
    """The options behind one context, as a model reads them."""

    windows: tuple[Window, ...]
    truncated: bool  # tokens of the context were cut off on its left
    merged: bool  # a token lies across the join


def encode_options(
    model: LanguageModel, context: str, options: Sequence[str], bos: bool | None, where: str
) -> Question:
    """Tokenize context + option for each option. Errors: ValueError for one that adds no token, or too many."""
    bare = context.rstrip()
    tail = context[len(bare) :]
    before = encode_context(model, bare, bos)
    full = [encode_context(model, bare, bos, tail + option) for option in options]
    shared = min(count_shared([before, ids]) for ids in full)
    least = 0 if model.is_masked else 1  # before a text's first token nothing stands that could guess it
    first, room = max(shared, least), room_of(model)
    windows = []
    for number, ids in enumerate(full):
        if len(ids) <= first or not options[number]:
            raise ValueError(f"{where}: option {number} is {options[number]!r}, which adds no token to the prompt")
        cut = max(0, len(ids) - room)
        if cut > first - least:
            raise ValueError(
                f"{where}: option {number} has {len(ids) - first} tokens, and {model.name} reads {model.most_tokens}: "
                "leave the row out, or take a model that reads more"
            )
        windows.append(Window(ids[cut:], first - cut))
    return Question(tuple(windows), max(map(len, full)) > room, shared < len(before))


def encode_context(model: LanguageModel, text: str, bos: bool | None, more: str = "") -> list[int]:
    """The tokens of a prompt, behind the one that texts begin behind where it is asked for, or nothing else is there.

    It is there once, whatever the tokenizer adds and the text begins with.
    """
    ids = model.encode(text + more)
    if model.is_masked or ids[:1] == model.start:
        return ids
    wanted = (not text) or (adds_start(model) if bos is None else bos)
    return [*model.start, *ids] if wanted else ids


def adds_start(model: LanguageModel) -> bool:
    """Whether the model's own tokenizer puts a token in front of a text."""
    return bool(model.start) and model.tokenizer.encode("a", verbose=False)[:1] == model.start


def room_of(model: LanguageModel) -> int:
    """The tokens of a window: of a causal model the last one is judged and not read; [CLS] and [SEP] frame others."""
    return model.most_tokens - 2 if model.is_masked else model.most_tokens + 1


def count_shared(rows: Sequence[Sequence[int]]) -> int:
    """How many tokens all rows begin with."""
    for place, tokens in enumerate(zip(*rows, strict=False)):  # up to the end of the shortest
        if len(set(tokens)) > 1:
            return place
    return min(map(len, rows))
