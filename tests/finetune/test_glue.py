"""Are GLUE's official files and the Hub's copy read as they are, and is a bad row named?"""

import pytest
from datasets import ClassLabel, Dataset, Features, Value

from finetune.tasks.task import DataSource, find_task, provenance

HEADER = "index\tsentence1\tsentence2\tlabel\n"
COMMIT = "bcdcba79d07bc864c1c254ccfcedcce55bcc9a8c"


@pytest.fixture
def rte(tmp_path):
    """Writes RTE's files and reads them."""

    def read(train=HEADER + "0\ta\tb\tentailment\n", encoding="utf-8", **options):
        folder = tmp_path / "RTE"
        folder.mkdir(exist_ok=True)
        (folder / "train.tsv").write_bytes(train.encode(encoding) if isinstance(train, str) else train)
        (folder / "dev.tsv").write_text(HEADER + "0\ta\tb\tnot_entailment\n")
        return find_task("glue/rte").load(DataSource("folder", str(tmp_path), **options))

    return read


# Rows as in the table of the data's own description; official counts but for the subsets MNLI and QQP.
@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("cola", {"train": 8551, "dev": 1043, "test": 1063}),
        ("sst2", {"train": 67349, "dev": 872, "test": 1821}),
        ("mrpc", {"train": 3668, "dev": 408, "test": 1725}),
        ("stsb", {"train": 5749, "dev": 1500, "test": 1379}),
        ("qqp", {"train": 10000, "dev": 20215}),
        ("mnli", {"train": 10000, "dev_matched": 4908, "dev_mismatched": 1000}),
        ("rte", {"train": 2490, "dev": 277, "test": 3000}),
        ("wnli", {"train": 635, "dev": 71, "test": 146}),
        ("ax", {"test": 1104}),
    ],
)
def test_real_files(data, name, counts):
    task = find_task(f"glue/{name}")
    rows = task.load(DataSource("folder", str(data / "glue")))
    assert {split: len(part) for split, part in rows.items()} == counts
    for split, part in rows.items():
        assert part.column_names == ["id", *task.columns, *["label"] * (not split.startswith("test"))]
        assert all(isinstance(id_, str) for id_ in part[:5]["id"])


def test_real_rows_are_what_the_files_say(data):
    def first(name, split):
        return find_task(f"glue/{name}").load(DataSource("folder", str(data / "glue")))[split][0]

    cola = first("cola", "train")
    assert cola["sentence"] == "Our friends won't buy this analysis, let alone the next one we propose."
    assert cola["label"] == 1
    assert '" the witness "' in first("mrpc", "train")["sentence1"]
    assert first("stsb", "train") == {
        "id": "0", "sentence1": "A plane is taking off.", "sentence2": "An air plane is taking off.", "label": 5.0
    }  # fmt: skip
    assert first("mnli", "dev_matched")["id"] == "9541"
    assert first("mnli", "dev_matched")["label"] == 2
    assert first("cola", "test") == {"id": "0", "sentence": "Bill whistled past the house."}


class TestCut:
    def test_a_missing_train_split_names_the_option(self, data):
        with pytest.raises(FileNotFoundError, match=r"QNLI/train\.tsv.*data\.cut_dev_by: question"):
            find_task("glue/qnli").load(DataSource("folder", str(data / "glue")))

    def test_dev_is_cut_in_two_by_question(self, data):
        rows = find_task("glue/qnli").load(DataSource("folder", str(data / "glue"), cut_dev_by="question"))
        train, dev = rows["train"], rows["dev"]
        assert len(train) + len(dev) == 5463
        assert abs(len(train) - len(dev)) < 100
        assert not set(train["sentence1"]) & set(dev["sentence1"])
        assert not set(train["id"]) & set(dev["id"])
        assert len(rows["test"]) == 5463
        assert "dev.tsv, questions of even hash only; dev:" in provenance(rows)

    def test_a_task_with_a_train_file_is_not_cut(self, rte):
        rows = rte(cut_dev_by="question")
        assert "hash" not in provenance(rows)


class TestFormat:
    def test_quotes_are_letters(self, rte):
        rows = rte(HEADER + '0\t"a\tb" and "c"\tentailment\n1\t"\t""\tnot_entailment\n')
        assert rows["train"]["sentence1"][:] == ['"a', '"']
        assert rows["train"]["sentence2"][:] == ['b" and "c"', '""']

    @pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
    def test_a_byte_order_mark_is_no_letter(self, rte, encoding):
        rows = rte("sentence1\tindex\tsentence2\tlabel\nα\t7\tב\tentailment\n", encoding)
        assert rows["train"][0] == {"id": "7", "sentence1": "α", "sentence2": "ב", "label": 0}

    def test_windows_line_ends(self, rte):
        rows = rte((HEADER + "0\ta\tb\tentailment\n").replace("\n", "\r\n"))
        assert rows["train"][0] == {"id": "0", "sentence1": "a", "sentence2": "b", "label": 0}

    def test_an_unusual_line_separator_ends_no_row(self, rte):
        rows = rte(HEADER + "0\ta\x85a\tb\u2028b\tentailment\n")
        assert rows["train"]["sentence2"][:] == ["b\u2028b"]

    def test_cola_has_no_header(self, tmp_path):
        (tmp_path / "CoLA").mkdir()
        for split in ("train", "dev"):
            (tmp_path / "CoLA" / f"{split}.tsv").write_text("gj04\t0\t*\tHim ran.\ngj04\t1\t\tHe ran.")
        rows = find_task("glue/cola").load(DataSource("folder", str(tmp_path)))
        assert rows["train"][:] == {"id": ["0", "1"], "sentence": ["Him ran.", "He ran."], "label": [0, 1]}


