"""Does a stream give every document once, the same to everybody and after every stop, and does it end when it should?

Documents are recognised by their first token: d7 is document 7.
"""

import hashlib
import json
import multiprocessing
import os
import pickle
import resource
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from corpus.text import stream as stream_module
from corpus.text.chapters import Chapter
from corpus.text.document import Tally, draw
from corpus.text.interleaving import Reading, num_characters
from corpus.text.readers import documents
from corpus.text.sentences import sentences
from corpus.text.source import Source, parts
from corpus.text.stream import StreamedText
from corpus.text.stream_writer import AHEAD, FEWEST_DOCUMENTS

WORDS = ("the", "cat", "sat", "on", "a", "mat", "and", "saw", "some", "dogs")


@pytest.fixture(scope="session")
def words() -> PreTrainedTokenizerFast:
    vocabulary = ["[UNK]", ".", *WORDS, *(f"d{number}" for number in range(30_000))]
    backend = Tokenizer(models.WordLevel({word: index for index, word in enumerate(vocabulary)}, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="[UNK]")


def text_of(number: int, sentences: int) -> str:
    random = np.random.default_rng(number)
    return "\n".join(f"d{number} {' '.join(random.choice(WORDS, 12))}." for _ in range(sentences))


def write_shard(path: Path, numbers: range, sentences: int = 4) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps({"text": text_of(number, sentences)}) + "\n" for number in numbers))


@pytest.fixture(scope="session")
def sources(tmp_path_factory) -> tuple[Source, ...]:
    """Documents 0 to 299 in three files of rows, 300 to 449 in two tables, 450 to 479 in a file each."""
    folder = tmp_path_factory.mktemp("sources")
    for shard in range(3):
        write_shard(folder / f"rows/{shard}.jsonl", range(shard * 100, shard * 100 + 100))
    (folder / "tables").mkdir()
    for shard in range(2):
        rows = [{"text": text_of(300 + shard * 75 + row, 5)} for row in range(75)]
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), folder / f"tables/{shard}.parquet", 20)
    (folder / "texts").mkdir()
    for number in range(450, 480):
        (folder / f"texts/{number}.txt").write_text(text_of(number, 20))
    return (
        Source("jsonl", str(folder / "rows"), weight=2.0),
        Source("parquet", str(folder / "tables")),
        Source("text", str(folder / "texts"), weight=0.5),
    )


@pytest.fixture
def open_text(words, sources, tmp_path) -> Iterator[Callable[..., StreamedText]]:
    """Stream the small sources in chapters of 3,000 tokens, about a dozen an epoch; closed at the end of the test."""
    opened: list[StreamedText] = []

    def start(**changes) -> StreamedText:
        asked = {"sources": sources, "seed": 7, "held_out": 0.1, "chapter_tokens": 3000, "processes": 1, "builds": True}
        folder = tmp_path / f"stream-{len(opened)}"
        opened.append(StreamedText(tokenizer=words, **{"folder": folder, **asked, **changes}))
        return opened[-1]

    yield start
    for text in opened:
        text.close()


def walk(text: StreamedText, epoch: int = 0, number: int = 0, cursor: dict | None = None) -> Iterator[Chapter]:
    """Chapter after chapter, as training goes through them, without end."""
    chapter_cursor = cursor or {}
    while True:
        text.consumed(epoch, number)
        chapter = text.chapter(epoch, number, chapter_cursor)
        yield chapter
        epoch, number = (epoch + 1, 0) if chapter.is_last else (epoch, number + 1)
        chapter_cursor = chapter.next_cursor


def numbers(chapter: Chapter) -> list[int]:
    """The documents of a chapter, by their number, in the order in which they are read."""
    tokens, first = chapter.store.offsets(chapter.documents)
    return [int(token) - len(WORDS) - 2 for token in chapter.store.tokens(tokens[first[:-1]])]


def content(chapter: Chapter) -> tuple:
    """All that a chapter is, its bytes included."""
    files = sorted(path for path in chapter.store.folder.iterdir())
    digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in files]
    return digests, chapter.documents.tolist(), chapter.is_last, chapter.cursor, chapter.next_cursor


