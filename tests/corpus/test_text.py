"""Does every kind of source yield its documents, and is bad input named instead of learnt?"""

import gzip
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import datasets
import pyarrow
import pyarrow.compute
import pyarrow.parquet
import pytest
import zstandard

from corpus.text import docstrings
from corpus.text import readers as text_module
from corpus.text import rows as rows_module
from corpus.text.document import Document, Tally
from corpus.text.readers import documents
from corpus.text.source import Kind, Source, fingerprint, parts, pinned

ARTICLES = [
    {"id": "12", "title": "Anarchism", "text": "Anarchism is a philosophy.\nEtymology.\nThe term is Greek."},
    {"id": 25, "title": "Autism", "text": "Autism is a disorder.\n\n  \nIt begins early."},
]


PACK: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress,
    ".zst": zstandard.compress,
    ".jsonl": bytes,
}


def write_rows(file: Path, rows: list[dict]) -> Path:
    text = "".join(json.dumps(row) + "\n" for row in rows).encode()
    file.write_bytes(PACK[file.suffix](text))
    return file


def read(kind: Kind, path: Path, **options) -> list[Document]:
    return list(documents(Source(kind, str(path), **options), Tally()))


def skipped(kind: Kind, path: Path) -> tuple[list[tuple[str, ...]], dict[str, int]]:
    tally = Tally()
    found = documents(Source(kind, str(path), on_error="skip"), tally)
    return [document.paragraphs for document in found], dict(tally)


# What is a document, and what a paragraph?


@pytest.mark.parametrize("name", ["wiki.jsonl", "wiki.jsonl.gz", "wiki.jsonl.zst"])
def test_a_line_of_an_article_is_a_paragraph(tmp_path, name):
    write_rows(tmp_path / name, ARTICLES)
    assert read("wikipedia", tmp_path) == [
        Document("wikipedia:12", ("Anarchism is a philosophy.", "Etymology.", "The term is Greek.")),
        Document("wikipedia:25", ("Autism is a disorder.", "It begins early.")),
    ]


def test_a_book_loses_its_title_and_author_and_nothing_else(tmp_path):
    (tmp_path / "emma.txt").write_text(
        "Emma\nJane Austen\n\nCHAPTER I.\n\nEmma Woodhouse,\nhandsome and rich.\n\n\nShe.\n"
    )
    (tmp_path / "INDEX.tsv").write_text("not a book")
    assert read("books", tmp_path) == [
        Document("books:emma.txt", ("CHAPTER I.", "Emma Woodhouse, handsome and rich.", "She."))
    ]


@pytest.mark.parametrize(
    "text",
    [
        "It was a bright day.\nThe clocks struck.\n\nWinston slipped in.\n",  # sentences
        "Call me Ishmael\n\nSome years ago\n",  # one line
        "One\nTwo\nThree\n\nFour\n",  # three lines
        f"{'A long line ' * 20}\nand a short one\n\nText.\n",
    ],
)
def test_a_book_without_a_title_keeps_its_first_lines(tmp_path, text):
    (tmp_path / "book.txt").write_text(text)
    assert read("books", tmp_path)[0].paragraphs == read("text", tmp_path)[0].paragraphs


def test_a_text_file_is_a_document_wherever_it_lies(tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "b.txt").write_text("Two\nlines.\n\nNext.")
    (tmp_path / "deep" / "a.txt.gz").write_bytes(gzip.compress("Zipped.\r\n".encode("utf-8-sig")))
    both = [Document("text:b.txt", ("Two lines.", "Next.")), Document("text:deep/a.txt.gz", ("Zipped.",))]
    assert read("text", tmp_path) == both
    assert read("text", tmp_path / "*" / "*.txt.gz") == [Document("text:deep/a.txt.gz", ("Zipped.",))]
    assert read("text", tmp_path / "b.txt") == both[:1]


def test_rows_of_json_lines_and_parquet_are_documents(tmp_path):
    rows = [{"body": "One.\nTwo."}, {"body": "Three."}]
    write_rows(tmp_path / "rows.jsonl", rows)
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "rows.parquet")
    expected = [("One.", "Two."), ("Three.",)]
    assert [document.paragraphs for document in read("jsonl", tmp_path, field="body")] == expected
    assert [document.paragraphs for document in read("parquet", tmp_path, field="body")] == expected
    assert [document.id for document in read("jsonl", tmp_path, field="body")] == [
        "jsonl:rows.jsonl:1",
        "jsonl:rows.jsonl:2",
    ]


