"""How good are a model's answers, beside what is cheaper?  `few_shot`: a task with 0, 1, 4, 16 examples.

Options are compared in four ways:

    acc                log p of the option (lm-evaluation-harness's acc)
    acc_per_token      ... over its tokens (Brown et al. 2020, section 2.4)
    acc_norm           ... over its characters (lm-evaluation-harness's acc_norm)
    acc_unconditional  ... less its log p behind `unconditional` alone (Brown et al. 2020, for ARC, OpenBookQA, RACE)

and beside them stand chance, the commonest answer, the shortest and the longest option, the options behind a prompt
without the row's content (`content_free`), and examples with wrong answers (`wrong_answers`): who scores as well with
those reads their form, not their answers (Min et al. 2022).
"""

import math
import statistics
from abc import ABC, abstractmethod
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from corpus.text.document import Tally
from engine.run.runtime import seed_weights
from probe.few_shot.answers import write_answers
from probe.few_shot.prompts import Prompts, check_shots, draw_prompts, encode_options
from probe.few_shot.scoring import Score, score_questions
from probe.few_shot.task import Item, Task, can_be_written, read_items
from probe.language_models import LanguageModel

SHOWN = 3  # rows that are shown in full
RULES: dict[str, Callable[[Score, Score, str], float]] = {  # of a score, the unconditional one, and the option's text
    "acc": lambda score, alone, text: score.log_p,
    "acc_per_token": lambda score, alone, text: score.log_p / score.tokens,
    "acc_norm": lambda score, alone, text: score.log_p / len(text),
    "acc_unconditional": lambda score, alone, text: score.log_p - alone.log_p,
}


@dataclass(frozen=True)
class Way:
    """How a task is put to a model."""

    shots: tuple[int, ...] = (0, 1, 4, 16)
    seeds: int = 5  # draws of the examples, and of their order
    max_rows: int = 0  # that are scored, drawn at random; 0: all
    fresh_examples: bool = False  # each row has examples of its own (Brown et al. 2020), instead of one draw for all
    beams: int = 1  # of a free answer; 1: greedy
    bos: bool | None = None  # a prompt begins behind the token that texts begin behind; None: as the tokenizer has it
    controls: bool = True  # content-free prompts and wrong answers, too
    untrained: bool = False  # and the same network with fresh weights, without examples


def few_shot(model: LanguageModel, task: Task, way: Way = Way()) -> dict[str, Any]:
    """Put `task` to `model`. What is found is plain JSON: `scores` by number of examples, then by rule: `mean` over the
    draws, `min`, `max`, and `seeds`, one a draw; `baselines`, `groups`, and some rows in full.

    Errors: what reading the rows raises; ValueError for what does not fit the task or the model.
    """
    if way.bos is not None and model.is_masked:
        raise ValueError(f"--bos is for prompts of causal models, and {model.name} is a masked one: leave it out")
    left_out: Tally = Counter()
    items, pool = read_items(task, any(way.shots), way.max_rows, left_out)
    check_shots(task, pool, max(way.shots))  # before hours are spent on fewer
    kind = Options if task.options else FreeAnswers
    asked: Asked = kind(model, task, way, items, pool)
    scores, details = {}, {}
    for shots in way.shots:
        draws = [asked.evaluate(shots, seed) for seed in range(way.seeds if shots else 1)]
        scores[str(shots)] = {name: spread([draw.accuracies[name] for draw in draws]) for name in draws[0].accuracies}
        details[str(shots)] = draws[0].details
    headline, baselines = asked.headline, asked.baselines()
    if way.untrained:
        fresh = kind(untrained(model), task, replace(way, controls=False), items, pool)
        baselines["untrained"] = fresh.evaluate(0, seed=0).accuracies[headline]
    mean = scores[str(way.shots[-1])][headline]["mean"]
    return {
        "model": model.name,
        "task": task.name,
        "headline": headline,
        "rows": len(items),
        "examples_from": len(pool),
        "left_out": dict(left_out),  # by reason
        "scores": scores,
        "standard_error": round(standard_error(mean, len(items)), 4),  # of the last headline, by its rows
        "baselines": baselines,
        "details": details,
        "groups": asked.groups,
        "shown": asked.shown,
    }


def standard_error(share: float, rows: int) -> float:
    """Of a share of so many rows, as Agresti and Coull 1998 have it: two rows more are right and two wrong, so none
    of 40 is no certainty.

    >>> round(standard_error(0.0, 40), 3)
    0.031
    """
    share = (share * rows + 2) / (rows + 4)
    return math.sqrt(share * (1 - share) / (rows + 4))