@dataclass(frozen=True)
class Read:
    """What was in a chapter, noted before it was deleted."""

    epoch: int
    number: int
    cursor: dict
    numbers: list[int]
    files: list[int]  # which of the three files of rows its documents come from, in the order of reading
    num_tokens: int
    content: tuple
    skipped: dict


def read_through(text: StreamedText, last_epoch: int) -> list[Read]:
    """Whole epochs, chapter after chapter."""
    found: list[Read] = []
    for chapter in walk(text):
        about, order = chapter.store.manifest, np.argsort(chapter.documents)
        files = [number // 100 for number in np.array(numbers(chapter))[order].tolist() if number < 300]
        place = about["epoch"], about["number"], chapter.cursor
        read = Read(*place, numbers(chapter), files, chapter.store.num_tokens, content(chapter), about["skipped"])
        found.append(read)
        if chapter.is_last and read.epoch == last_epoch:
            break
    return found


@pytest.fixture(scope="module")
def two_epochs(words, sources, tmp_path_factory) -> Iterator[list[Read]]:
    """What the stream of `open_text` gives when nothing happens."""
    text = StreamedText(sources, words, 0.1, 3000, tmp_path_factory.mktemp("stream"), 7, 1, True)
    yield read_through(text, last_epoch=1)
    text.close()


def held_out_numbers(sources: tuple[Source, ...], rate: float) -> set[int]:
    every = [document for source in sources for document in documents(source, Tally())]
    assert len(every) == 480
    return {number for number, document in enumerate(every) if draw(document.id) < rate}


# What is in the chapters?


def test_an_epoch_has_every_document_once_in_an_order_of_its_own(two_epochs, sources):
    expected = sorted(set(range(480)) - held_out_numbers(sources, 0.1))
    epochs = [[read for read in two_epochs if read.epoch == epoch] for epoch in (0, 1)]
    orders = [[number for read in epoch for number in read.numbers] for epoch in epochs]
    assert [sorted(order) for order in orders] == [expected, expected]
    assert orders[0] != orders[1]
    files = [list(dict.fromkeys(file for read in epoch for file in read.files)) for epoch in epochs]
    assert sorted(files[0]) == sorted(files[1]) == [0, 1, 2]
    assert files[0] != files[1]
    assert min(len(read.numbers) for read in two_epochs) >= FEWEST_DOCUMENTS


def test_chapters_are_of_the_size_asked_for_and_the_first_ones_smaller(two_epochs):
    sizes = [read.num_tokens for read in two_epochs]
    full = [size for size in sizes if 3000 <= size < 4500]
    assert len(full) >= len(sizes) - 6  # four at the beginning, and the last one of each epoch
    assert sizes[0] < sizes[3] < 3000


def test_documents_are_whole_and_shuffled_within_a_chapter(open_text, words, sources):
    chapter = open_text().chapter(0, 0, {})
    texts = every_text(sources)
    flat, first = chapter.store.offsets(chapter.documents)
    for number, (begin, end) in zip(numbers(chapter), pairwise(first), strict=True):
        bounds = flat[begin:end]
        assert chapter.store.tokens(np.arange(bounds[0], bounds[-1])).tolist() == words(texts[number])["input_ids"]
        assert len(bounds) - 1 == sum(len(sentences(paragraph)) for paragraph in texts[number].split("\n"))
    assert sorted(chapter.documents) == list(range(len(chapter.store)))
    assert chapter.documents.tolist() != sorted(chapter.documents)


def every_text(sources: tuple[Source, ...]) -> list[str]:
    return ["\n".join(document.paragraphs) for source in sources for document in documents(source, Tally())]


def test_chapters_do_not_depend_on_how_many_processes_tokenize(open_text, two_epochs):
    assert read_through(open_text(processes=3), last_epoch=1) == two_epochs


def test_another_seed_is_another_order(open_text, two_epochs):
    assert numbers(open_text(seed=8).chapter(0, 0, {})) != two_epochs[0].numbers


# How are sources mixed?


def mixture(sources: list[Source], characters: int) -> Counter[str]:
    read: Counter[str] = Counter()
    for document in Reading([parts(source) for source in sources], 0, 0, {}):
        read[document.id.split(":")[0]] += num_characters(document)
        if read.total() >= characters:
            break
    return read


def test_sources_take_turns_by_weight_until_one_ends(sources):
    read = mixture(list(sources), 60_000)
    assert read["jsonl"] / read["parquet"] == pytest.approx(2.0, rel=0.05)
    assert read["parquet"] / read["text"] == pytest.approx(2.0, rel=0.15)


def test_wikipedia_and_books_are_mixed_as_bert_had_them(data):
    read = mixture([Source("wikipedia", str(data / "wikipedia")), Source("books", str(data / "books"))], 30_000_000)
    longest_book = max(path.stat().st_size for path in (data / "books").iterdir())
    assert abs(read["wikipedia"] / 2.5 - read["books"] / 0.8) <= longest_book / 0.8
    assert read["books"] > 3 * longest_book


def test_a_reading_goes_on_from_its_cursor_without_opening_what_is_behind_it(sources, tmp_path):
    for shard in range(3):
        write_shard(tmp_path / f"{shard}.jsonl", range(shard * 10, shard * 10 + 10))
    found = [parts(Source("jsonl", str(tmp_path)))]
    reading = Reading(found, 3, 1, {})
    whole, cursors = [], []
    for document in reading:
        whole.append(document.id)
        cursors.append(json.loads(json.dumps(reading.cursor())))
    for number, cursor in enumerate(cursors):
        if number in (10, 20):  # a file is done: nobody needs to read it any more
            (tmp_path / whole[number - 1].split(":")[1]).write_text("no JSON\n")
        assert [document.id for document in Reading(found, 3, 1, cursor)] == whole[number + 1 :]


# Where does it go on?


def test_a_resume_at_any_chapter_goes_on_as_if_nothing_had_been(open_text, two_epochs):
    last = max(read.number for read in two_epochs if read.epoch == 0)
    for index in (1, last, last + 2):
        saved = two_epochs[index]
        resumed = walk(open_text(), saved.epoch, saved.number, json.loads(json.dumps(saved.cursor)))
        for expected in two_epochs[index : index + 3]:
            assert content(next(resumed)) == expected.content


def test_a_jump_finds_its_chapter_and_leaves_what_is_open_alone(open_text, two_epochs):
    text = open_text()
    first, sixth, seventh, eighth = (two_epochs[number] for number in (0, 6, 7, 8))
    assert content(text.chapter(0, 0, {})) == first.content
    assert content(text.chapter(0, 6, sixth.cursor)) == sixth.content
    assert content(text.chapter(0, 7, seventh.cursor)) == seventh.content
    assert content(text.chapter(0, 0, {})) == first.content
    assert content(text.chapter(0, 8, eighth.cursor)) == eighth.content
    beginning = next(read for read in two_epochs if read.epoch == 1)
    assert content(text.chapter(1, 0, {})) == beginning.content


def test_changed_files_or_weights_are_another_fingerprint(open_text, sources, tmp_path):
    def fingerprint(source: Source, chapter_tokens: int = 3000) -> str:
        return open_text(sources=[source], chapter_tokens=chapter_tokens, builds=False).fingerprint

    write_shard(tmp_path / "rows/0.jsonl", range(20))
    few = replace(sources[0], path=str(tmp_path / "rows"))
    before = fingerprint(few)
    assert fingerprint(few) == before
    assert fingerprint(replace(few, weight=1.0)) != before
    assert fingerprint(few, chapter_tokens=2000) != before
    write_shard(tmp_path / "rows/0.jsonl", range(30))
    assert (longer := fingerprint(few)) != before
    path = tmp_path / "rows/0.jsonl"
    path.write_bytes(path.read_bytes()[::-1])  # another text of the same size
    assert fingerprint(few) != longer


@pytest.mark.slow
def test_shards_of_a_hub_data_set_are_streamed_once_each(open_text, tmp_path):
    (tmp_path / "hub").mkdir()
    for shard in range(3):
        rows = [{"text": text_of(shard * 40 + row, 4)} for row in range(40)]
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / f"hub/{shard}.parquet")
    of_hub = {
        "sources": [Source("hub", str(tmp_path / "hub"), revision="a" * 40)],
        "held_out": 0,
        "chapter_tokens": 1000,
    }
    found = read_through(open_text(**of_hub), last_epoch=0)
    assert sorted(number for read in found for number in read.numbers) == list(range(120))
    assert content(open_text(**of_hub).chapter(0, 4, found[4].cursor)) == found[4].content