def test_docstrings_are_those_of_the_docstrings_reader(monkeypatch):
    found = [Document("docstrings:numpy", ("Arrays.",)), Document("docstrings:empty", ())]
    monkeypatch.setattr(docstrings, "documents", lambda: iter(found))
    monkeypatch.setattr(docstrings, "fingerprint", lambda: "stamp")
    source, tally = Source("docstrings"), Tally()
    assert list(documents(source, tally)) == found[:1]
    assert tally == {"empty documents": 1}
    before = fingerprint(source)
    monkeypatch.setattr(docstrings, "fingerprint", lambda: "another stamp")
    assert fingerprint(source) != before


def test_a_hub_data_set_is_read_at_the_commit_it_is_stamped_with(monkeypatch):
    commits = {None: "a" * 40, "v2": "b" * 40}
    asked = []

    def load_dataset(path, config, split, revision, streaming):
        asked.append((path, config, split, revision, streaming))
        return datasets.Dataset.from_list([{"id": "12", "text": "One.\n\nTwo."}]).to_iterable_dataset()

    monkeypatch.setattr(
        datasets, "load_dataset_builder", lambda path, config, revision: SimpleNamespace(hash=commits[revision])
    )
    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    newest = Source("hub", "wikimedia/wikipedia", config="20231101.en")
    source = pinned(newest)
    assert source.revision == "a" * 40
    assert pinned(source) == source
    (document,) = documents(source, Tally())
    assert document == Document("hub:wikimedia/wikipedia:20231101.en:train:0:0", ("One.", "Two."))
    assert asked == [("wikimedia/wikipedia", "20231101.en", "train", "a" * 40, True)]
    assert fingerprint(newest) == fingerprint(source) != fingerprint(replace(newest, revision="v2"))


def test_right_to_left_text_is_untouched(tmp_path):
    text = "\u200fשלום עולם. \u202bمرحبا بالعالم\u202c"
    write_rows(tmp_path / "a.jsonl", [{"text": text}])
    assert read("jsonl", tmp_path)[0].paragraphs == (text,)


# Can parts be read apart, and from the middle?


def test_every_row_of_a_data_set_of_several_files_stands_in_one_part(tmp_path):
    for number in range(3):
        rows = [{"text": f"File {number}, row {row}."} for row in range(4 + number)]
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / f"{number}.parquet", row_group_size=2)
    source = Source("hub", str(tmp_path))
    assert [part.name for part in parts(source)] == ["0 of 3", "1 of 3", "2 of 3"]
    apart = [[document.paragraphs[0] for document in text_module.read(part, Tally())] for part in parts(source)]
    assert apart == [[f"File {number}, row {row}." for row in range(4 + number)] for number in range(3)]
    whole = list(documents(source, Tally()))
    assert [document.paragraphs[0] for document in whole] == [text for texts in apart for text in texts]
    assert len({document.id for document in whole}) == 15


def various_rows() -> list[dict]:
    texts = ["One.\nTwo.", " \n\t", "Three.", "\u3000\0\x1c", "", "Four\0.", "\u200b", "Five.", "Six.", "  Seven."]
    return [{"text": text} for text in texts for _ in range(3)]


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.jsonl.gz", "rows.parquet", "hub.parquet"])
def test_a_part_read_from_the_middle_goes_on_where_the_reading_from_its_start_was(tmp_path, name):
    if name.endswith(".parquet"):
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(various_rows()), tmp_path / name, row_group_size=4)
    else:
        write_rows(tmp_path / name, various_rows())
    kind = {"rows.parquet": "parquet", "hub.parquet": "hub"}.get(name, "jsonl")
    (part,) = parts(Source(kind, str(tmp_path)))
    whole, left_out = [], Tally()
    tallies = [dict(left_out)]  # what is left out before the document of this number
    for document in text_module.read(part, left_out):
        whole.append(document)
        tallies.append(dict(left_out))
    assert len(whole) == 21
    for skip in range(23):
        tally = Tally({"before": 1})
        assert list(text_module.read(part, tally, skip)) == whole[skip:]
        assert tally.pop("before") == 1
        if name != "rows.parquet":  # there, what a passed group leaves out is not looked at
            assert tally == Tally(left_out) - Tally(tallies[min(skip, 21)])