def untrained(model: LanguageModel) -> LanguageModel:
    """The same network with fresh weights, of seed 0."""
    seed_weights(0)
    fresh = type(model.model)(model.model.config).eval()
    return LanguageModel(f"{model.name}, untrained", fresh, model.tokenizer, model.is_masked)


@dataclass(frozen=True)
class Draw:
    """What was found with one draw of examples."""

    accuracies: dict[str, float]
    details: dict[str, Any]


@dataclass
class Asked(ABC):
    """A task's rows, put to a model."""

    model: LanguageModel
    task: Task
    way: Way
    items: list[Item]
    pool: list[Item]
    groups: dict[str, Any] = field(default_factory=dict)  # of the first prompts: accuracy and rows by group
    shown: list[dict[str, Any]] = field(default_factory=list)  # of the last prompts

    @property
    @abstractmethod
    def headline(self) -> str:
        """The accuracy that the curve shows."""

    @abstractmethod
    def evaluate(self, shots: int, seed: int) -> Draw:
        """Ask all rows behind `shots` examples, the draw `seed`."""

    @abstractmethod
    def baselines(self) -> dict[str, float]:
        """Accuracies of guessers that do not read the question."""

    def prompts(self, shots: int, seed: int) -> Prompts:
        way = self.way
        return draw_prompts(self.task, self.items, self.pool, shots, seed, way.fresh_examples, way.bos)

    def note(self, right: Sequence[bool], context: Callable[[int], str], answers: Callable[[int], Any]) -> None:
        if not self.groups and self.task.group:
            found: dict[str, list[bool]] = defaultdict(list)
            for item, is_right in zip(self.items, right, strict=True):
                found[item.group].append(is_right)
            self.groups = {
                name: {"accuracy": round(sum(rows) / len(rows), 4), "rows": len(rows)}
                for name, rows in sorted(found.items())
            }
        self.shown = [
            {"where": self.items[n].where, "prompt": context(n), "right": self.items[n].answer, "answers": answers(n)}
            for n in range(min(SHOWN, len(self.items)))
        ]


class Options(Asked):
    """Options, of which the likeliest is chosen."""

    @property
    def headline(self) -> str:
        return self.task.headline

    def evaluate(self, shots: int, seed: int) -> Draw:
        prompts = self.prompts(shots, seed)
        contexts = [prompts.context(number, item.prompt) for number, item in enumerate(self.items)]
        scores, details = self.score(contexts)
        chosen = {rule: self.choose(rule, scores) for rule in self.rules(contexts)}
        accuracies = {rule: self.accuracy(answers) for rule, answers in chosen.items()}
        if self.way.controls:
            accuracies |= self.controls(prompts, shots, seed)
            details["without_blank"] = sum(item.blank is None for item in self.items)
        right = [answer == item.right for answer, item in zip(chosen[self.headline], self.items, strict=True)]
        self.note(right, contexts.__getitem__, lambda number: [
            {"text": text, "log_p": round(score.log_p, 3), "tokens": score.tokens}
            for text, score in zip(self.items[number].options, scores[number], strict=True)
        ])  # fmt: skip
        return Draw(accuracies, details)

    def rules(self, contexts: Sequence[str]) -> list[str]:
        """All, but none that compares an option with itself, as where BLiMP's sentences stand alone: a draw between all
        options goes to the first, which in that file is always the right one."""
        stand_alone = all(context == self.task.unconditional for context in contexts)
        return [rule for rule in RULES if not (stand_alone and rule == "acc_unconditional" != self.headline)]

    def controls(self, prompts: Prompts, shots: int, seed: int) -> dict[str, float]:
        """Accuracies, by the headline's rule, without the rows' content, and with wrong answers in the examples."""
        found = {}
        blanks = [item.blank for item in self.items if item.blank is not None]
        if len(blanks) == len(self.items) and any(item.prompt != item.blank for item in self.items):
            blank = [prompts.context(number, text) for number, text in enumerate(blanks)]
            found["content_free"] = self.accuracy(self.choose(self.headline, self.score(blank)[0]))
        if shots:
            misled = prompts.with_wrong_answers(self.pool, seed)
            contexts = [misled.context(number, item.prompt) for number, item in enumerate(self.items)]
            found["wrong_answers"] = self.accuracy(self.choose(self.headline, self.score(contexts)[0]))
        return found

    def score(self, contexts: Sequence[str]) -> tuple[list[list[Score]], dict[str, Any]]:
        questions = [
            encode_options(
                self.model, context, [self.task.delimiter + option for option in item.options], self.way.bos, item.where
            )
            for context, item in zip(contexts, self.items, strict=True)
        ]
        details = {
            "prompt_tokens": round(statistics.fmean(one.windows[0].first for one in questions), 1),
            "truncated": sum(one.truncated for one in questions),
            "merged": sum(one.merged for one in questions),
        }
        return score_questions(self.model, [one.windows for one in questions]), details

    @cached_property
    def alone(self) -> list[list[Score]]:
        """The options behind the same few words, whatever the question is."""
        return self.score([self.task.unconditional] * len(self.items))[0]

    def choose(self, rule: str, scores: Sequence[Sequence[Score]]) -> list[int]:
        """The number of the best option of each row; of equal ones the first, as lm-evaluation-harness takes it."""
        value = RULES[rule]
        return [
            argmax([value(*of) for of in zip(one, two, item.options, strict=True)])
            for item, one, two in zip(self.items, scores, self.alone, strict=True)
        ]

    def accuracy(self, chosen: Sequence[int]) -> float:
        return sum(one == item.right for one, item in zip(chosen, self.items, strict=True)) / len(self.items)

    def guess(self, values: Sequence[Sequence[int]]) -> float:
        """The accuracy of who takes the option with the largest value, and one by chance of several such."""
        shares = [
            (row[item.right] == max(row)) / row.count(max(row)) for row, item in zip(values, self.items, strict=True)
        ]
        return statistics.fmean(shares)

    def baselines(self) -> dict[str, float]:
        items = self.items
        sizes = [[len(option) for option in item.options] for item in items]
        found = {
            "chance": statistics.fmean(1 / len(item.options) for item in items),
            "shortest": self.guess([[-size for size in row] for row in sizes]),
            "longest": self.guess(sizes),
        }
        if len({item.right for item in items}) > 1:  # else the order of the options is the file's, and says nothing
            (commonest, _), *_ = Counter(item.right for item in self.pool or items).most_common(1)
            found["majority"] = self.accuracy([commonest] * len(items))
        return found