# What is held out?


def test_held_out_documents_are_enough_and_never_trained_on(open_text, sources):
    text = open_text(held_out=0.3, held_out_tokens=1000)
    store = text.held_out()
    chapter = Chapter(store, np.arange(len(store)), is_last=True)
    assert 1000 <= store.num_tokens < 1000 + 4096
    assert set(numbers(chapter)) <= held_out_numbers(sources, 0.3)
    again = open_text(held_out=0.3, held_out_tokens=1000, processes=2).held_out()
    assert content(chapter) == content(Chapter(again, np.arange(len(again)), is_last=True))


def test_all_that_is_held_out_is_read_where_it_is_not_enough(open_text, sources):
    store = open_text(held_out=0.1).held_out()
    assert set(numbers(Chapter(store, np.arange(len(store)), is_last=True))) == held_out_numbers(sources, 0.1)


# What does it take?


def test_a_few_chapters_are_written_ahead_and_those_behind_are_deleted(open_text):
    text = open_text()
    folder = text.chapter(0, 0, {}).store.folder.parents[1]
    waiting_ahead = wait_until(lambda: len(chapters(folder)) > AHEAD)
    time.sleep(0.5)
    assert waiting_ahead
    assert chapters(folder) == ["000000-000000", "000000-000001", "000000-000002"]
    walking = walk(text)
    open_ones = [next(walking) for _ in range(4)]  # in training is the last of these
    assert wait_until(lambda: chapters(folder) == [f"000000-00000{number}" for number in (3, 4, 5)])
    assert len(numbers(open_ones[0])) == len(open_ones[0].documents)  # deleted, but still open


