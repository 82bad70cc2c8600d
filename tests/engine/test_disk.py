"""Is what is no regular file written into, and never replaced?"""

import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from engine.run.disk import whole_file

WRITE = (
    "import sys; from pathlib import Path; from engine.run.disk import whole_file; "
    "whole_file(Path(sys.argv[1]), b'new\\n')"
)


def test_a_device_stays_a_device():
    whole_file(Path("/dev/null"), b"new")
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)


def test_a_full_device_is_an_error_that_names_it(tmp_path):
    full = tmp_path / "full"
    full.symlink_to("/dev/full")
    with pytest.raises(OSError, match="full cannot be written to: No space left on device"):
        whole_file(full, b"new")
    assert full.is_symlink()
    assert stat.S_ISCHR(Path("/dev/full").stat().st_mode)


def test_a_pipe_is_written_into(tmp_path):
    pipe, read = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()), daemon=True)
    reader.start()
    whole_file(pipe, b"new")
    reader.join(10)
    assert read == [b"new"]
    assert pipe.is_fifo()


def test_standard_output_goes_on_where_it_stands(tmp_path):
    """A shell's >> opened it to append to."""
    log = tmp_path / "log"
    log.write_text("old\n")
    with log.open("a") as appended:
        for name in ("/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"):
            subprocess.run([sys.executable, "-c", WRITE, name], stdout=appended, check=True)
    assert log.read_text() == "old\n" + "new\n" * 3


@pytest.mark.parametrize("there", [True, False])
def test_a_link_stays_and_what_it_leads_to_is_written(tmp_path, there):
    (tmp_path / "folder").mkdir()
    link, real = tmp_path / "link", tmp_path / "folder/real"
    link.symlink_to("folder/real")
    if there:
        real.write_text("old")
    whole_file(link, b"new")
    assert link.is_symlink()
    assert real.read_bytes() == b"new"
    assert [path.name for path in real.parent.iterdir()] == ["real"]


@pytest.mark.parametrize("below", ["answers", "more/answers"])
def test_a_file_in_the_way_is_named(tmp_path, below):
    (tmp_path / "notes").write_text("kept")
    with pytest.raises(OSError, match=rf"notes/{below} cannot be made: \S+/notes is no folder"):
        whole_file(tmp_path / "notes" / below, b"new")
    assert (tmp_path / "notes").read_text() == "kept"


def test_a_folder_and_a_link_to_itself_are_refused(tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(OSError, match="is a folder; name a file in it"):
        whole_file(tmp_path, b"new")
    with pytest.raises(OSError, match="leads to itself"):
        whole_file(tmp_path / "loop", b"new")
