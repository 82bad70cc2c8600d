"""Who runs the stages of a corpus' preparation?  This machine's processes, a Ray cluster or Slurm, by datatrove.

A task that is done leaves a mark in its stage's log folder, and is not run again. Ray's and Slurm's machines must see
the working folder and the stores under the same path.
"""

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

from datatrove.executor import LocalPipelineExecutor, RayPipelineExecutor, SlurmPipelineExecutor
from datatrove.executor.base import PipelineExecutor

from corpus.text.stages import Stage
from engine.run.system import available_cores

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Machines:
    """What the tasks may take. Slurm and Ray give each task `cpus` cores and `mem` GB for each of them."""

    workers: int = -1  # tasks at a time; -1 = as many as there are tasks
    cpus: int = 1
    mem: int = 2
    partition: str = ""  # Slurm alone, as the next one
    time: str = ""  # the most a task may take, such as 04:00:00


def run_here(stages: list[Stage], logs: Path, machines: Machines) -> None:
    """Run all stages on this machine. Raises what a task raises."""
    most = machines.workers if machines.workers > 0 else available_cores()
    for stage in stages:
        workers, log = min(most, stage.num_tasks), str(logs / stage.name)
        # forked, because a fresh process would import all that the caller has imported
        LocalPipelineExecutor(stage.steps, stage.num_tasks, workers, log, start_method="fork").run()


def run_on_ray(stages: list[Stage], logs: Path, machines: Machines) -> None:
    """Run all stages on the cluster that RAY_ADDRESS names, or else on one of this machine's own."""
    import ray

    ray.init(runtime_env={"env_vars": {"PYTHONPATH": str(ROOT)}})
    try:
        for stage in stages:
            executor = RayPipelineExecutor(
                stage.steps,
                stage.num_tasks,
                machines.workers,
                logging_dir=str(logs / stage.name),
                cpus_per_task=machines.cpus,
                mem_per_cpu_gb=machines.mem,
            )
            executor.run()
            check_done(executor, logs / stage.name)
    finally:
        ray.shutdown()


def check_done(executor: PipelineExecutor, log: Path) -> None:
    """Raise for a task that failed: Ray's executor only writes it down."""
    for task in executor.get_incomplete_ranks(skip_completed=True):
        said = log.parents[1] / "errors" / f"{task:05}"
        if said.exists():
            raise ValueError(said.read_text())
        raise ValueError(f"task {task} of {executor.world_size} failed: see {log}/logs/task_{task:05}.log")


def submit_to_slurm(stages: list[Stage], logs: Path, machines: Machines) -> None:
    """Submit a job for each stage that is not done yet, each waiting for the one before, and return."""
    slurm_executors(stages, logs, machines)[-1].run()


def slurm_executors(stages: list[Stage], logs: Path, machines: Machines) -> list[SlurmPipelineExecutor]:
    if not machines.partition or not machines.time:
        raise ValueError("Slurm needs --partition NAME and --time HH:MM:SS, the most that one task may take")
    found: list[SlurmPipelineExecutor] = []
    for stage in stages:
        executor = SlurmPipelineExecutor(
            stage.steps,
            stage.num_tasks,
            machines.time,
            machines.partition,
            machines.cpus,
            machines.mem,
            workers=machines.workers,
            job_name=f"prepare-{stage.name}",
            qos="",
            env_command=as_here(),
            depends=found[-1] if found else None,
            logging_dir=str(logs / stage.name),
        )
        found.append(executor)
    return found


def as_here() -> str:
    """The shell commands after which this folder, this Python and this code are found."""
    folder, python = shlex.quote(str(Path.cwd())), shlex.quote(str(Path(sys.executable).parent))
    return f"cd {folder} && export PATH={python}:$PATH PYTHONPATH={shlex.quote(str(ROOT))}"


RUNNERS = {"local": run_here, "ray": run_on_ray, "slurm": submit_to_slurm}