def test_a_reader_far_ahead_of_training_is_not_kept_waiting(open_text):
    text = open_text()
    chapter = text.chapter(0, 0, {})
    for number in range(1, 8):
        chapter = text.chapter(0, number, chapter.next_cursor)
    assert len(numbers(chapter)) == len(chapter.documents)


def chapters(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("[0-9]*-[0-9]*") if not path.suffix)


def wait_until(there: Callable[[], bool], seconds: float = 10) -> bool:
    end = time.monotonic() + seconds
    while not there():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


@pytest.mark.slow
def test_memory_and_disk_do_not_grow_with_the_corpus(words, tmp_path):
    memory, disk, tokens = {}, {}, Counter()
    for times in (1, 10):
        for shard in range(times):
            write_shard(tmp_path / f"{times}/{shard}.jsonl", range(1000), sentences=20)  # 1.2 MB of text each
        source = Source("jsonl", str(tmp_path / str(times)))
        text = StreamedText([source], words, 0.01, 50_000, tmp_path / "stream", 0, 1, True, held_out_tokens=1000)
        disk[times] = 0
        for chapter in walk(text):
            tokens[times] += chapter.store.num_tokens
            disk[times] = max(disk[times], kilobytes(tmp_path / "stream"))
            if chapter.is_last:
                break
        memory[times] = sum(peak_memory(pid) for pid in family(text._writers["chapters"].pid))
        text.close()
    assert memory[10] < 1.1 * memory[1]
    chapter = 50_000 * 3 / 1000  # KB: two bytes a token, and the tables of sentences and documents
    assert disk[10] < (1 + AHEAD + 1) * chapter
    assert tokens[10] * 2 / 1000 > 5 * disk[10]


