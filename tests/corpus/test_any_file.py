"""Do documents come out of any file, as they are asked for, and is what cannot be read named or counted?"""

import bz2
import gzip
import json
import subprocess
import sys
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
import zstandard

from corpus.text.document import Document, Tally
from corpus.text.readers import documents
from corpus.text.source import Source, fingerprint

PACK = {".gz": gzip.compress, ".zst": zstandard.compress}


def read(kind, path: Path, **options) -> list[Document]:
    return list(documents(Source(kind, str(path), **options), Tally()))


def texts(kind, path: Path, **options) -> list[str]:
    return ["\n".join(document.paragraphs) for document in read(kind, path, **options)]


def skipped(kind, path: Path, **options) -> tuple[list[str], dict[str, int]]:
    tally = Tally()
    found = documents(Source(kind, str(path), on_error="skip", **options), tally)
    return ["\n".join(document.paragraphs) for document in found], dict(tally)


# Which files are read?


def test_hidden_files_and_folders_are_left_out_and_counted(tmp_path):
    (tmp_path / "a.txt").write_text("Text.")
    for name in (".ipynb_checkpoints/a-checkpoint.txt", "__MACOSX/._a.txt", "deep/.b.txt", ".git/x/c.txt", "~$d.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"\x00\x05\xff\xfe")
    tally = Tally()
    assert [document.id for document in documents(Source("text", str(tmp_path)), tally)] == ["text:a.txt"]
    assert tally == {"hidden files": 5}


def test_a_hidden_file_that_is_named_is_read_and_a_folder_of_them_says_so(tmp_path):
    hidden = tmp_path / ".hidden"
    hidden.mkdir()
    (hidden / ".a.txt").write_text("Text.")
    assert texts("text", hidden / ".a.txt") == ["Text."]
    with pytest.raises(FileNotFoundError, match=r"nothing to read in .* but 1 hidden files"):
        read("text", hidden)
    (hidden / "b.txt").write_text("Seen.")  # the folder itself was named
    assert texts("text", hidden) == ["Seen."]


def test_a_linked_file_is_read_a_linked_folder_counted_and_a_link_to_nothing_refused(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "a.txt").write_text("Text.")
    folder = tmp_path / "texts"
    folder.mkdir()
    (folder / "b.txt").symlink_to(tmp_path / "elsewhere" / "a.txt")
    (folder / "more").symlink_to(tmp_path / "elsewhere")
    (folder / "round").symlink_to(folder)
    tally = Tally()
    assert [document.id for document in documents(Source("text", str(folder)), tally)] == ["text:b.txt"]
    assert tally == {"linked folders": 2}
    assert texts("text", folder / "more") == ["Text."]  # named, it is read
    (folder / ".#b.txt").symlink_to("somebody@here")  # an editor's lock
    (folder / "c.txt").symlink_to(tmp_path / "gone.txt")
    with pytest.raises(FileNotFoundError, match=r"c\.txt is a link to nothing: .* remove the link"):
        read("text", folder)
    (folder / "c.txt").unlink()
    assert texts("text", folder) == ["Text."]


def test_a_folder_of_links_alone_says_so(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "a.txt").write_text("Text.")
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "more").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FileNotFoundError, match=r"nothing to read in .* but 1 linked folders; name these"):
        read("text", tmp_path / "texts")


def test_a_name_that_is_not_utf8_is_told(tmp_path):
    (tmp_path / "a\udcff.txt").write_text("Text.")
    with pytest.raises(ValueError, match=r"a\\udcff\.txt: the name is not UTF-8; rename the file"):
        read("text", tmp_path)


