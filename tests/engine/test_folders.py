"""Does each program keep to its own folders?"""

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
from accelerate import Accelerator

from engine.run.checkpoint import Run
from engine.run.folders import DEMO, JOB, RUN, STORE, TOKENIZER, kind_of, mark, refuse_inside, refuse_others


@dataclass(frozen=True)
class Recipe:
    name: str = "mine"
    lr: float = 1e-5


@pytest.fixture(scope="module")
def accelerator():
    return Accelerator(cpu=True)


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def filled(folder: str, *files: str) -> Path:
    for name in files:
        path = Path(folder) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("precious")
    return Path(folder)


def everything(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}


OTHERS = {
    "notes": ("thesis.txt",),
    "notes with a recipe": ("thesis.txt", "recipe.yaml"),
    "hidden": (".git/config", "thesis.txt"),
    "tokenizer": ("tokenizer/tokenizer.json", "report.json", "recipe.yaml"),
    "store": ("train/manifest.json", "held_out/manifest.json"),
    "stores": ("0123456789abcdef/train/manifest.json", "0123456789abcdef/held_out/manifest.json"),
    "model": ("config.json", "model.safetensors"),
    "a file that is called like a mark": ("thesis.txt", ".cloze"),
}


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("files", OTHERS.values(), ids=OTHERS)
def test_what_is_no_run_is_neither_trained_in_nor_deleted(accelerator, files, overwrite):
    folder = filled("runs/mine", *files)
    before = everything(folder)
    with pytest.raises(FileExistsError, match=r"runs/mine .*choose another --name"):
        Run(folder, Recipe(), accelerator, overwrite=overwrite)
    assert everything(folder) == before


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("kind", [TOKENIZER, STORE, DEMO, JOB])
def test_a_marked_folder_of_another_kind_is_refused(accelerator, kind, overwrite):
    folder = Path("runs/mine")
    mark(folder, kind)
    with pytest.raises(FileExistsError, match="and no run; choose another --name"):
        Run(folder, Recipe(), accelerator, overwrite=overwrite)
    assert kind_of(folder) == kind


def test_a_run_inside_another_programs_folder_is_refused(accelerator):
    filled("runs/tok", *OTHERS["tokenizer"])
    filled("runs/stores/key", *OTHERS["store"])
    Run(Path("runs/other"), Recipe(), accelerator)
    before = everything(Path("runs"))
    for name in ("tok/run", "tok/tokenizer", "tok/a/b", "stores/key/run", "other/run", "other/model"):
        with pytest.raises(FileExistsError, match=r"a run cannot lie inside runs/.*choose another place"):
            Run(Path("runs") / name, Recipe(), accelerator)
    with pytest.raises(FileExistsError, match="a prepared corpus cannot lie inside runs/tok, a tokenizer"):
        refuse_inside(Path("runs/tok/stores"), STORE)
    assert everything(Path("runs")) == before
    mark(Path("runs/demo"), DEMO)
    Run(Path("runs/demo/pretrain"), Recipe(), accelerator)
    Run(Path("runs/other/task/seed-0"), Recipe(), accelerator, kind=JOB)


def test_to_overwrite_keeps_what_no_run_wrote(accelerator, capsys):
    folder = Path("runs/mine")
    Run(folder, Recipe(), accelerator)
    filled("runs/mine", "metrics.jsonl", "state/step-3/position.json", "model/config.json", "thesis.txt", "figures/a")
    Run(folder / "task/seed-0", Recipe(), accelerator, kind=JOB)
    filled("runs/mine/task/seed-0", "metrics.jsonl")
    Run(folder, Recipe(lr=1.0), accelerator, overwrite=True)
    assert "runs/mine: kept figures, thesis.txt, which no run wrote" in capsys.readouterr().out
    assert {path.name for path in folder.iterdir()} == {".cloze", ".lock", "recipe.yaml", "thesis.txt", "figures"}
    assert "lr: 1.0" in (folder / "recipe.yaml").read_text()


def test_a_link_is_not_followed_to_delete(accelerator):
    elsewhere = Path("scratch")
    Run(elsewhere, Recipe(), accelerator)
    filled("scratch", "metrics.jsonl")
    Path("runs").mkdir()
    Path("runs/mine").symlink_to(elsewhere.absolute())
    before = everything(elsewhere)
    with pytest.raises(FileExistsError, match=r"runs/mine is a symbolic link to .*scratch.*delete the link"):
        Run(Path("runs/mine"), Recipe(lr=1.0), accelerator, overwrite=True)
    assert everything(elsewhere) == before
    Path("runs/mine").unlink()
    Run(Path("runs/mine"), Recipe(lr=1.0), accelerator, overwrite=True)
    filled("runs", "file")
    with pytest.raises(FileExistsError, match="runs/file is a file"):
        Run(Path("runs/file"), Recipe(), accelerator, overwrite=True)


