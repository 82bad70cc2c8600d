"""Are CoNLL-2003's sentences read, its tags made IOB2, and a bad line named?"""

from collections import Counter

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, Features, List, Value

from finetune.ask.predict_split import encode
from finetune.questions.tags import to_iob2
from finetune.tasks.ner import TAGS, convert_hub
from finetune.tasks.task import DataSource, find_task
from tokenizer.load import load_tokenizer

LINES = "-DOCSTART- -X- O O\n\nEU NNP I-NP I-ORG\nrejects VBZ I-VP O\n\n\nGerman JJ I-NP I-MISC\n"


@pytest.fixture
def load(tmp_path):
    def read(train=LINES):
        (tmp_path / "eng.train").write_text(train, encoding="utf-8")
        (tmp_path / "eng.testa").write_text(LINES)
        return find_task("conll2003").load(DataSource("folder", str(tmp_path)))

    return read


@pytest.mark.slow
def test_real_files(data):
    rows = find_task("conll2003").load(DataSource("folder", str(data / "conll2003")))
    assert {split: len(part) for split, part in rows.items()} == {"train": 14041, "dev": 3250, "test": 3453}
    words = {split: sum(map(len, part["words"])) for split, part in rows.items()}
    assert words == {"train": 203621, "dev": 51362, "test": 46435}
    # Entities of each type, Tjong Kim Sang & De Meulder 2003, table 2.
    entities = {
        split: Counter(TAGS[tag][2:] for tags in part["label"] for tag in tags if tag % 2)
        for split, part in rows.items()
    }
    assert entities == {
        "train": {"LOC": 7140, "MISC": 3438, "ORG": 6321, "PER": 6600},
        "dev": {"LOC": 1837, "MISC": 922, "ORG": 1341, "PER": 1842},
        "test": {"LOC": 1668, "MISC": 702, "ORG": 1661, "PER": 1617},
    }


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ("I-PER I-PER", "B-PER I-PER"),
        ("I-PER B-PER I-PER", "B-PER B-PER I-PER"),
        ("I-PER I-LOC", "B-PER B-LOC"),
        ("I-PER O I-PER", "B-PER O B-PER"),
        ("B-PER I-PER O", "B-PER I-PER O"),
        ("B-PER I-LOC", "B-PER B-LOC"),
        ("O", "O"),
        ("", ""),
    ],
)
def test_iob2(tags, expected):
    assert to_iob2(tags.split()) == expected.split()
    assert to_iob2(expected.split()) == expected.split()


def test_an_empty_line_ends_a_sentence(load):
    assert load()["train"][:] == {
        "id": ["0", "1"],
        "words": [["EU", "rejects"], ["German"]],
        "label": [[TAGS.index("B-ORG"), 0], [TAGS.index("B-MISC")]],
        "document": [1, 1],
    }


def test_a_word_may_hold_white_space_that_parts_no_columns(load):
    assert load("2\xa0000 CD I-NP O\n")["train"]["words"][:] == [["2\xa0000"]]


@pytest.mark.parametrize(
    ("train", "error"),
    [
        ("EU NNP I-NP I-ORG\nrejects O\n", r":2: 4 columns expected .*, 2 found"),
        ("EU NNP I-NP x I-ORG\n", r":1: 4 columns expected .*, 5 found"),
        ("\nEU NNP I-NP I-CAT\n", r":2: entity tag 'I-CAT'; allowed: O, B-PER"),
        ("-DOCSTART- -X- O O\n", "holds no sentences"),
        ("\n", "is empty"),
    ],
)
def test_a_bad_line_is_named(load, train, error):
    with pytest.raises(ValueError, match=r"eng\.train" + ".*" + error):
        load(train)


def hub_rows(names):
    features = Features({"tokens": List(Value("string")), "ner_tags": List(ClassLabel(names=names))})
    return Dataset.from_dict({"tokens": [["EU", "rejects"]], "ner_tags": [[3, 0]]}, features=features)


def test_the_hubs_tags_are_told_by_name():
    assert convert_hub(hub_rows(list(TAGS)))[0]["label"] == [TAGS.index("B-ORG"), 0]
    assert convert_hub(hub_rows(list(reversed(TAGS))))[0]["label"] == [TAGS.index(TAGS[-4]), len(TAGS) - 1]


def test_unknown_hub_tags_are_an_error():
    with pytest.raises(ValueError, match="expected O, B-PER"):
        convert_hub(hub_rows(["O", "B-X", "I-X", "B-Y"]))


class TestDocuments:
    """Sentences are read with their neighbours, and judged alone."""

    @pytest.fixture
    def rows(self, tmp_path):
        lines = ["-DOCSTART- -X- O O", ""]
        for sentence in (["the", "cat"], ["anna", "sat"], ["a", "dog"]):
            lines += [f"{word} NN I-NP {'I-PER' if word == 'anna' else 'O'}" for word in sentence] + [""]
        lines += ["-DOCSTART- -X- O O", "", "red NN I-NP O", ""]
        for name in ("eng.train", "eng.testa"):
            (tmp_path / name).write_text("\n".join(lines))
        return find_task("conll2003").load(DataSource("folder", str(tmp_path), context="document"))["train"]

    def test_the_words_around_are_those_of_the_document(self, rows):
        assert rows["left"][:] == [[], ["the", "cat"], ["the", "cat", "anna", "sat"], []]
        assert rows["right"][:] == [["anna", "sat", "a", "dog"], ["a", "dog"], [], []]

    def test_they_are_read_along_and_nothing_is_asked_of_them(self, rows, small_model):
        tokenizer = load_tokenizer(str(small_model))
        encoded = encode(find_task("conll2003"), rows, tokenizer, 32)
        columns = encoded.columns
        assert tokenizer.decode(columns["input_ids"][1]) == "[CLS] the cat anna sat a dog [SEP]"
        assert columns["labels"][1].tolist() == [-100, -100, -100, 1, 0, -100, -100, -100]
        assert columns["labels"][3].tolist() == [-100, 0, -100]
        assert encoded.num_lost == 0
        outputs = [np.eye(9)[np.where(labels < 0, 5, labels)] for labels in columns["labels"]]
        assert [tags.tolist() for tags in encoded.decode(outputs).answers] == rows["label"][:]

    def test_where_there_is_little_room_both_sides_share_it(self, rows, small_model):
        tokenizer = load_tokenizer(str(small_model))
        ids = encode(find_task("conll2003"), rows, tokenizer, 6).columns["input_ids"]
        assert tokenizer.decode(ids[1]) == "[CLS] cat anna sat a [SEP]"
        assert tokenizer.decode(ids[2]) == "[CLS] anna sat a dog [SEP]"