@pytest.mark.parametrize("folder", ["data [v1]", "what?", "a*b", "[x]"])
def test_a_path_that_exists_is_no_pattern(tmp_path, folder):
    (tmp_path / folder).mkdir()
    for number in range(3):
        (tmp_path / folder / f"part[{number}].txt").write_text(f"Part {number}.")
    assert texts("text", tmp_path / folder) == ["Part 0.", "Part 1.", "Part 2."]
    assert texts("text", tmp_path / folder / "part[1].txt") == ["Part 1."]
    assert texts("text", tmp_path / folder / "*.txt") == ["Part 0.", "Part 1.", "Part 2."]
    assert texts("text", tmp_path / "*" / "part[[]2].txt") == ["Part 2."]
    with pytest.raises(FileNotFoundError, match=r"nothing at .*nowhere"):
        read("text", tmp_path / "nowhere" / "*.txt")


def test_wikiextractors_own_files_are_read(tmp_path):
    for number, name in enumerate(("AA/wiki_00", "AA/wiki_01.gz", "AB/wiki_100", "AB/wiki_101.bz2")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        line = json.dumps({"id": number, "title": "T", "text": f"Article {number}."}).encode()
        pack = {".gz": gzip.compress, ".bz2": bz2.compress}.get(Path(name).suffix, bytes)
        (tmp_path / name).write_bytes(pack(line))
    (tmp_path / "AA" / "notes").write_text("not an article")
    assert texts("wikipedia", tmp_path) == [f"Article {number}." for number in range(4)]
    (tmp_path / "AA/wiki_00").write_text('<doc id="1" url="" title="T">\nText.\n</doc>\n')
    with pytest.raises(
        ValueError, match=r"wiki_00:1: not JSON.*WikiExtractor writes JSON when it is called with --json"
    ):
        read("wikipedia", tmp_path)


# What is a document?

TWO = "One a.\nOne b.\n\n \nTwo a. Two b.\n"


def test_a_file_a_line_or_what_blank_lines_part_is_a_document(tmp_path):
    (tmp_path / "a.txt").write_text(TWO)
    assert texts("text", tmp_path) == ["One a. One b.\nTwo a. Two b."]
    assert texts("text", tmp_path, documents="line") == ["One a.", "One b.", "Two a. Two b."]
    assert texts("text", tmp_path, documents="blank_line") == ["One a. One b.", "Two a. Two b."]
    found = read("text", tmp_path, documents="blank_line", sentences="line")  # the format of BERT's own code
    assert [document.paragraphs for document in found] == [("One a.", "One b."), ("Two a. Two b.",)]
    assert [document.id for document in found] == ["text:a.txt:1", "text:a.txt:5"]
    ways = [{}, {"documents": "line"}, {"documents": "blank_line"}, {"sentences": "line"}, {"whitespace": "keep"}]
    assert len({fingerprint(Source("text", str(tmp_path), **way)) for way in ways}) == len(ways)


def test_what_can_do_nothing_is_refused():
    with pytest.raises(ValueError, match="in a jsonl source a row is a document: leave `documents` out"):
        Source("jsonl", "a", documents="line")
    with pytest.raises(ValueError, match=r"cuts no sentences, so .* leave it out, or say whitespace: clean"):
        Source("text", "a", sentences="line", whitespace="keep")
    assert Source("text", "a", sentences="line").wanting("clean").whitespace == "clean"
    assert Source("text", "a", whitespace="clean", sentences="line").wanting("keep").whitespace == "clean"
    with pytest.raises(ValueError, match="cuts no sentences"):
        Source("text", "a", sentences="line").wanting("keep")
    with pytest.raises(ValueError, match=r"max_mb .* is 0; it must be 1 or more"):
        Source("text", "a", max_mb=0)


CODE = "\tdef f(x):\r\n    if x:\n\n\n        return 'a  b'   \n\n"


def test_text_that_is_kept_is_the_text_itself(tmp_path):
    (tmp_path / "a.txt").write_bytes(CODE.encode("utf-8-sig"))  # a mark of the encoding is no text
    (tmp_path / "b.jsonl").write_text(json.dumps({"text": CODE}) + "\n")
    pyarrow.parquet.write_table(pyarrow.table({"text": [CODE]}), tmp_path / "c.parquet")
    for kind in ("text", "jsonl", "parquet"):
        (document,) = read(kind, tmp_path, whitespace="keep")
        assert document.paragraphs == (CODE,)
    assert texts("text", tmp_path, whitespace="keep", documents="line") == [
        "\tdef f(x):", "    if x:", "        return 'a  b'   "
    ]  # fmt: skip
    assert texts("text", tmp_path, whitespace="keep", documents="blank_line") == [
        "\tdef f(x):\r\n    if x:", "        return 'a  b'   "
    ]  # fmt: skip


def test_kept_text_of_blanks_alone_is_no_document_and_nuls_are_counted(tmp_path):
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in ("\n \t\n", " a\0 ")))
    tally = Tally()
    (document,) = documents(Source("jsonl", str(tmp_path), whitespace="keep"), tally)
    assert document.paragraphs == (" a ",)
    assert tally == {"empty documents": 1, "NUL characters": 1}