def kilobytes(folder: Path) -> int:
    said = subprocess.run(["du", "-sk", folder], capture_output=True, text=True)  # files may vanish before its eyes
    return int(said.stdout.split()[0])


def family(pid: int) -> list[int]:
    children = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True).stdout
    return [pid, *map(int, children.split())]


def peak_memory(pid: int) -> int:
    (line,) = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1])


def test_the_writer_does_not_load_torch(open_text):
    text = open_text()
    text.chapter(0, 0, {})
    maps = Path(f"/proc/{text._writers['chapters'].pid}/maps").read_text()
    assert "libtorch" not in maps
    assert "tokenizers" in maps


# Who may read it?


def test_other_processes_open_what_one_has_written(open_text):
    text = open_text()
    first = text.chapter(0, 0, {})
    context = multiprocessing.get_context("fork")
    answers = context.Queue()

    def read(own: StreamedText) -> None:
        answers.put(numbers(own.chapter(0, 0, {})) + numbers(own.chapter(0, 1, first.next_cursor)))
        own.consumed(0, 2)
        own.close()  # the one who builds it does that

    second = text.chapter(0, 1, first.next_cursor)
    for own in (text, pickle.loads(pickle.dumps(text))):
        process = context.Process(target=read, args=(own,))
        process.start()
        assert answers.get(timeout=20) == numbers(first) + numbers(second)
        process.join()
    assert numbers(text.chapter(0, 2, second.next_cursor))
    assert content(text.chapter(0, 0, {})) == content(first)


def test_a_process_that_is_too_late_is_told_so(open_text, tmp_path):
    walking = walk(text := open_text())
    for _ in range(3):
        next(walking)
    with pytest.raises(RuntimeError, match="was deleted before this process opened it"):
        pickle.loads(pickle.dumps(text)).chapter(0, 1, {})


# How does it end?


def test_bad_input_is_an_error_of_training_with_file_and_line(open_text, tmp_path):
    write_shard(tmp_path / "rows/0.jsonl", range(200))
    with (tmp_path / "rows/0.jsonl").open("a") as file:
        file.write("not JSON\n")
    source = Source("jsonl", str(tmp_path / "rows"))
    text = open_text(sources=[source])
    reader = pickle.loads(pickle.dumps(text))
    with pytest.raises(ValueError, match=r"0.jsonl:201: not JSON") as raised:
        read_through(text, last_epoch=0)
    assert "on_error: skip" in str(raised.value)
    with pytest.raises(ValueError, match=r"0.jsonl:201: not JSON"):
        reader.chapter(0, 10, {})
    skipping = open_text(sources=[replace(source, on_error="skip")])
    assert read_through(skipping, last_epoch=0)[-1].skipped == {"rows not JSON": 1}


def test_a_source_without_a_document_is_refused(open_text, sources, tmp_path):
    (tmp_path / "empty.jsonl").write_text('{"text": " "}\n')
    text = open_text(sources=[*sources, Source("jsonl", str(tmp_path / "empty.jsonl"))])
    with pytest.raises(ValueError, match=r"empty.jsonl: no document with text.*1 empty documents"):
        text.chapter(0, 0, {})
    missing = open_text(sources=[Source("jsonl", str(tmp_path / "nothing"))])
    with pytest.raises(OSError, match="nothing at"):
        missing.chapter(0, 0, {})
    all_held_out = open_text(held_out=1.0)
    with pytest.raises(ValueError, match="no document left to train on"):
        all_held_out.chapter(0, 0, {})