def test_row_groups_that_are_skipped_are_not_turned_into_rows(tmp_path):
    texts = [f"Row {row} of a table." for row in range(1000)]
    pyarrow.parquet.write_table(pyarrow.table({"text": texts}), tmp_path / "a.parquet", row_group_size=100)
    part, left = rows_module.without_row_groups(parts(Source("parquet", str(tmp_path)))[0], 730)
    assert (part.row_group, left) == (7, 30)
    assert next(text_module.read(part, Tally(), left)).id == "parquet:a.parquet:730"


def test_every_character_that_makes_no_document_is_seen_as_such_in_a_table():
    letters = [chr(code) for code in range(0x3100)]
    has_text = pyarrow.compute.match_substring_regex(pyarrow.array(letters), rows_module.VISIBLE).to_pylist()
    assert has_text == [bool(text_module.cleaned(Document("", (letter,)), Tally()).paragraphs) for letter in letters]
    assert not any(chr(code).isspace() for code in range(0x3100, sys.maxunicode + 1))


def test_a_weight_is_above_zero():
    assert Source("books", "books", weight=2.5).weight == 2.5
    with pytest.raises(ValueError, match=r"weight of the books source a/b is 0\.0; it must be above 0"):
        Source("books", "a/b", weight=0.0)


# What is bad, and where is it?