def test_blank_lines_between_rows_are_passed_over(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "One."}\n\n  \t\r\n{"text": "Two."}\n\n')
    assert skipped("jsonl", tmp_path) == (["One.", "Two."], {})
    assert texts("jsonl", tmp_path) == ["One.", "Two."]


# What no parser survives

BAD_ROWS = [
    ('{"text": "a", "x": ' + "[" * 100_000 + "]" * 100_000 + "}", "nested too deeply", "rows not JSON"),
    ('{"text": "a", "n": ' + "9" * 5000 + "}", "thousands of digits", "rows not JSON"),
    ('{"text": "a", "text": "b"}', "the key 'text' is given twice", "rows not JSON"),
    ('"text"', "not an object", "rows not JSON"),
    ("null", "not an object", "rows not JSON"),
    ("\ufeff{}", "not JSON", "rows not JSON"),
    ('{"text": NaN}', "'text' is nan, not text", "rows without text"),
    ('{"text": ["a"]}', "'text' is a list, not text", "rows without text"),
    ('{"text": {"a": 1}}', "'text' is an object, not text", "rows without text"),
    (r'{"text": "a\udc00"}', r"half a character", "rows with half a character"),
]


@pytest.mark.parametrize(("line", "message", "reason"), BAD_ROWS, ids=[message for _, message, _ in BAD_ROWS])
def test_a_row_that_no_parser_survives_is_named_or_skipped(tmp_path, line, message, reason):
    (tmp_path / "a.jsonl").write_text('{"text": "One."}\n' + line + '\n{"text": "Three."}\n')
    with pytest.raises(ValueError, match=rf"a\.jsonl:2: .*{message}") as raised:
        read("jsonl", tmp_path)
    assert len(str(raised.value)) < 500
    assert skipped("jsonl", tmp_path) == (["One.", "Three."], {reason: 1})


def test_a_message_about_a_row_of_many_keys_is_short(tmp_path):
    (tmp_path / "a.jsonl").write_text(json.dumps({f"key {number}": 1 for number in range(10_000)}))
    with pytest.raises(ValueError, match=r"no key 'text'; the row has key 0, .* \.\.\.") as raised:
        read("jsonl", tmp_path)
    assert len(str(raised.value)) < 500


TYPES = [pyarrow.binary(), pyarrow.large_binary(), pyarrow.binary_view(), pyarrow.string(), pyarrow.large_string()]


@pytest.mark.parametrize("kind", TYPES, ids=str)
def test_a_column_of_bytes_or_text_is_read_as_utf8(tmp_path, kind):
    column = pyarrow.array(["Ä one.".encode(), None, "Two 😀.".encode()], pyarrow.binary()).cast(kind)
    pyarrow.parquet.write_table(pyarrow.table({"text": column}), tmp_path / "a.parquet")
    assert skipped("parquet", tmp_path) == (["Ä one.", "Two 😀."], {"rows without text": 1})
    with pytest.raises(ValueError, match=r"a\.parquet: row 1: 'text' is null, not text"):
        read("parquet", tmp_path)


