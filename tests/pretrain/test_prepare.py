"""Is a corpus prepared in many tasks the one prepared in one, whoever runs them, and can it be taken up again?"""

import hashlib
import json
import random
import shutil
import sys
from pathlib import Path

import psutil
import pytest

from corpus.text import joining
from corpus.text.store import Store, prepare
from engine.run.recipe import load
from pretrain.prepare import main
from pretrain.recipe import PretrainRecipe
from tokenizer.load import load_tokenizer, tokenizer_hash

WITHOUT = "datatrove is not installed: pip install -r requirements-scale.txt"
STAND_INS = {  # Slurm's programs, on one machine and at once: a job is done when `sbatch` returns
    "sbatch": """#!/bin/bash
script="${@: -1}"
last=$(grep -oP '(?<=--array=0-)[0-9]+' "$script")
for task in $(seq 0 "$last"); do
  SLURM_ARRAY_TASK_ID=$task SLURM_NODELIST=here RUN_OFFSET=0 bash "$script" >&2 || exit 1
done
echo "Submitted batch job 7"
""",
    "srun": '#!/bin/bash\nwhile [[ $1 == -* || $1 =~ ^[0-9]+$ ]]; do shift; done\nexec "$@"\n',
    "scontrol": "#!/bin/bash\necho here\n",
}


@pytest.fixture
def program(launch_program):
    pytest.importorskip("datatrove", reason=WITHOUT)
    return lambda folder, *argv: launch_program(main, folder, *map(str, argv))


def write_rows(file: Path, texts: list[str]) -> None:
    file.parent.mkdir(exist_ok=True)
    file.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))


@pytest.fixture
def rows(tmp_path, corpus) -> Path:
    """A folder of five files of eight documents, and one file without any."""
    texts = [path.read_text(encoding="utf-8") for path in sorted(corpus.iterdir())]
    for number in range(5):
        write_rows(tmp_path / "rows" / f"{number}.jsonl", texts[8 * number : 8 * number + 8])
    write_rows(tmp_path / "rows" / "3b.jsonl", ["", " \n "])
    return tmp_path / "rows"


@pytest.fixture
def recipe(tmp_path, rows, write_recipe) -> Path:
    return write_recipe(tmp_path / "recipe", corpus={"sources": [{"kind": "jsonl", "path": str(rows)}]})


def open_store(recipe: Path, stores: Path) -> tuple[Store, Store]:
    """The store as training builds or finds it."""
    asked = load(PretrainRecipe, recipe)
    corpus, tokenizer = asked.text_corpus, load_tokenizer(asked.tokenizer)
    stamp, cleaning = tokenizer_hash(tokenizer), (corpus.filters, corpus.deduplicate)
    return prepare(corpus.sources, tokenizer, stamp, stores, corpus.held_out, 1, *cleaning)


