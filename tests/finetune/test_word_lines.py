"""Are sentences read from files with a word a line, the same way for every task, and is what is no word counted?"""

import pytest

from finetune.tasks.task import DataSource, find_task, open_task
from finetune.tasks.word_lines import read_sentences


def words(text):
    read = read_sentences(text)
    return [[fields[read.words] for _, fields in sentence.lines] for sentence in read.found]


@pytest.fixture
def load(tmp_path):
    """`load(text, kind, name)`: the training rows, with the words in column 0 and the tags in the last one."""

    def read(text, kind="entities", name="train.txt", tags=1, words=0, **more):
        (tmp_path / name).write_text(text, encoding="utf-8", newline="")
        columns = {"words": words, "tags": tags}
        source = DataSource("folder", str(tmp_path), files={"train": name, "dev": name}, columns=columns, **more)
        return open_task(find_task(f"own/{kind}"), source)

    return read


TEXT = "Ann B-PER\nsees O\n\nRome B-LOC\n"


class TestComments:
    @pytest.mark.parametrize(
        "comment", ["# document-1", "# O", "#", "# sent_id = 5", "#begin document (a); part 000", "#1"]
    )
    @pytest.mark.parametrize("kind", ["entities", "tags"])
    def test_before_a_sentence_they_are_passed_over_and_counted(self, load, comment, kind):
        """All but one that is a word by all that is to be seen: it has a tag."""
        task, rows = load(f"{comment}\n{TEXT}\n{comment}\nBonn B-LOC\n\n\n{comment}\n\nBonn B-LOC\n", kind)
        found = rows["train"]["words"][:]
        if comment == "# O":
            assert found == [["#", "Ann", "sees"], ["Rome"], ["#", "Bonn"], ["#"], ["Bonn"]]
        else:
            assert found == [["Ann", "sees"], ["Rome"], ["Bonn"], ["Bonn"]]
            assert rows["train"].info.description.endswith("train.txt, 3 comment lines passed over")
        assert set(task.labels) <= {"O", "B-PER", "I-PER", "B-LOC", "I-LOC"}

    def test_a_hashtag_and_a_lone_sign_are_words(self, load):
        _, rows = load("#MeToo B-Movement\nis O\n# O\n1 O\n\n# O\n1 O\n")
        assert rows["train"]["words"][:] == [["#MeToo", "is", "#", "1"], ["#", "1"]]

    def test_a_word_alone_on_its_line_may_begin_with_the_sign(self):
        assert words("#MeToo\nis\n\n# a comment\n#\n1\n") == [["#MeToo", "is"], ["#", "1"]]

    def test_a_comment_that_stands_within_a_sentence_is_named(self, load):
        with pytest.raises(ValueError, match=r"train\.txt:2: 4 columns; the lines before have 2 \(a comment begins"):
            load("Ann B-PER\n# so they say\nsees O\n")

    def test_a_broken_sentence_is_left_out_when_asked(self, load):
        _, rows = load(f"Ann\nsees O\n\n{TEXT}", skip_broken_rows=True)
        assert rows["train"]["words"][:] == [["Ann", "sees"], ["Rome"]]
        assert rows["train"].info.description.endswith("1 broken rows left out")


class TestConllU:
    LINES = (
        ("# sent_id = 1",),
        ("# text = Je vais au marché.",),
        ("1", "Je", "PRON"),
        ("2", "vais", "VERB"),
        ("3-4", "au", "_"),
        ("3", "à", "ADP"),
        ("4", "le", "DET"),
        ("5", "marché", "NOUN"),
        ("5.1", "empty", "_"),
        ("6", "#", "SYM"),
        (),
        ("1-2", "Du", "_"),
        ("1", "De", "ADP"),
        ("2", "le", "DET"),
        (),
    )

    def written(self):
        lines = []
        for line in self.LINES:
            word = [*line[:2], "_", line[2], *"_" * 6] if len(line) == 3 else line
            lines.append("\t".join(word))
        return "\n".join(lines) + "\n"

    @pytest.mark.parametrize("name", ["train.conllu", "train.txt"])
    def test_ranges_and_empty_words_are_passed_over_and_counted(self, load, name):
        task, rows = load(self.written(), "tags", name, words=1, tags=3)
        assert rows["train"]["words"][:] == [["Je", "vais", "à", "le", "marché", "#"], ["De", "le"]]
        assert task.labels == ("ADP", "DET", "NOUN", "PRON", "SYM", "VERB")
        told = "2 comment lines, 2 ranges of words (1-2), 1 empty words (1.1) passed over"
        assert rows["train"].info.description.endswith(f"{name}, {told}")


def test_words_that_are_numbered_stand_in_the_second_column():
    assert words("#\tthe source\n1\tAnn\tB-PER\n2\t10\tO\n") == [["Ann", "10"]]


class TestBlanks:
    """Tabs part columns, or else blanks; the readers of own files and of CoNLL-2003 do the same."""

    @pytest.mark.parametrize(
        ("line", "word"),
        [
            ("10\u00a0000 CD I-NP O", "10\u00a0000"),
            ("10\u00a0000\tCD\tI-NP\tO", "10\u00a0000"),
            ("10 000\tCD\tI-NP\tO", "10 000"),
            ("a\u2003b   CD  I-NP O  ", "a\u2003b"),
            ("a\u0085b CD I-NP O\t", "a\u0085b"),
            ("a\u2028b CD I-NP O", "a\u2028b"),
        ],
    )
    @pytest.mark.parametrize("end", ["\n", "\r\n", "\r\r\n", "\r"])
    def test_no_other_space_parts_columns(self, load, tmp_path, line, word, end):
        text = end.join(["Ann NN I-NP B-PER", line.rstrip("\t"), "", "Rome NN I-NP B-LOC", ""])
        for name in ("eng.train", "eng.testa"):
            (tmp_path / name).write_text(text, encoding="utf-8", newline="")
        official = find_task("conll2003").load(DataSource("folder", str(tmp_path)))["train"]
        _, own = load(text, tags=3)
        assert own["train"]["words"][:] == official["words"][:] == [["Ann", word], ["Rome"]]

    def test_words_in_one_field_are_parted_likewise(self, tmp_path):
        (tmp_path / "train.csv").write_text('words,tags\n"10\u00a0000  men",O B-X\n', encoding="utf-8")
        files = {"train": "train.csv", "dev": "train.csv"}
        source = DataSource("folder", str(tmp_path), files=files, columns={"words": "words", "tags": "tags"})
        _, rows = open_task(find_task("own/entities"), source)
        assert rows["train"]["words"][:] == [["10\u00a0000", "men"]]