@pytest.mark.parametrize("is_text", [True, False])
def test_bytes_that_are_not_utf8_are_named_by_file_and_row(tmp_path, is_text):
    column = pyarrow.array([b"One.", b"caf\xe9", b"Three."])
    if is_text:  # a file may well say text of what is none
        column = pyarrow.Array.from_buffers(pyarrow.string(), 3, column.buffers())
    pyarrow.parquet.write_table(pyarrow.table({"text": column}), tmp_path / "a.parquet")
    with pytest.raises(ValueError, match=r"a\.parquet: row 1: byte 3 of 'text' \(0xe9\) is not UTF-8"):
        read("parquet", tmp_path)
    assert skipped("parquet", tmp_path) == (["One.", "Three."], {"rows not UTF-8": 1})


@pytest.mark.parametrize(
    "values",
    [[1, 2], [1.5, None], [["a"], ["b"]], [{"a": 1}, {"a": 2}], [True, False]],
    ids=lambda value: str(value[0]),
)
def test_a_column_that_is_no_text_is_named_by_file_and_row(tmp_path, values):
    pyarrow.parquet.write_table(pyarrow.table({"text": values}), tmp_path / "a.parquet")
    with pytest.raises(ValueError, match=r"a\.parquet: row 0: 'text' is .*, not text"):
        read("parquet", tmp_path)


def test_a_column_of_a_dictionary_is_text(tmp_path):
    column = pyarrow.array(["One.", "Two.", "One."]).dictionary_encode()
    pyarrow.parquet.write_table(pyarrow.table({"text": column}), tmp_path / "a.parquet")
    assert texts("parquet", tmp_path) == ["One.", "Two.", "One."]


# How large may it be?


def test_a_row_of_some_megabytes_is_read_and_the_bound_can_be_set(tmp_path):
    long = "word " * 400_000
    (tmp_path / "a.jsonl").write_text(json.dumps({"text": "One."}) + "\n" + json.dumps({"text": long}) + "\n")
    pyarrow.parquet.write_table(pyarrow.table({"text": ["One.", long]}), tmp_path / "a.parquet")
    for kind in ("jsonl", "parquet"):
        assert texts(kind, tmp_path) == ["One.", long.strip()]
        assert texts(kind, tmp_path, max_mb=2) == ["One.", long.strip()]
        with pytest.raises(ValueError, match=rf"a\.{kind}:.* larger|longer than 1 MB.*raise max_mb"):
            read(kind, tmp_path, max_mb=1)
    assert skipped("jsonl", tmp_path, max_mb=1) == (["One."], {"lines over 1 MB": 1})
    assert skipped("parquet", tmp_path, max_mb=1) == (["One."], {"rows over 1 MB": 1})


def test_a_file_too_large_for_a_document_names_remedies_that_work(tmp_path):
    (tmp_path / "a.txt").write_text("A line of a book.\n\n" * 80_000)
    with pytest.raises(ValueError, match=r"a\.txt:\d+: the document is larger than 1 MB; raise max_mb .*blank_line"):
        read("text", tmp_path, max_mb=1)
    assert len(read("text", tmp_path, max_mb=2)) == 1
    assert len(read("text", tmp_path, max_mb=1, documents="blank_line")) == 80_000
    assert len(read("text", tmp_path, max_mb=1, documents="line")) == 80_000
    (tmp_path / "b.txt").write_text("Fine.")
    assert skipped("text", tmp_path, max_mb=1) == (["Fine."], {"documents over 1 MB": 1})


