"""What should somebody know who finds the model?  Its model card, README.md, as the Hub reads it.

After Mitchell et al. 2019, "Model Cards for Model Reporting". The facts are the run's own: its recipe, its log, what it
was trained on and what it scored; the scores stand in the metadata too, as the Hub's model-index.
"""

import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jinja2
from huggingface_hub import EvalResult, ModelCard, ModelCardData

from engine.publish.curves import Panels, picture
from engine.run.starting import program_name

WATTS_PER_CORE = 10.0  # a busy server core, its share of memory and mainboard included


@dataclass(frozen=True)
class Score:
    """One number that the model reached, as the Hub's model-index names such things."""

    task: str  # the Hub's name, such as text-classification
    dataset: str  # its name on the Hub, or what it is
    name: str  # of the data, in words
    split: str
    metric: str
    value: float
    config: str | None = None
    baseline: float | None = None  # what a guess without a look at the input reaches


@dataclass(frozen=True)
class Card:
    """What only the kind of training can say. Texts are Markdown; `usage` is Python with {model} for the model."""

    summary: str
    usage: str
    data: str
    limits: str
    pipeline: str  # the Hub's pipeline_tag
    tags: tuple[str, ...] = ()
    datasets: tuple[str, ...] = ()  # Hub ids
    base_model: str = ""  # a Hub id
    scores: tuple[Score, ...] = ()
    panels: Panels = ()  # the curves worth showing
    facts: dict[str, str] = field(default_factory=dict)  # such as the hash of the tokenizer
    license: str = ""  # the model's, in words or as SPDX has it; empty: nobody said
    language: tuple[str, ...] = ()  # ISO 639 codes; empty: nobody said


@dataclass(frozen=True)
class Journey:
    """How the run went: what its folder and its process know."""

    folder: Path
    hours: float
    processes: int
    hardware: str
    commit: str | None


def write_card(target: Path, card: Card, journey: Journey, repo: str = "") -> None:
    """Write README.md, and curves.png if there are curves, into the model folder `target`."""
    metrics = journey.folder / "metrics.jsonl"
    drawn = bool(card.panels) and metrics.exists()
    if drawn:
        (target / "curves.png").write_bytes(picture(metrics, card.panels, "png", ink="#5b6470"))
    recipe = journey.folder / "recipe.yaml"
    name = repo or journey.folder.as_posix().removeprefix("runs/")
    template = jinja2.Environment(undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True).from_string(
        Path(__file__).with_suffix(".md").read_text(encoding="utf-8")
    )
    body = template.render(
        name=name,
        card=card,
        usage=card.usage.replace("{model}", repo or "path/to/this/folder"),
        drawn=drawn,
        journey=journey,
        command=command(),
        recipe=recipe.read_text(encoding="utf-8") if recipe.exists() else "",
        energy=energy(journey),
        year=time.gmtime().tm_year,
    )
    ModelCard(f"---\n{metadata(card, name).to_yaml()}\n---\n\n{body}").save(target / "README.md")


def metadata(card: Card, name: str) -> ModelCardData:
    """The card's YAML head."""
    return ModelCardData(
        model_name=name,
        **license_fields(card.license),
        language=list(card.language) or None,
        library_name="transformers",
        pipeline_tag=card.pipeline,
        tags=[*card.tags, "cloze"],
        datasets=list(card.datasets) or None,
        base_model=card.base_model or None,
        eval_results=[result(score) for score in card.scores] or None,
    )


def license_fields(license: str) -> dict[str, Any]:
    """As the Hub has it: the SPDX name of a licence that it knows, or `other` with a name; nothing if none was said."""
    if not license or license.lower() in HUB_LICENSES.split():
        return {"license": license.lower()} if license else {}
    return {"license": "other", "license_name": license}


# https://huggingface.co/docs/hub/repositories-licenses: those of them that are called as in SPDX.
HUB_LICENSES = (
    "afl-3.0 apache-2.0 artistic-2.0 bsd-2-clause bsd-3-clause bsd-3-clause-clear bsl-1.0 cc-by-2.0 cc-by-2.5 "
    "cc-by-3.0 cc-by-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 cc-by-nc-sa-2.0 "
    "cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cc-by-nd-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc0-1.0 cdla-permissive-1.0 "
    "cdla-permissive-2.0 cdla-sharing-1.0 ecl-2.0 epl-1.0 epl-2.0 etalab-2.0 eupl-1.1 eupl-1.2 isc lppl-1.3c mit "
    "mpl-2.0 ms-pl ncsa ofl-1.1 osl-3.0 postgresql unlicense wtfpl zlib"
)


def result(score: Score) -> EvalResult:
    return EvalResult(
        task_type=score.task, dataset_type=score.dataset, dataset_name=score.name, dataset_config=score.config,
        dataset_split=score.split, metric_type=score.metric, metric_value=round(score.value, 4),
    )  # fmt: skip


def command() -> str:
    """The command that this process is carrying out, as a user would type it; or that it was called from Python."""
    name = program_name()
    return " ".join(["accelerate launch -m", name, *sys.argv[1:]]) if name else "from Python, with the recipe below"


def energy(journey: Journey) -> str:
    """An estimate in words, with its method."""
    limits = power_limits()
    if limits:
        watts, method = sum(limits[: journey.processes]), "its GPUs at their power limit all the time"
    else:
        cores = min(journey.processes * int(os.environ.get("OMP_NUM_THREADS", "0") or 1), os.cpu_count() or 1)
        watts, method = WATTS_PER_CORE * cores, f"{cores} busy CPU core(s) at {WATTS_PER_CORE:.0f} W each"
    return f"{watts * journey.hours / 1000:.3g} kWh: {method}, for {journey.hours:.3g} hours, without cooling"


def power_limits() -> list[float]:
    """The power limit of each NVIDIA GPU, watts; none without them."""
    if not shutil.which("nvidia-smi"):
        return []
    asked = ["nvidia-smi", "--query-gpu=power.limit", "--format=csv,noheader,nounits"]
    printed = subprocess.run(asked, capture_output=True, text=True)
    return [float(line) for line in printed.stdout.split("\n") if line.strip().replace(".", "", 1).isdigit()]
