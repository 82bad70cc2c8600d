"""How are rows loaded from a folder or from the Hub, and how is their provenance recorded?

A folder is read file by file, and a file that is not there is an error that names it. The Hub is read through
`datasets`, and the commit that was read (40 hexadecimal digits) is kept with the rows.
"""

import codecs
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from datasets import Dataset, DatasetInfo, Features, load_dataset_builder
from datasets.exceptions import DatasetNotFoundError

from engine.run.recipe import data_path
from finetune.tasks.task import DataSource, HubData, Rows

COMMIT = re.compile(r"[0-9a-f]{40}")


def find_files(
    task: str, source: DataSource, official: Mapping[str, str], needed: set[str], advice: str = ""
) -> dict[str, Path]:
    """Split → its file, for the splits that have one: `data.files.SPLIT` if the recipe says that, else `official`.

    Raises ValueError if the recipe names no folder or a split that is not there, and FileNotFoundError, naming the path
    looked for, if a file is missing that is `needed` or named by the recipe.
    """
    if not source.path:
        raise ValueError(f"{task}: data.source is folder, so data.path must name the folder of the official files")
    strange = sorted(set(source.files) - set(official))
    if strange:
        raise ValueError(f"{task}: data.files names the split {strange[0]!r}; it has {', '.join(official)}")
    folder = find_folder(task, source)
    paths = {split: folder / source.files.get(split, name) for split, name in official.items()}
    for split, path in paths.items():
        if not path.is_file() and (split in needed or split in source.files):
            raise FileNotFoundError(
                f"{task} has no {split} split: looked for {path.absolute()}; "
                f"if the file has another name, say it in data.files.{split}{advice}"
            )
    return {split: path for split, path in paths.items() if path.is_file()}


def find_folder(task: str, source: DataSource) -> Path:
    """The folder that data.path names. Errors: FileNotFoundError; ValueError for a file, which data.files names."""
    folder = data_path(source.path)
    if folder.is_file():
        raise ValueError(f"{task}: data.path is the file {source.path}, and names the folder of the files: say "
                         f"--data.path {folder.parent} --data.files.train {folder.name}")  # fmt: skip
    return folder


def find_encoding(path: Path) -> str:
    """UTF-8, with or without a byte-order mark, or UTF-16 with one. Raises ValueError for UTF-16 without one."""
    with path.open("rb") as file:
        start = file.read(2)
    if start in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        return "utf-16"
    if b"\0" in start:
        order = "BE" if start.startswith(b"\0") else "LE"
        raise ValueError(f"{path} is UTF-16 without a byte-order mark, or no text: write it anew with  "
                         f"iconv -f UTF-16{order} -t UTF-8 FILE > NEW")  # fmt: skip
    return "utf-8-sig"


def read_text(path: Path) -> str:
    """A whole file, in an encoding of `find_encoding`. Raises ValueError for an empty or a damaged one."""
    data, encoding = path.read_bytes(), find_encoding(path)
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        name = encoding.upper().removesuffix("-SIG")
        raise ValueError(f"{path}:{line}: byte {error.start} is not {name} text ({error.reason})") from error
    if not text.strip():
        raise ValueError(f"{path} is empty")
    return text


def make_table(columns: Mapping[str, list[Any]], features: Features, description: str) -> Dataset:
    """Rows in columns, with a line that says where they were read."""
    return Dataset.from_dict(dict(columns), info=DatasetInfo(description=description, features=features))


def describe_file(source: DataSource, path: Path) -> str:
    """A file as the recipe would write it, so that a results file does not depend on where the data lies."""
    return f"folder {Path(source.path) / path.relative_to(data_path(source.path))}"


def unknown_source(task: str, source: DataSource) -> ValueError:
    return ValueError(f"{task}: data.source is {source.source!r}; this task is read from 'folder' or 'hub'")


def load_hub_rows(task: str, source: DataSource, hub: HubData, splits: Mapping[str, str]) -> Rows:
    """Our split name → rows of the Hub's copy, as its columns stand there; `splits` is our name → the Hub's name.

    Raises FileNotFoundError if the Hub or the data set cannot be reached, ValueError if it lacks a split or if the
    commit is not known.
    """
    repo, revision = source.path or hub.repo, source.revision or hub.revision
    try:
        builder = load_dataset_builder(repo, name=hub.config or None, revision=revision)
        builder.download_and_prepare()
    except RuntimeError as error:  # `datasets` runs no loading scripts
        raise ValueError(
            f"{task}: {repo} at {revision}: {error}; name a revision of parquet files in data.revision"
        ) from error
    except (ConnectionError, DatasetNotFoundError) as error:
        raise FileNotFoundError(
            f"{task}: cannot read {repo} at {revision} from the Hub ({error}); "
            "without a network, use the official files: data.source: folder"
        ) from error
    if not COMMIT.fullmatch(builder.hash or ""):
        raise ValueError(f"{task}: the Hub gave no commit for {repo} at {revision}, only {builder.hash!r}")
    if COMMIT.fullmatch(revision) and builder.hash != revision:  # offline, `datasets` takes the copy it read last
        raise ValueError(
            f"{task}: only commit {builder.hash} of {repo} is on this machine, not {revision}; get it online"
        )
    loaded = builder.as_dataset()
    lost = sorted(set(splits.values()) - set(loaded))
    if lost:
        raise ValueError(f"{task}: {repo} at {revision} has no split {lost[0]!r}; it has {', '.join(loaded)}")
    rows = {ours: loaded[theirs] for ours, theirs in splits.items()}
    for ours, theirs in splits.items():
        rows[ours].info.description = " ".join(filter(None, [f"hub {repo}@{builder.hash}", hub.config, theirs]))
    return rows