class FreeAnswers(Asked):
    """Answers that are written freely, and compared with the right one letter by letter."""

    @property
    def headline(self) -> str:
        return "acc"

    def evaluate(self, shots: int, seed: int) -> Draw:
        prompts = self.prompts(shots, seed)
        contexts = [prompts.context(number, item.prompt) for number, item in enumerate(self.items)]
        written, cut = self.write(contexts)
        right = self.right(written)
        accuracies = {"acc": sum(right) / len(right)}
        unreachable = sum(not any(can_be_written(one, self.task.stop) for one in item.answers) for item in self.items)
        details = {"truncated": cut, "unreachable": unreachable}
        misled = prompts.with_wrong_answers(self.pool, seed) if self.way.controls else prompts
        if misled.examples != prompts.examples:
            wrong, _ = self.write([misled.context(number, item.prompt) for number, item in enumerate(self.items)])
            accuracies["wrong_answers"] = sum(self.right(wrong)) / len(self.items)
            details["still_right"] = misled.count_unchanged(prompts)
        self.note(right, contexts.__getitem__, written.__getitem__)
        return Draw(accuracies, details)

    def write(self, contexts: Sequence[str]) -> tuple[list[str], int]:
        model, task, way = self.model, self.task, self.way
        if model.is_masked:
            raise ValueError(f"{model.name} is a masked language model, and {task.name} wants answers that are written")
        longest = max(len(model.encode(task.delimiter + one)) for item in self.items for one in item.answers)
        return write_answers(model, contexts, longest, task.stop, way.beams, way.bos)

    def right(self, written: Sequence[str]) -> list[bool]:
        return [text in map(str.strip, item.answers) for text, item in zip(written, self.items, strict=True)]

    def baselines(self) -> dict[str, float]:
        """The accuracy of the commonest answer."""
        (commonest, _), *_ = Counter(one for item in self.pool or self.items for one in item.answers).most_common(1)
        return {"majority": sum(self.right([commonest.strip()] * len(self.items))) / len(self.items)}


def argmax(values: Sequence[float]) -> int:
    """The place of the largest, the first of equal ones."""
    return max(range(len(values)), key=values.__getitem__)


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Over draws of examples."""
    mean = min(max(statistics.fmean(values), min(values)), max(values))  # of equal values it may be an ulp off
    return {"mean": mean, "min": min(values), "max": max(values), "seeds": list(values)}
