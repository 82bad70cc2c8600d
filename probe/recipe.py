"""What does a recipe of the probing room say?"""

from dataclasses import dataclass

from engine.run.recipe import check_each_once, check_name, check_seed, operational
from probe.probe import Probe


@dataclass(frozen=True)
class ProbeRecipe:
    """Every probe x model x seed is one job. `model` is usually given on the command line."""

    name: str  # the results are in runs/NAME
    probes: tuple[Probe, ...]  # what is asked
    model: tuple[str, ...] = ()  # runs, model folders or Hub ids, or files of word vectors
    seeds: tuple[int, ...] = (0,)  # of the untrained networks, and of probes that are trained themselves
    untrained: bool = True  # also ask the same networks with random weights
    overwrite: bool = operational(False)  # ask again what was answered already

    def __post_init__(self) -> None:
        check_name(self.name)
        check_each_once(self, "model")
        check_each_once(self, "seeds")
        for seed in self.seeds:
            check_seed(seed)
        if not self.probes or not self.seeds:
            raise ValueError("probes and seeds must name one each, or more, such as seeds: [0]")
        tasks = [probe.task for probe in self.probes]
        if double := [task for task in tasks if tasks.count(task) > 1]:
            raise ValueError(
                f"probes has {double[0]} twice; the table could not tell them apart: leave one out, or give its file "
                "another name"
            )