class TestBadRow:
    @pytest.mark.parametrize(
        ("row", "found"), [("1\ta\tb", 3), ("1\ta\tb\tentailment\tmore", 5), ("", 0)], ids=["short", "long", "blank"]
    )
    def test_a_wrong_number_of_fields_is_an_error(self, rte, row, found):
        text = HEADER + "0\ta\tb\tentailment\n" + row + "\n2\ta\tb\tentailment\n"
        with pytest.raises(ValueError, match=rf"train\.tsv:3: 4 tab-separated fields expected, {found} found"):
            rte(text)
        with pytest.warns(UserWarning, match=r"train\.tsv:3: .* 1 such rows left out of 3"):
            rows = rte(text, skip_broken_rows=True)
        assert rows["train"]["id"][:] == ["0", "2"]
        assert "train.tsv, 1 broken rows left out" in provenance(rows)

    @pytest.mark.parametrize("label", ["5", "", "Entailment"])
    def test_an_unknown_label_is_an_error(self, rte, label):
        allowed = "allowed: 'entailment', 'not_entailment'"
        with pytest.raises(ValueError, match=rf"train\.tsv:3: label '{label}' of glue/rte; {allowed}"):
            rte(f"{HEADER}0\ta\tb\tentailment\n1\ta\tb\t{label}\n")

    def test_a_hidden_label_is_a_test_splits(self, rte):
        with pytest.raises(ValueError, match=r"train\.tsv:2: label '-1'.*only be a test split"):
            rte(HEADER + "0\ta\tb\t-1\n")

    @pytest.mark.parametrize("score", ["5.1", "-1", "nan", "inf", "high"])
    def test_a_score_out_of_range_is_an_error(self, tmp_path, score):
        (tmp_path / "STS-B").mkdir()
        for split in ("train", "dev"):
            (tmp_path / "STS-B" / f"{split}.tsv").write_text(f"index\tsentence1\tsentence2\tscore\n0\ta\tb\t{score}\n")
        with pytest.raises(ValueError, match=rf"train\.tsv:2: label '{score}' .*allowed: a number from 0 to 5"):
            find_task("glue/stsb").load(DataSource("folder", str(tmp_path)))

    def test_a_missing_column_is_named(self, rte):
        with pytest.raises(
            ValueError, match=r"train\.tsv:1: no column 'sentence2'; the header has 'index', 'sentence1'"
        ):
            rte("index\tsentence1\tsentence\tlabel\n0\ta\tb\tentailment\n")

    @pytest.mark.parametrize(
        ("content", "error"),
        [
            ("", "is empty"),
            ("\n", "is empty"),
            (HEADER, "no rows"),
            (HEADER.encode() + b"0\ta\xff\tb\tentailment\n", r":2: byte \d+ is not UTF-8"),
            (HEADER + "0\t" + "a" * 1_000_001 + "\tb\tentailment\n", r":2: field larger than field limit"),
        ],
        ids=["empty", "blank", "header only", "not UTF-8", "huge"],
    )
    def test_a_damaged_file_is_named(self, rte, content, error):
        with pytest.raises(ValueError, match=r"train\.tsv.*" + error):
            rte(content)


class Builder:
    """What `datasets` returns for a repository on the Hub."""

    hash = COMMIT

    def __init__(self, labels):
        self.labels = labels

    def download_and_prepare(self):
        pass

    def as_dataset(self):
        return {split: self.rows(labels) for split, labels in self.labels.items()}

    def rows(self, labels):
        names = ClassLabel(names=["entailment", "not_entailment"])
        texts = {"sentence1": Value("string"), "sentence2": Value("string")}
        features = Features({"label": names, "idx": Value("int32"), **texts})
        columns = {
            "label": labels,
            "idx": range(len(labels)),
            "sentence1": "a" * len(labels),
            "sentence2": "b" * len(labels),
        }
        return Dataset.from_dict({name: list(column) for name, column in columns.items()}, features=features)


class TestHub:
    @pytest.fixture
    def hub(self, monkeypatch):
        asked = {}

        def answer(builder):
            def load(repo, **options):
                asked.update(repo=repo, **options)
                return builder

            monkeypatch.setattr("finetune.tasks.rows.load_dataset_builder", load)
            return asked

        return answer

    def test_it_is_read_with_its_commit_on_record(self, hub):
        asked = hub(Builder({"train": [0, 1], "validation": [1], "test": [-1, -1]}))
        rows = find_task("glue/rte").load(DataSource("hub"))
        assert asked == {"repo": "nyu-mll/glue", "name": "rte", "revision": "main"}
        assert rows["train"][1] == {"id": "1", "sentence1": "a", "sentence2": "b", "label": 1}
        assert rows["test"].column_names == ["id", "sentence1", "sentence2"]
        assert f"dev: hub nyu-mll/glue@{COMMIT} rte validation" in provenance(rows)

    def test_a_hidden_label_outside_of_test_is_an_error(self, hub):
        hub(Builder({"train": [0, -1], "validation": [1], "test": [-1]}))
        with pytest.raises(
            ValueError, match=f"{COMMIT} rte train, row 1: label '-1' of glue/rte; allowed: 'entailment'"
        ):
            find_task("glue/rte").load(DataSource("hub"))

    def test_a_missing_split_is_an_error(self, hub):
        hub(Builder({"train": [0], "validation": [1]}))
        with pytest.raises(ValueError, match="has no split 'test'; it has train, validation"):
            find_task("glue/rte").load(DataSource("hub"))

    def test_another_commit_than_asked_for_is_an_error(self, hub):
        hub(Builder({"train": [0], "validation": [1], "test": [-1]}))
        with pytest.raises(ValueError, match=f"only commit {COMMIT} of nyu-mll/glue is on this machine"):
            find_task("glue/rte").load(DataSource("hub", revision="0" * 40))