def test_a_missing_path_says_what_was_looked_for(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nothing at .*nowhere.*: a wikipedia source is .*\.jsonl\.gz"):
        read("wikipedia", tmp_path / "nowhere")
    (tmp_path / "a.csv").write_text("text")
    with pytest.raises(FileNotFoundError, match=r"nothing to read in .*: .* \.txt, \.txt\.gz, \.txt\.zst"):
        read("text", tmp_path)
    with pytest.raises(ValueError, match="the books source has no path: "):
        list(documents(Source("books"), Tally()))


def test_an_empty_file_is_named_and_an_empty_document_counted(tmp_path):
    (tmp_path / "a.txt").write_text("Text.")
    (tmp_path / "b.txt").write_text(" \n\n")
    assert skipped("text", tmp_path) == ([("Text.",)], {"empty documents": 1})
    (tmp_path / "c.txt").write_text("")
    with pytest.raises(ValueError, match=r"c\.txt: the file is empty"):
        read("text", tmp_path)
    assert skipped("text", tmp_path) == ([("Text.",)], {"empty documents": 2, "empty files": 1})


def test_a_source_without_a_document_is_an_error(tmp_path):
    write_rows(tmp_path / "a.jsonl", [{"text": ""}, {"text": " \n"}])
    with pytest.raises(ValueError, match=r"no document with text .*2 empty documents"):
        read("jsonl", tmp_path)


@pytest.mark.parametrize("suffix", [pytest.param(".gz", marks=pytest.mark.slow), ".zst"])
def test_a_truncated_archive_is_named(tmp_path, suffix):
    rows = [{"text": f"{number} {number * 7919 % 10007} is a number."} for number in range(50_000)]
    file = write_rows(tmp_path / f"a.jsonl{suffix}", rows)
    os.truncate(file, file.stat().st_size // 2)
    with pytest.raises(ValueError, match=rf"a\.jsonl{suffix}: damaged or cut off after line \d+"):
        read("jsonl", tmp_path)
    found, tally = skipped("jsonl", tmp_path)
    assert 0 < len(found) < len(rows)
    assert tally["damaged files"] == 1


def test_bytes_that_are_not_utf8_are_named(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"Fine.\n\nCaf\xe9.\n\nFine too.\n")
    with pytest.raises(ValueError, match=r"a\.txt:3: byte 10 of the file \(0xe9\) is not UTF-8"):
        read("text", tmp_path)
    assert skipped("text", tmp_path) == ([("Fine.", "Fine too.")], {"lines not UTF-8": 1})


def test_an_overlong_line_is_named_in_little_memory(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"Fine.\n\n" + b"long " * 10_000_000 + b"\n\nFine too.\n")
    with pytest.raises(ValueError, match=r"a\.txt:3: the line is longer than 1 MB; .* raise max_mb of this source"):
        read("text", tmp_path, max_mb=1)
    script = f"""
import resource
from corpus.text.document import Tally
from corpus.text.source import Kind, Source
from corpus.text.readers import documents
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
tally = Tally()
(document,) = documents(Source("text", {str(tmp_path)!r}, on_error="skip", max_mb=1), tally)
assert document.paragraphs == ("Fine.", "Fine too."), document
assert tally == {{"lines over 1 MB": 1}}, tally
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    grown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert int(grown) < 20_000  # KB


def test_a_nul_is_dropped_and_counted(tmp_path):
    write_rows(tmp_path / "a.jsonl", [{"text": "a\0b\0.\n\0"}])
    assert skipped("jsonl", tmp_path) == ([("ab.",)], {"NUL characters": 3})


@pytest.mark.parametrize(
    ("line", "message", "reason"),
    [
        ('{"text": "cut', r"a\.jsonl:2: not JSON: .*column", "rows not JSON"),
        ('["text"]', r"a\.jsonl:2: a JSON array, not an object", "rows not JSON"),
        ('{"body": "b", "id": 3}', r"a\.jsonl:2: no key 'text'; the row has body, id", "rows without text"),
        ('{"text": null}', r"a\.jsonl:2: 'text' is null, not text; the row has text", "rows without text"),
        (r'{"text": "\ud83d"}', r"a\.jsonl:2: 'text' holds '\\ud83d', half a character", "rows with half a character"),
    ],
)
def test_a_bad_row_is_named_with_its_line_and_keys(tmp_path, line, message, reason):
    (tmp_path / "a.jsonl").write_text('{"text": "One."}\n' + line + '\n{"text": "Three."}\n')
    with pytest.raises(ValueError, match=message):
        read("jsonl", tmp_path)
    assert skipped("jsonl", tmp_path) == ([("One.",), ("Three.",)], {reason: 1})


def test_an_article_without_an_id_and_a_table_without_the_column_are_named(tmp_path):
    write_rows(tmp_path / "a.jsonl", [{"text": "One.", "title": "Two"}])
    with pytest.raises(ValueError, match=r"a\.jsonl:1: no key 'id'; the row has text, title"):
        read("wikipedia", tmp_path)
    pyarrow.parquet.write_table(pyarrow.table({"body": ["One."]}), tmp_path / "a.parquet")
    with pytest.raises(ValueError, match=r"a\.parquet: no column 'text'; its columns are body"):
        read("parquet", tmp_path)
    (tmp_path / "a.parquet").write_bytes((tmp_path / "a.parquet").read_bytes()[:-7])
    with pytest.raises(ValueError, match=r"a\.parquet: not a whole Parquet file"):
        read("parquet", tmp_path, field="body")


# Is it the same corpus?


def test_the_fingerprint_follows_the_content_and_not_the_place(tmp_path):
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        write_rows(tmp_path / folder / "a.jsonl", ARTICLES)
    one, two = (Source("wikipedia", str(tmp_path / folder)) for folder in ("one", "two"))
    assert fingerprint(one) == fingerprint(two)
    assert fingerprint(one) != fingerprint(Source("jsonl", one.path))
    write_rows(tmp_path / "two" / "a.jsonl", ARTICLES[:1])
    assert fingerprint(one) != fingerprint(two)


def test_a_file_that_looks_untouched_is_not_read_again_for_the_fingerprint(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = write_rows(tmp_path / "a.jsonl", ARTICLES)
    source = Source("wikipedia", str(file))
    fresh = fingerprint(source)
    assert not (tmp_path / "runs").exists()  # it could still change within one tick of the clock
    os.utime(file, (1, 1))
    assert fingerprint(source) == fresh
    monkeypatch.setattr("corpus.files.sha256", None)
    assert fingerprint(source) == fresh
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    write_rows(file, ARTICLES[:1])
    assert fingerprint(source) != fresh


# The real ones


def test_the_real_wikipedia_is_read_whole(data):
    found = read("wikipedia", data / "wikipedia")
    assert len(found) == len({document.id for document in found}) == 3644
    assert all(paragraph == paragraph.strip() != "" for document in found for paragraph in document.paragraphs)
    with gzip.open(data / "wikipedia" / "wiki-00.jsonl.gz", "rt", encoding="utf-8") as file:
        for line, document in zip(file, found, strict=False):
            assert json.loads(line)["text"].split() == " ".join(document.paragraphs).split()


@pytest.mark.slow
def test_every_real_book_loses_two_lines_and_no_word_more(data):
    found = read("books", data / "books")
    assert len(found) == 83
    for document in found:
        title, author, text = (data / "books" / document.id.removeprefix("books:")).read_text("utf-8").split("\n", 2)
        assert text.split() == " ".join(document.paragraphs).split(), (title, author)