def test_jobs_at_work_make_their_run_one_that_is_not_taken_over(accelerator):
    Run(Path("runs/glue"), Recipe(name="glue"), accelerator)
    Run(Path("runs/glue/rte/seed-0"), Recipe(), accelerator, kind=JOB)
    Run(Path("runs/glue"), Recipe(name="corrected"), accelerator)  # nothing came of the first launch
    filled("runs/glue/rte/seed-0", "metrics.jsonl")
    with pytest.raises(FileExistsError, match="holds a run of another recipe"):
        Run(Path("runs/glue"), Recipe(name="glue"), accelerator)


def test_what_an_earlier_version_left_is_known_by_its_files(accelerator):
    folder = Path("runs/mine")
    Run(folder, Recipe(), accelerator)
    filled("runs/mine", "metrics.jsonl")
    (folder / ".cloze").unlink()
    assert kind_of(folder) == RUN
    Run(folder, Recipe(), accelerator)
    with pytest.raises(FileExistsError, match=r"lr: 1e-05 there, 1\.0 here"):
        Run(folder, Recipe(lr=1.0), accelerator)
    with pytest.raises(FileExistsError, match="runs/mine is a run and no tokenizer"):
        refuse_others(folder, TOKENIZER)
    Run(folder, Recipe(lr=1.0), accelerator, overwrite=True)
    assert kind_of(folder) == RUN


# A run's own files, damaged

BROKEN = {
    "empty": b"",
    "truncated": None,
    "tagged": b"name: !!python/object/apply:os.system ['touch runs/owned']\n",
    "a list": b"- 1\n",
    "not UTF-8": b"\xff\xfe\x00name",
    "nested": b"[" * 500,
}


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN)
def test_a_damaged_recipe_is_written_anew_if_it_is_the_one_at_hand_and_else_named(accelerator, capsys, content):
    folder = Path("runs/mine")
    Run(folder, Recipe(), accelerator)
    filled("runs/mine", "metrics.jsonl")
    path = folder / "recipe.yaml"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) - 12] if content is None else content)
    damaged = path.read_bytes()
    with pytest.raises((ValueError, FileExistsError), match=r"runs/mine.*--overwrite True") as raised:
        Run(folder, Recipe(lr=1.0), accelerator)
    assert "\n" not in str(raised.value)
    assert path.read_bytes() == damaged
    Run(folder, Recipe(), accelerator)
    assert "runs/mine/recipe.yaml was damaged; it is written anew" in capsys.readouterr().out
    assert path.read_bytes() == whole
    assert not Path("runs/owned").exists()


NO_OBJECTS = [b"{", b"[]", b"null", b"{}", b"\xff\x00", b"", b"5", b"[" * 100_000]


@pytest.mark.parametrize("content", NO_OBJECTS, ids=lambda content: repr(content[:6]))
def test_damaged_stamps_and_a_damaged_end_are_named(accelerator, content):
    run = Run(Path("runs/mine"), Recipe(), accelerator)
    run.bind(corpus="a", tokenizer="b")
    (run.folder / "stamps.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"^runs/mine/stamps\.json is damaged \(.*--overwrite True"):
        run.bind(corpus="a", tokenizer="b")
    run.finish(steps=3)
    (run.folder / "finished.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"^runs/mine/finished\.json is damaged \(.*delete it, and the same command"):
        Run(run.folder, Recipe(), accelerator)
    (run.folder / "finished.json").unlink()
    assert Run(run.folder, Recipe(), accelerator).finished is None


def test_the_mark_is_no_trouble_to_who_reads_it(accelerator):
    for content in (b"", b"\xff\xff", b"nonsense\n", b"run"):
        folder = Path("runs/mine")
        Run(folder, Recipe(), accelerator)
        (folder / ".cloze").write_bytes(content)
        Run(folder, Recipe(), accelerator)
        assert json.dumps(kind_of(folder)) == '"run"'


def test_a_file_where_a_folder_is_wanted_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("stores").write_text("")
    with pytest.raises(FileExistsError, match="stores is a file, and a prepared corpus needs a folder; choose another"):
        refuse_inside(Path("stores"), STORE)