@pytest.mark.slow
def test_a_full_disk_is_an_error_of_training_that_says_how_much_is_needed(open_text):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))  # for the writer, which inherits it
    try:
        text = open_text(chapter_tokens=1 << 16)
        with pytest.raises(OSError, match=r"cannot be written: it needs .* bytes, and .* are free"):
            text.chapter(0, 0, {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    with pytest.raises(OSError, match="cannot be written"):
        open_text(chapter_tokens=1 << 50).chapter(0, 0, {})


@pytest.mark.slow
def test_a_killed_writer_is_told_to_all_who_wait(open_text, monkeypatch):
    monkeypatch.setattr(stream_module, "PATIENCE", 0.5)
    text = open_text()
    reader = pickle.loads(pickle.dumps(text))
    text.chapter(0, 0, {})
    text._writers["chapters"].kill()
    with pytest.raises(ChildProcessError, match="was ended by SIGKILL, as the system does when memory runs out"):
        read_through(text, last_epoch=9)
    with pytest.raises(ChildProcessError, match="nobody is writing"):
        reader.chapter(5, 0, {})


def test_a_signal_to_all_processes_does_not_keep_training_from_its_next_chapter(open_text, two_epochs):
    text = open_text()
    for expected, chapter in zip(two_epochs[:7], walk(text), strict=False):
        assert content(chapter) == expected.content
        if expected.number == 2:
            text._writers["chapters"].terminate()


PROGRAM = """
import sys
from pathlib import Path
from corpus.text.stream import StreamedText
from corpus.text.source import Source
from transformers import PreTrainedTokenizerFast

if __name__ == "__main__":
    words = PreTrainedTokenizerFast(tokenizer_file=sys.argv[1])
    text = StreamedText([Source("jsonl", sys.argv[2])], words, 0.1, 3000, Path(sys.argv[3]), 0, 2, True)
    text.chapter(0, 0, {})
    print(*(writer.pid for writer in text._writers.values()), flush=True)
    if sys.argv[4] == "wait":
        sys.stdin.read()
"""


@pytest.fixture
def run_training(words, sources, tmp_path) -> Callable[[str], SimpleNamespace]:
    def run(what: str) -> SimpleNamespace:
        words.backend_tokenizer.save(str(tmp_path / "tokenizer.json"))
        (tmp_path / "program.py").write_text(PROGRAM)
        argv = [tmp_path / "program.py", tmp_path / "tokenizer.json", sources[0].path, tmp_path / "stream", what]
        training = subprocess.Popen(
            [sys.executable, *map(str, argv)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        )
        assert training.stdout
        writers = [int(pid) for pid in training.stdout.readline().split()]
        return SimpleNamespace(training=training, writers=writers, folder=tmp_path / "stream")

    return run


@pytest.mark.parametrize(
    "how", ["killed", *(pytest.param(how, marks=pytest.mark.slow) for how in ("stopped by Ctrl-C", "finished"))]
)
def test_no_process_and_no_file_outlives_training(run_training, how):
    run = run_training("finish" if how == "finished" else "wait")
    pids = {pid for writer in run.writers for pid in family(writer)}
    if how == "killed":
        run.training.kill()
    elif how == "stopped by Ctrl-C":
        run.training.send_signal(signal.SIGINT)
    run.training.wait(timeout=60)
    assert wait_until(lambda: not any(alive(pid) for pid in pids), seconds=30)
    assert wait_until(lambda: not list(run.folder.iterdir()), seconds=30)


@pytest.mark.slow
def test_what_a_killed_launch_still_does_does_not_touch_the_next_one(open_text, tmp_path):
    """Its writer notices later that it is alone, and deletes its folder then."""
    killed = open_text(folder=tmp_path / "stream", launch="-1")
    killed.chapter(0, 0, {})
    text = open_text(folder=tmp_path / "stream", launch="-2")
    expected = numbers(text.chapter(0, 0, {}))
    killed.close()
    assert numbers(text.chapter(0, 0, {})) == expected
    assert len(text.chapter(0, 1, {}).store) > 0
    text.close()
    assert not (tmp_path / "stream").exists()


def test_close_ends_the_writer_and_removes_its_folder(open_text, tmp_path):
    text = open_text(processes=2)
    text.chapter(0, 0, {})
    pids = [pid for writer in text._writers.values() for pid in family(writer.pid)]
    text.close()
    assert wait_until(lambda: not any(alive(pid) for pid in pids), seconds=30)
    assert not (tmp_path / "stream-0").exists()


def alive(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
