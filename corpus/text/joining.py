"""How do shards become one store?  Their tables are put behind each other; their ids stay in the files they are in.

A shard is what one task prepared, and has the shape of a store (corpus.text.store). The ids are linked, not copied,
unless they are so few that many small files would come of it. So joining takes the time of copying the tables, a sixth
of all.
"""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy

from corpus.files import locked
from corpus.manifest import Mapped, read_manifest, write_manifest
from corpus.text.document import Tally
from corpus.text.readers import refuse_empty
from corpus.text.source import Source, files_left_out
from corpus.text.store import COUNTED, FILES, SPLITS, check_something_is_left, home_of
from engine.run.disk import whole_folder

SMALL = 1 << 26  # bytes; ids below that share a file
MOST_FILES = 256  # of ids, about: a process has each of them open
AT_A_TIME = 1 << 20  # bytes of ids, or entries of a table


def join(shards: list[Path], origin: dict[str, Any], folder: Path) -> Path:
    """Make the store of `origin` in `folder` from the shards, in this order. Returns its home.

    The store's content does not depend on where one shard ends and the next begins. Raises ValueError if a source has
    no document, or if none is left to train on.
    """
    home = home_of(origin, folder)
    with locked(home):
        if not home.exists():
            with whole_folder(home) as aside:
                for split in SPLITS:
                    join_split([shard / split for shard in shards], origin, aside / split)
    return home


def join_split(shards: list[Path], origin: dict[str, Any], folder: Path) -> None:
    folder.mkdir()
    manifests = [read_manifest(shard, FILES) for shard in shards]
    skipped: Tally = sum((Tally(manifest["skipped"]) for manifest in manifests), Tally())
    for source in origin["sources"]:
        skipped.update(files_left_out(Source(**source)))
    counts = {name: sum(manifest["counts"][name] for manifest in manifests) for name in COUNTED}
    check_something_is_left(folder.name, counts, origin, skipped)
    if folder.name == "train":
        for number, source in enumerate(origin["sources"]):
            if not sum(manifest["read"].get(str(number), 0) for manifest in manifests):
                refuse_empty(Source(**source), skipped)
    about = {
        shard / name: described
        for shard, man in zip(shards, manifests, strict=True)
        for name, described in man["files"].items()
    }
    linked = {}
    for name in ("sentences.bin", "documents.bin"):
        check([shard / name for shard in shards], about, "int64")
        join_tables(shards, name, folder)
    for number, files in enumerate(together([shard / "ids-00000.bin" for shard in shards])):
        target = folder / f"ids-{number:05}.bin"
        if len(files) == 1:
            link(files[0], target)
            linked[target.name] = about[files[0]]  # whoever reads it checks it
        else:
            check(files, about, origin["dtype"])
            join_ids(files, target)
    facts = {"division": manifests[0]["division"], "skipped": dict(sorted(skipped.items())), "counts": counts}
    write_manifest(folder, {**origin, **facts}, linked)


def check(files: list[Path], about: dict[Path, dict[str, Any]], dtype: str) -> None:
    """Refuse what has changed since its shard was written: its copy would get a checksum of its own."""
    for file in files:
        Mapped(file, dtype, about[file]).check()


def join_tables(shards: list[Path], name: str, folder: Path) -> None:
    """A shard's table begins with 0 and ends with the number of what it counts: the next one continues from there."""
    before = 0
    with (folder / name).open("wb") as joined:
        joined.write(numpy.zeros(1, numpy.int64).tobytes())
        for shard in shards:
            with (shard / name).open("rb") as table:
                last = 0
                table.seek(8)
                while len(entries := numpy.fromfile(table, numpy.int64, AT_A_TIME)):
                    joined.write((before + entries).tobytes())
                    last = int(entries[-1])
            before += last


def together(files: list[Path]) -> Iterator[list[Path]]:
    """The files that hold anything, in groups: a group is joined into one file."""
    most = max(SMALL, sum(file.stat().st_size for file in files) // MOST_FILES)
    group: list[Path] = []
    size = 0
    for file in [file for file in files if file.stat().st_size] or files[:1]:
        if group and size + file.stat().st_size > most:
            yield group
            group, size = [], 0
        group.append(file)
        size += file.stat().st_size
    yield group


def join_ids(files: list[Path], target: Path) -> None:
    with target.open("wb") as joined:
        for path in files:
            with path.open("rb") as file:
                shutil.copyfileobj(file, joined, AT_A_TIME)


def link(file: Path, target: Path) -> None:
    try:
        os.link(file, target)
    except OSError:  # a file system without hard links
        shutil.copyfile(file, target)