def memory_for(kind, path: Path) -> int:
    """MB that reading takes, of a source whose bound is 4 MB and that has one good document beside the bad ones."""
    script = f"""
import resource
import pyarrow.parquet
from corpus.text.document import Tally
from corpus.text.source import Source
from corpus.text.readers import documents
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
tally = Tally()
(document,) = documents(Source({kind!r}, {str(path)!r}, on_error="skip", max_mb=4), tally)
assert document.paragraphs == ("Fine.",), document
assert tally.total() >= 1, tally
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return int(done.stdout) // 1024


@pytest.mark.parametrize("suffix", PACK)
@pytest.mark.parametrize(
    "line", [pytest.param("a\n", id="short", marks=pytest.mark.slow), pytest.param("a" * (1 << 20), id="long")]
)
def test_a_small_archive_that_unpacks_to_much_is_refused_in_little_memory(tmp_path, suffix, line):
    bomb = PACK[suffix]((line * ((32 << 20) // len(line))).encode())
    assert len(bomb) < 1 << 17
    (tmp_path / f"a.txt{suffix}").write_bytes(bomb)
    (tmp_path / "b.txt").write_text("Fine.")
    assert memory_for("text", tmp_path) < 40
    with pytest.raises(ValueError, match=rf"a\.txt{suffix}:\d+: the .* (larger|longer) than 4 MB"):
        read("text", tmp_path, max_mb=4)


def test_a_table_that_unpacks_to_much_is_refused_in_little_memory(tmp_path):
    huge = "a" * (3 << 20)  # held once, and repeated by every row
    wide = "a" * (60 << 20)
    fine = tmp_path / "fine.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"text": ["Fine."]}), fine)
    column = pyarrow.DictionaryArray.from_arrays(pyarrow.array([0] * 40), [huge + huge])
    pyarrow.parquet.write_table(
        pyarrow.table({"text": column}), tmp_path / "a.parquet", compression="zstd", store_schema=False
    )
    pyarrow.parquet.write_table(pyarrow.table({"text": [wide]}), tmp_path / "b.parquet", compression="zstd")
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) < 1 << 20
    assert memory_for("parquet", tmp_path) < 200
    fine.unlink()
    with pytest.raises(ValueError, match=r"a\.parquet: row 0: 'text' is larger than 4 MB"):
        read("parquet", tmp_path, max_mb=4)


# Damaged archives


@pytest.mark.parametrize("number", [3, 1000])
def test_whole_lines_before_the_damage_are_kept_and_the_line_is_right(tmp_path, number):
    written = [f"Line {n} has {n * 7919 % 10007} words.\n" for n in range(number)]
    packed = gzip.compress("".join(written).encode())
    (tmp_path / "a.txt.gz").write_bytes(packed[:-8] if number == 3 else packed[: len(packed) // 2])
    found, tally = skipped("text", tmp_path, documents="line")
    assert tally == {"damaged files": 1}
    assert number == 3 or 200 < len(found) < 800
    assert found == [line.strip() for line in written[: len(found)]]
    with pytest.raises(ValueError, match=rf"a\.txt\.gz: damaged or cut off after line {len(found)}: "):
        read("text", tmp_path, documents="line")
    assert found


def test_a_parquet_file_without_rows_among_others_gives_nothing(tmp_path):
    pyarrow.parquet.write_table(pyarrow.table({"text": pyarrow.array([], pyarrow.string())}), tmp_path / "a.parquet")
    pyarrow.parquet.write_table(pyarrow.table({"text": ["Text."]}), tmp_path / "b.parquet")
    assert texts("parquet", tmp_path) == ["Text."]
    assert skipped("parquet", tmp_path) == (["Text."], {})


def test_a_key_that_cannot_be_printed_keeps_the_message_one_line(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"a\\nb": 1, "\\ud800": 2, "' + "k" * 3000 + '": 3}\n')
    with pytest.raises(ValueError, match=r"no key 'text'; the row has 'a\\nb', '\\ud800', k{40} \(to leave"):
        read("jsonl", tmp_path)


@pytest.mark.parametrize(
    ("kind", "option"),
    [
        ("text", {"field": "body"}),
        ("jsonl", {"split": "test"}),
        ("parquet", {"config": "en"}),
        ("books", {"revision": "main"}),
        ("docstrings", {"sentences": "line"}),
    ],
)
def test_a_key_that_would_do_nothing_is_refused(kind, option):
    with pytest.raises(ValueError, match=rf"does nothing in a {kind} source; it is for .*hub.*: leave it out"):
        Source(kind, "x", **option)


@pytest.mark.parametrize("weight", [0, -1.0, float("inf"), float("nan")])
def test_a_weight_is_a_number_above_0(weight):
    with pytest.raises(ValueError, match="it must be above 0, and finite"):
        Source("jsonl", "x", weight=weight)