def contents(stores: Path) -> dict[str, str]:
    files = (path for path in stores.rglob("*") if path.suffix in (".bin", ".json"))
    return {path.relative_to(stores).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


# Whoever runs the tasks, and however many there are


@pytest.mark.parametrize(("tasks", "workers"), [(1, 1), (3, 2), (9, 2)])
def test_any_number_of_tasks_makes_the_store_that_is_made_in_one_go(program, tmp_path, recipe, tasks, workers):
    ended = program(tmp_path, recipe, "--tasks", tasks, "--workers", workers)
    assert ended.status == 0, ended.said
    assert "tokens to train on" in ended.said.splitlines()[-1]
    open_store(recipe, tmp_path / "direct")
    assert contents(tmp_path / "runs/stores") == contents(tmp_path / "direct")
    open_store(recipe, tmp_path / "runs/stores")
    assert contents(tmp_path / "runs/stores") == contents(tmp_path / "direct")  # found, and not built beside it
    assert not list((tmp_path / "runs/stores").glob(".*-tasks"))
    again = program(tmp_path, recipe, "--tasks", 2)
    assert (again.status, len(again.said.splitlines())) == (0, 1)


def test_a_ray_cluster_makes_the_same_bytes(program, tmp_path, recipe):
    pytest.importorskip("ray", reason="ray is not installed: pip install -r requirements-scale.txt")
    ended = program(tmp_path, recipe, "--executor", "ray", "--tasks", 3, "--mem", 1)
    assert ended.status == 0, ended.said
    open_store(recipe, tmp_path / "direct")
    assert contents(tmp_path / "runs/stores") == contents(tmp_path / "direct")


def test_a_failed_task_on_ray_says_what_was_wrong(program, tmp_path, rows, recipe):
    pytest.importorskip("ray", reason="ray is not installed: pip install -r requirements-scale.txt")
    write_rows(rows / "2.jsonl", ["Good."])
    with (rows / "2.jsonl").open("a") as file:
        file.write("not JSON\n")
    ended = program(tmp_path, recipe, "--executor", "ray", "--tasks", 3, "--mem", 1)
    assert ended.status == 2
    assert "2.jsonl:2: not JSON" in ended.said.splitlines()[-1]


def test_slurm_is_given_the_jobs_and_their_order_and_they_make_the_same_bytes(program, tmp_path, recipe, monkeypatch):
    for name, script in STAND_INS.items():
        (tmp_path / "bin").mkdir(exist_ok=True)
        (tmp_path / "bin" / name).write_text(script)
        (tmp_path / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    options = ["--partition", "cpu", "--time", "01:30:00", "--cpus", "2", "--mem", "3", "--workers", "2"]
    ended = program(tmp_path, recipe, "--executor", "slurm", "--tasks", 3, *options)
    assert ended.status == 0, ended.said
    assert "submitted to Slurm" in ended.said.splitlines()[-1]
    (work,) = (tmp_path / "runs/stores").glob(".*.3-tasks")
    script = (work / "logs/encode/launch_script.slurm").read_text()
    for line in ["partition=cpu", "time=01:30:00", "cpus-per-task=2", "mem-per-cpu=3G", "array=0-2%2"]:
        assert f"#SBATCH --{line}\n" in script
    assert f"cd {tmp_path}" in script
    open_store(recipe, tmp_path / "direct")
    again = program(tmp_path, recipe, "--executor", "slurm", "--tasks", 3, *options)
    assert "tokens to train on" in again.said
    assert contents(tmp_path / "runs/stores") == contents(tmp_path / "direct")


# Taken up again


def test_finished_shards_are_kept_when_a_killed_preparation_is_taken_up_again(
    program, launch_program, tmp_path, recipe
):
    stores, argv = tmp_path / "runs/stores", (str(recipe), "--tasks", "5", "--workers", "1")

    def shard(number: int) -> Path | None:
        return next(stores.glob(f".*.5-tasks/shards/{number:05}"), None)

    def kill_once_there_is(number: int):
        def watch(pid: int) -> None:
            if shard(number):
                for process in [*psutil.Process(pid).children(recursive=True), psutil.Process(pid)]:
                    process.kill()

        return watch

    def made() -> dict[str, int]:
        return {path.as_posix(): path.stat().st_mtime_ns for path in stores.glob(".*.5-tasks/shards/*/*/*")}

    assert launch_program(main, tmp_path, *argv, watch=kill_once_there_is(1)).status < 0
    first = made()
    assert len(first) >= 16  # two shards of two splits of four files
    assert not shard(4)
    assert launch_program(main, tmp_path, *argv, watch=kill_once_there_is(3)).status < 0
    assert first.items() <= made().items()
    ended = program(tmp_path, *argv)
    assert ended.status == 0, ended.said
    open_store(recipe, tmp_path / "direct")
    assert contents(stores) == contents(tmp_path / "direct")


def test_a_shard_that_was_lost_is_made_again(program, tmp_path, rows, recipe, monkeypatch):
    monkeypatch.setattr(joining, "join", lambda *_: sys.exit("no room"))
    assert program(tmp_path, recipe, "--tasks", 3, "--workers", 1).status != 0
    (shard,) = (tmp_path / "runs/stores").glob(".*/shards/00001")
    shutil.rmtree(shard)
    monkeypatch.undo()
    ended = program(tmp_path, recipe, "--tasks", 3)
    assert ended.status == 0, ended.said
    open_store(recipe, tmp_path / "direct")
    assert contents(tmp_path / "runs/stores") == contents(tmp_path / "direct")


# Cleaned


def prose(seed: int, num_words: int = 300) -> list[str]:
    chance = random.Random(seed)
    words = ["".join(chance.choices("aeioubdfgklmnprst", k=chance.randint(3, 8))) for _ in range(num_words)]
    return [word if place % 7 else chance.choice(["the", "of", "and", "that"]) for place, word in enumerate(words)]


def as_text(words: list[str]) -> str:
    lines = [" ".join(words[start : start + 15]).capitalize() + "." for start in range(0, len(words), 15)]
    return "\n".join(lines)


def test_filters_and_minhash_leave_the_good_documents_once_each(program, tmp_path, write_recipe):
    good = [as_text(prose(seed)) for seed in range(12)]
    nearly = [as_text([*prose(seed)[:-2], "other", "words"]) for seed in range(4)]
    bad = ["# " * 300, "Too short to be of use.", "\n".join(["the same line of text and that again."] * 40)]
    write_rows(tmp_path / "rows" / "a.jsonl", good[:7] + bad[:1])
    write_rows(tmp_path / "rows" / "b.jsonl", nearly + bad[1:] + good[7:])
    source = {"kind": "jsonl", "path": str(tmp_path / "rows")}
    cleaning = {"filters": ["gopher_quality", "gopher_repetition"], "deduplicate": "minhash"}
    recipe = write_recipe(tmp_path / "recipe", corpus={"sources": [source], **cleaning})
    with pytest.raises(ValueError, match=r"gopher_quality, gopher_repetition, minhash\), and is not prepared"):
        open_store(recipe, tmp_path / "runs/stores")
    ended = program(tmp_path, recipe, "--tasks", 2)
    assert ended.status == 0, ended.said
    both = open_store(recipe, tmp_path / "runs/stores")
    assert sum(map(len, both)) == 12
    assert both[0].manifest["skipped"] == {
        "documents left out by gopher_quality": 2,
        "documents left out by gopher_repetition": 1,
        "documents left out by minhash": 4,
    }


def test_a_filter_that_takes_lines_leaves_the_rest_of_the_document(program, tmp_path, write_recipe):
    lines = as_text(prose(0)).split("\n")
    noise = ["Menu Home Contact", "Read our cookie policy here and now.", lines[0].removesuffix(".")]
    others = [as_text(prose(number)) for number in (1, 2, 3)]
    write_rows(tmp_path / "rows" / "a.jsonl", ["\n".join([*noise, *lines, *noise]), *others])
    write_rows(tmp_path / "clean" / "a.jsonl", ["\n".join(lines), *others])
    stores = {}
    for name, filters in (("rows", ["c4_quality"]), ("clean", [])):
        source = {"kind": "jsonl", "path": str(tmp_path / name)}
        recipe = write_recipe(tmp_path / f"recipe-{name}", corpus={"sources": [source], "filters": filters})
        ended = program(tmp_path, recipe)
        assert ended.status == 0, ended.said
        train, held_out = open_store(recipe, tmp_path / "runs/stores")
        stores[name] = [contents(store.folder)["ids-00000.bin"] for store in (train, held_out)]
    assert stores["rows"] == stores["clean"]


# What is refused


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--tasks", "0"], "--tasks is 0; it must be 1 or more"),
        (["--executor", "slurm"], "Slurm needs --partition NAME and --time HH:MM:SS"),
        (["--corpus.filters", "gopher"], "invalid choice"),
        (["--corpus.mode", "stream"], "there is nothing to prepare"),
    ],
)
def test_options_are_checked(program, tmp_path, recipe, options, message):
    ended = program(tmp_path, recipe, *options)
    assert ended.status == 2
    assert message in ended.said


def test_without_datatrove_it_says_what_to_install(launch_program, tmp_path, recipe, monkeypatch):
    monkeypatch.setitem(sys.modules, "datatrove", None)
    ended = launch_program(main, tmp_path, str(recipe))
    assert ended.status == 2
    assert "needs datatrove" in ended.said
    assert "pip install -r requirements-scale.txt" in ended.said
