"""What does a comparison consist of?  Systems, how long each is pretrained, and the tasks that judge them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from engine.run.recipe import check_each_once, check_least, check_name, check_one_line, check_seed
from finetune.table.published import PUBLISHED

RUNS = Path("runs")
Arm = Literal["untrained", "minutes", "text"]
AFTER_MINUTES: tuple[Arm, ...] = ("minutes", "untrained")  # that are fine-tuned once a system has had its minutes


@dataclass(frozen=True)
class System:
    """A kind of model: how its vocabulary is learnt, how it is pretrained and how it is fine-tuned, a recipe each."""

    name: str  # what the table calls it
    tokenizer: str
    pretrain: str
    finetune: str
    published: str = ""  # its row among the published ones, such as BERT-base; empty: none

    def __post_init__(self) -> None:
        check_one_line("name", self.name)
        if not self.slug:
            raise ValueError(f"a system's name is {self.name!r}; it needs a letter")
        if self.published and self.published not in PUBLISHED:
            raise ValueError(f"published is {self.published!r}; those are {', '.join(PUBLISHED)}")

    @property
    def slug(self) -> str:
        """The name as that of a folder."""
        return "-".join("".join(letter if letter.isalnum() else " " for letter in self.name.lower()).split())


@dataclass(frozen=True)
class CompareRecipe:
    """Each system is pretrained, and fine-tuned on every task with every seed; so are the same networks untrained."""

    name: str  # all of it lies in runs/NAME
    systems: tuple[System, ...]  # from the one that is expected to be the weakest to the strongest
    tasks: tuple[str, ...]  # such as glue/rte
    minutes: float = 60.0  # of pretraining, each
    clock: Literal["wall", "cpu"] = "cpu"  # cpu: minutes that a process has computed, whatever else the machine does
    threads: int = 1  # of each process; with the cpu clock, the minutes of all of them are added
    jobs: int = 1  # systems that are trained at the same time, each on `threads` threads
    same: tuple[Literal["minutes", "text"], ...] = ("minutes", "text")  # text: what the slowest reads in its minutes
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)  # of the fine-tunings on `tasks`
    large_tasks: tuple[str, ...] = ()  # tasks that take longer, and so have seeds of their own
    large_seeds: tuple[int, ...] = (0,)  # of the fine-tunings on `large_tasks`
    max_train_samples: int = 0  # fine-tune on so many rows at most; 0: on all

    def __post_init__(self) -> None:
        check_name(self.name)
        check_least(self, 1, "threads", "jobs")
        check_least(self, 0, "max_train_samples")
        if not self.minutes > 0:
            raise ValueError(f"minutes is {self.minutes}; it must be above 0")
        if len(self.systems) < 2 or len({system.slug for system in self.systems}) < len(self.systems):
            raise ValueError("systems must name two or more, each by a name of its own")
        folders: dict[str, str] = {}  # of vocabularies
        for system in self.systems:
            if (other := folders.setdefault(Path(system.tokenizer).stem, system.tokenizer)) != system.tokenizer:
                raise ValueError(
                    f"{other} and {system.tokenizer} would be kept in one folder, as vocabularies are by the names of "
                    "their files: rename one file"
                )
        if not self.same:
            raise ValueError("same is empty; give minutes, text or both")
        if not self.tasks or not self.seeds or (self.large_tasks and not self.large_seeds):
            raise ValueError("tasks and seeds must name one each, or more, such as tasks: [glue/rte], seeds: [0]")
        for name in ("tasks", "large_tasks", "seeds", "large_seeds"):
            check_each_once(self, name)
        if both := set(self.tasks) & set(self.large_tasks):
            raise ValueError(f"{min(both)} is among tasks and among large_tasks: leave it out of one")
        for seed in (*self.seeds, *self.large_seeds):
            check_seed(seed)

    @property
    def arms(self) -> tuple[Arm, ...]:
        """What is fine-tuned. The arm of the same text needs that of the same minutes, which says how much text."""
        return (*AFTER_MINUTES, "text") if "text" in self.same else AFTER_MINUTES

    @property
    def folder(self) -> Path:
        return RUNS / self.name

    def pretrained(self, system: System, arm: Arm) -> Path:
        """The run that an arm of a system starts from."""
        return self.folder / ("text" if arm == "text" else "minutes") / system.slug

    def finetuned(self, system: System, arm: Arm) -> Path:
        return self.folder / "tasks" / f"{system.slug}-{arm}"

    def log(self, system: System) -> Path:
        """What the commands of a system say where several run at once."""
        return self.folder / f"{system.slug}.log"

    def vocabulary(self, system: System) -> Path:
        return self.folder / "vocabularies" / Path(system.tokenizer).stem
