"""Does a file of inputs become answers, row by row, the same ones that transformers' own pipelines give?"""

import json
import os
import random
import shutil
import sys
from functools import partial

import pyarrow
import pytest
import torch
from pyarrow import parquet
from transformers import (
    AutoConfig,
    AutoModelForMultipleChoice,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
    pipeline,
)

from finetune.ask import predict
from finetune.ask.predict import main
from finetune.tasks.metrics.entities import find_entities

WORDS = [
    "the",
    "a",
    "cat",
    "dog",
    "sat",
    "ran",
    "on",
    "near",
    "old",
    "new",
    "anna",
    "bob",
    "paris",
    "rome",
    "acme",
    ".",
]
LABELS = {0: "never", 1: "maybe", 2: "so"}
TAGS = dict(enumerate(["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]))


def chance_texts(number, seed=0, longest=30):
    chance = random.Random(seed)
    return [" ".join(chance.choices(WORDS, k=chance.randint(1, longest))) for _ in range(number)]


TEXTS, OTHERS = chance_texts(40), chance_texts(40, seed=1)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """`made(source, class, settings)`: a folder with the architecture `source`, a head, and large random weights."""

    def make(source, auto_class, **settings):
        folder = tmp_path_factory.mktemp("made") / "model"
        torch.manual_seed(0)
        config = AutoConfig.from_pretrained(source)
        config.update({"initializer_range": 1.0, **settings})
        auto_class.from_config(config).save_pretrained(folder)
        AutoTokenizer.from_pretrained(source).save_pretrained(folder)
        return folder

    return make


@pytest.fixture(scope="module")
def classifier(made, small_model):
    return made(small_model, AutoModelForSequenceClassification, id2label=LABELS)


@pytest.fixture(scope="module")
def tagger(made, small_model):
    return made(small_model, AutoModelForTokenClassification, id2label=TAGS)


@pytest.fixture(scope="module")
def answer(launch_program):
    """`answer(folder, model, file, *options)`: the answers' lines."""

    def run(folder, model, file, *options):
        ended = launch_program(main, folder, str(model), str(file), "--out", "answers.jsonl", *options)
        assert ended.status == 0, ended.said
        return [json.loads(line) for line in (folder / "answers.jsonl").read_text(encoding="utf-8").splitlines()]

    return run


@pytest.fixture
def refused(launch_program, tmp_path):
    """`refused(model, file, *options)`: what is said of a mistake."""

    def run(model, file, *options):
        ended = launch_program(main, tmp_path, str(model), str(file), *options)
        assert ended.status == 2, ended.said
        return ended.said.splitlines()[-1]

    return run


def write(path, rows, columns):
    """A file of rows in the format that its name says."""
    if path.suffix == ".parquet":
        parquet.write_table(
            pyarrow.table({name: [row[place] for row in rows] for place, name in enumerate(columns)}), path
        )
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(dict(zip(columns, row, strict=True))) + "\n" for row in rows))
    else:
        mark = {".csv": ",", ".tsv": "\t", ".txt": "\t"}[path.suffix]
        head = [] if path.suffix == ".txt" else [columns]
        path.write_text("".join(mark.join(map(str, row)) + "\n" for row in [*head, *rows]))
    return path


class TestLikeThePipelines:
    def test_labels_of_texts(self, tmp_path, classifier, answer):
        found = answer(tmp_path, classifier, write(tmp_path / "in.jsonl", [[text] for text in TEXTS], ["text"]))
        expected = pipeline("text-classification", model=str(classifier), top_k=None)(TEXTS)
        assert len({line["prediction"] for line in found}) > 1
        for number, (line, scores) in enumerate(zip(found, expected, strict=True)):
            assert (line["id"], line["prediction"]) == (number, scores[0]["label"])
            probabilities = {score["label"]: score["score"] for score in scores}
            assert line["probabilities"] == pytest.approx(probabilities, abs=1e-4)

    def test_labels_of_pairs(self, tmp_path, classifier, answer):
        path = write(tmp_path / "in.tsv", list(zip(TEXTS, OTHERS, strict=True)), ["sentence1", "sentence2"])
        found = answer(tmp_path, classifier, path)
        pairs = [{"text": text, "text_pair": other} for text, other in zip(TEXTS, OTHERS, strict=True)]
        expected = pipeline("text-classification", model=str(classifier))(pairs, truncation="longest_first")
        assert [line["prediction"] for line in found] == [best["label"] for best in expected]

    def test_scores(self, tmp_path, made, small_model, answer):
        model = made(small_model, AutoModelForSequenceClassification, num_labels=1, problem_type="regression")
        found = answer(tmp_path, model, write(tmp_path / "in.txt", [[text] for text in TEXTS], ["text"]))
        expected = pipeline("text-classification", model=str(model), function_to_apply="none")(TEXTS)
        scores = [best["score"] for best in expected]
        assert [line["prediction"] for line in found] == pytest.approx(scores, abs=1e-4)

    def test_labels_by_a_decoder(self, tmp_path, made, small_gpt, answer):
        """One text at a time, for its tokenizer cannot pad."""
        model = made(small_gpt, AutoModelForSequenceClassification, id2label=LABELS)
        found = answer(tmp_path, model, write(tmp_path / "in.txt", [[text] for text in TEXTS], ["text"]))
        classify = pipeline("text-classification", model=str(model))
        expected = [classify(text)[0] for text in TEXTS]
        assert len({line["prediction"] for line in found}) > 1
        assert [line["prediction"] for line in found] == [best["label"] for best in expected]

    def test_entities(self, tmp_path, tagger, answer):
        found = answer(tmp_path, tagger, write(tmp_path / "in.txt", [[text] for text in TEXTS], ["text"]))
        expected = pipeline("token-classification", model=str(tagger), aggregation_strategy="first")(TEXTS)
        assert any(len(line["entities"]) > 3 for line in found)
        for line, text, groups in zip(found, TEXTS, expected, strict=True):
            assert line["words"] == text.split()
            assert [(e["type"], e["start"], e["end"]) for e in line["entities"]] == [
                (group["entity_group"], group["start"], group["end"]) for group in groups
            ]
            for entity, group in zip(line["entities"], groups, strict=True):
                assert entity["text"] == text[entity["start"] : entity["end"]]
                assert entity["probability"] == pytest.approx(group["score"], abs=1e-4)


class TestTags:
    def test_words_that_are_given_stay_whole_and_places_are_in_the_words_joined(self, tmp_path, tagger, answer):
        words = ["anna", "ran", "near", "paris"]
        (given,) = answer(tmp_path, tagger, write(tmp_path / "in.jsonl", [[words]], ["words"]))
        (running,) = answer(tmp_path, tagger, write(tmp_path / "in.txt", [[" ".join(words)]], ["text"]))
        assert given == running
        odd = ["U.S.-led", "(", "AT&T", "don't"]
        (line,) = answer(tmp_path, tagger, write(tmp_path / "in.jsonl", [[odd]], ["words"]))
        assert line["words"] == odd
        assert len(line["prediction"]) == len(line["probability"]) == 4

    def test_running_text_is_parted_as_corpora_are(self, tmp_path, tagger, answer):
        (line,) = answer(
            tmp_path, tagger, write(tmp_path / "in.txt", [["The U.S. won't pay AT&T  $1,000.50 (again)."]], ["text"])
        )
        assert line["words"] == ["The", "U.S.", "won't", "pay", "AT&T", "$", "1,000.50", "(", "again", ")", "."]

    def test_words_beyond_the_models_length_are_told(self, tmp_path, tagger, launch_program):
        write(tmp_path / "in.txt", [["cat " * 70], ["cat"]], ["text"])
        ended = launch_program(main, tmp_path, str(tagger), "in.txt")
        assert (
            "2 rows answered, 1 of them cut at max_seq_length 64 (8 tokens not read), 8 words not read and so untagged"
        ) in ended.said

    def test_the_line_of_a_cut_row_says_so_and_a_row_that_just_fits_is_none(self, tmp_path, tagger, answer):
        path = write(tmp_path / "in.txt", [["cat " * 70], ["cat " * 62], ["cat"]], ["text"])
        found = answer(tmp_path, tagger, path)  # 62 words and two special tokens are 64
        assert [line.get("tokens_cut") for line in found] == [8, None, None]
        assert found[0]["prediction"][62:] == ["O"] * 8
        assert found[0]["probability"][62:] == [0.0] * 8

    @pytest.mark.parametrize(
        ("tags", "found"),
        [
            ("O B-PER I-PER O", [(1, 3, "PER")]),
            ("B-PER B-PER I-LOC", [(0, 1, "PER"), (1, 2, "PER"), (2, 3, "LOC")]),
            ("I-PER O I-PER", [(0, 1, "PER"), (2, 3, "PER")]),
            ("NOUN NOUN VERB", [(0, 2, "NOUN"), (2, 3, "VERB")]),
            ("O", []),
        ],
    )
    def test_entities_are_read_as_the_pipeline_does(self, tags, found):
        assert find_entities(tags.split()) == found


class TestSpans:
    @pytest.fixture
    def asked(self, tmp_path):
        contexts = chance_texts(len(WORDS), seed=2, longest=40)
        rows = [[f"where is the {word}?", context] for word, context in zip(WORDS, contexts, strict=True)]
        return write(tmp_path / "in.jsonl", rows, ["question", "context"])

    def test_the_answer_is_the_best_piece_of_the_context(self, tmp_path, made, small_model, asked, answer):
        reader = made(small_model, AutoModelForQuestionAnswering)
        tokenizer, model = AutoTokenizer.from_pretrained(reader), AutoModelForQuestionAnswering.from_pretrained(reader)
        found = answer(tmp_path, reader, asked)
        for line, row in zip(found, map(json.loads, asked.read_text().splitlines()), strict=True):
            batch = tokenizer(row["question"], row["context"], return_tensors="pt", return_offsets_mapping=True)
            places = batch.pop("offset_mapping")[0].tolist()
            with torch.no_grad():
                logits = model(**batch)
            scores = {
                (places[start][0], places[end][1]): float(logits.start_logits[0, start] + logits.end_logits[0, end])
                for start in range(len(places))
                for end in range(start, min(start + 30, len(places)))
                if batch["token_type_ids"][0, start] == 1 and places[end][1] > 0
            }
            assert (line["start"], line["end"]) == max(scores, key=scores.__getitem__)
            assert line["prediction"] == row["context"][line["start"] : line["end"]] == line["best"][0]["text"]
            assert line["probability"] == line["best"][0]["probability"] <= 1
            assert sum(span["probability"] for span in line["best"]) == pytest.approx(1, abs=1e-4)

    @pytest.mark.parametrize(("threshold", "answered"), [(1e9, 16), (-1e9, 0)])
    def test_no_answer_where_the_model_learnt_to_give_none(
        self, tmp_path, made, small_model, asked, answer, threshold, answered
    ):
        model = made(small_model, AutoModelForQuestionAnswering, null_threshold=threshold)
        found = answer(tmp_path, model, asked)
        assert sum(line["prediction"] != "" for line in found) == answered
        for line in found:
            assert [span["text"] for span in line["best"] if span["start"] < 0] == [""]
            assert (line["start"] == -1) == (line["prediction"] == "")


class TestChoices:
    def test_each_choice_is_read_with_the_text(self, tmp_path, made, small_model, answer):
        """Rows of two, three and two choices; transformers' own model judges one row at a time."""
        folder = made(small_model, AutoModelForMultipleChoice)
        rows = [[text, OTHERS[3 * n : 3 * n + 2 + n % 2]] for n, text in enumerate(TEXTS[:10])]
        found = answer(tmp_path, folder, write(tmp_path / "in.jsonl", rows, ["text", "choices"]))
        tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForMultipleChoice.from_pretrained(folder)
        assert len({line["prediction"] for line in found}) > 1
        for line, (text, choices) in zip(found, rows, strict=True):
            batch = tokenizer([text] * len(choices), choices, return_tensors="pt", padding=True, truncation=True)
            with torch.no_grad():
                scores = model(**{name: table[None] for name, table in batch.items()}).logits[0]
            assert line["prediction"] == int(scores.argmax())
            assert line["probabilities"] == pytest.approx(scores.softmax(-1).tolist(), abs=1e-4)

    def test_swag_and_columns_of_ones_own(self, tmp_path, made, small_model, answer):
        model = made(small_model, AutoModelForMultipleChoice)
        texts = [TEXTS[0], "anna", "ran", "sat", "was", "ran on"]
        swag = write(tmp_path / "swag.csv", [texts], ["sent1", "sent2", *(f"ending{number}" for number in range(4))])
        joined = [TEXTS[0], json.dumps([f"anna {ending}" for ending in texts[2:]])]
        (tmp_path / "own.tsv").write_text("ctx\tmay\n" + "\t".join(joined) + "\n")
        expected = answer(tmp_path, model, "own.tsv", "--columns", "text=ctx", "choices=may")
        assert answer(tmp_path, model, swag) == answer(tmp_path, model, swag, "--task", "swag") == expected
        assert len(expected[0]["probabilities"]) == 4
        own = write(tmp_path / "own.csv", [[TEXTS[0], "anna ran", "anna sat"]], ["ctx", "a", "b"])
        (line,) = answer(tmp_path, model, own, "--columns", "text=ctx", "choices=a,b")
        assert len(line["probabilities"]) == 2

    def test_a_row_may_have_fewer_choices_than_columns(self, tmp_path, made, small_model, answer, refused):
        model = made(small_model, AutoModelForMultipleChoice)
        rows = [[TEXTS[0], "anna ran", "anna sat", ""], [TEXTS[1], "a cat", "a dog", "the old dog"]]
        own = write(tmp_path / "own.csv", rows, ["ctx", "a", "b", "c"])
        said = ("--columns", "text=ctx", "choices=a,b,c")
        found = answer(tmp_path, model, own, *said)
        assert [len(line["probabilities"]) for line in found] == [2, 3]
        for row, line in zip(rows, found, strict=True):
            lists = write(
                tmp_path / "in.jsonl", [[row[0], [choice for choice in row[1:] if choice]]], ["text", "choices"]
            )
            (alone,) = answer(tmp_path, model, lists)
            assert line["probabilities"] == pytest.approx(alone["probabilities"], abs=1e-5)
        for choices, trouble in (
            (["a", "", "b"], "choice 1 is empty"),
            (["a", "", ""], "1 choices; there must be two"),
        ):
            write(tmp_path / "own.csv", [[TEXTS[0], *choices]], ["ctx", "a", "b", "c"])
            assert f"own.csv:2: 'a,b,c': {trouble}" in refused(model, "own.csv", *said)


class TestFiles:
    @pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".parquet"])
    def test_every_format_gives_the_same(self, tmp_path, classifier, answer, suffix):
        texts = answer(tmp_path, classifier, write(tmp_path / "in.txt", [[text] for text in TEXTS], ["text"]))
        rows = [[f"key {number}", text, 0] for number, text in enumerate(TEXTS)]
        path = write(tmp_path / f"in{suffix}", rows, ["id", "text", "label"])
        found = answer(tmp_path, classifier, path)
        assert [line["id"] for line in found] == [row[0] for row in rows]
        assert [line["probabilities"] for line in found] == [line["probabilities"] for line in texts]

    def test_quotes_are_letters_in_tsv_and_quotes_in_csv(self, tmp_path, tagger, answer):
        (tmp_path / "in.tsv").write_text('index\ttext\n7\tthe "old cat\n')
        (tmp_path / "in.csv").write_text('\ufeffindex,text\n7,"the ""old\ncat"\n', encoding="utf-8")
        for name in ("in.tsv", "in.csv"):
            (line,) = answer(tmp_path, tagger, name)
            assert (line["id"], line["words"]) == ("7", ["the", '"', "old", "cat"])

    def test_a_file_with_a_word_a_line_is_read_as_in_training(self, tmp_path, tagger, answer, launch_program):
        """By its suffix, or because the words' column is said by its number; with tags in it or without."""
        lists = write(tmp_path / "in.jsonl", [[["anna", "ran"]], [["10\u00a0000", "cat"]], [["rome"]]], ["words"])
        expected = answer(tmp_path, tagger, lists)
        sentences = [["anna B-PER", "ran O"], ["10\u00a0000 O", "cat O"], ["rome B-LOC"]]
        text = "# one\n" + "\n\n".join("\n".join(lines) for lines in sentences) + "\n"
        for name, options in (("in.conll", []), ("in.txt", ["words=0"]), ("eng.testb", ["words=0"])):
            (tmp_path / name).write_text(text, encoding="utf-8")
            said = ["--columns", *options] if options else []
            assert answer(tmp_path, tagger, name, *said) == expected
            ended = launch_program(main, tmp_path, str(tagger), name, *said)
            assert "; 1 comment lines passed over" in ended.said
        rows = [
            ["1-2", "annaran"],
            ["1", "anna"],
            ["2", "ran"],
            [],
            ["1", "10\u00a0000"],
            ["2", "cat"],
            [],
            ["1", "rome"],
        ]
        lines = ["\t".join([*row, *"_" * 8]) if row else "" for row in rows]
        (tmp_path / "in.conllu").write_text("# text = anna\n" + "\n".join(lines) + "\n\n", encoding="utf-8")
        assert answer(tmp_path, tagger, "in.conllu") == expected
        (tmp_path / "eng.testb").write_text("anna O\nran\n")
        ended = launch_program(main, tmp_path, str(tagger), "eng.testb")
        assert "may end in anything where words are asked for by the number of their column" in ended.said
        ended = launch_program(main, tmp_path, str(tagger), "eng.testb", "--columns", "words=0")
        assert "eng.testb:2: 1 columns; the lines before have 2" in ended.said

    def test_numbers_are_read_as_their_text(self, tmp_path, classifier, answer):
        """As in training; a text that looks like a missing value is a text."""
        rows = [[5], [1.5], ["NA"], ["null"], ["nan"]]
        found = answer(tmp_path, classifier, write(tmp_path / "in.jsonl", rows, ["text"]))
        texts = answer(tmp_path, classifier, write(tmp_path / "in.csv", rows, ["text"]))
        assert [line["probabilities"] for line in found] == [line["probabilities"] for line in texts]

    def test_columns_are_said(self, tmp_path, classifier, answer, launch_program):
        rows = [[text, other, f"key {number}"] for number, (text, other) in enumerate(zip(TEXTS, OTHERS, strict=True))]
        path = write(tmp_path / "in.csv", rows, ["review", "reply", "key"])
        found = answer(tmp_path, classifier, path, "--columns", "text_pair=reply", "text=review", "id=key")
        usual = answer(tmp_path, classifier, write(tmp_path / "in.jsonl", rows, ["premise", "hypothesis", "id"]))
        assert found == usual
        ended = launch_program(main, tmp_path, str(classifier), "in.jsonl")
        assert "in.jsonl: reading text from 'premise', text_pair from 'hypothesis'" in ended.said

    def test_standard_input(self, tmp_path, classifier, answer, launch_program):
        expected = answer(tmp_path, classifier, write(tmp_path / "in.jsonl", [[text] for text in TEXTS], ["text"]))
        write(tmp_path / "in.txt", [[text] for text in TEXTS], ["text"])
        for name in ("in.jsonl", "in.txt"):
            ended = launch_program(partial(from_standard_input, name), tmp_path, str(classifier), "-")
            assert ended.status == 0, ended.said
            found = [json.loads(line) for line in ended.said.splitlines() if line.startswith("{")]
            assert found == expected


def from_standard_input(name):
    os.dup2(os.open(name, os.O_RDONLY), 0)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115
    main()


from_standard_input.__module__ = "finetune.predict"


def into_a_closed_pipe():
    reading, writing = os.pipe()
    os.close(reading)
    os.dup2(writing, 1)
    main()


class TestStreams:
    def test_parts_are_answered_in_the_files_order(self, tmp_path, classifier, answer, monkeypatch):
        path = write(tmp_path / "in.txt", [[text] for text in TEXTS], ["text"])
        whole = answer(tmp_path, classifier, path)
        monkeypatch.setattr(predict, "ROWS_PER_PART", 7)
        in_parts = answer(tmp_path, classifier, path, "--batch_tokens", "100")
        assert [line["id"] for line in in_parts] == list(range(40))
        for one, other in zip(whole, in_parts, strict=True):
            assert one["probabilities"] == pytest.approx(other["probabilities"], abs=1e-5)

    def test_a_part_of_long_texts_is_short(self):
        questions = [predict.Example(number, {"text": "a" * 1_500_000}) for number in range(4)]
        assert [len(part) for part in predict.split_examples(questions)] == [3, 1]

    def test_the_rows_before_a_broken_one_are_answered(self, tmp_path, classifier, launch_program, monkeypatch):
        write(tmp_path / "in.txt", [["the cat"]] * 10 + [[""]] + [["a dog"]], ["text"])
        monkeypatch.setattr(predict, "ROWS_PER_PART", 4)
        ended = launch_program(main, tmp_path, str(classifier), "in.txt")
        assert ended.status == 2
        assert ended.said.count('"prediction"') == 10
        assert ended.said.splitlines()[-1].startswith("error: in.txt:11: 'text' is empty; --skip_broken True")
        ended = launch_program(main, tmp_path, str(classifier), "in.txt", "--out", "answers.jsonl")
        assert ended.status == 2
        assert sorted(path.name for path in tmp_path.iterdir()) == ["in.txt", "log.txt"]  # no half file

    def test_broken_rows_are_left_out_and_counted(self, tmp_path, classifier, answer, launch_program):
        (tmp_path / "in.tsv").write_bytes(b"text\tn\nthe cat\t1\nno field\na \xff dog\t3\n\tempty\nanna ran\t5\n")
        found = answer(tmp_path, classifier, "in.tsv", "--skip_broken", "True")
        assert [line["id"] for line in found] == [0, 4]
        ended = launch_program(main, tmp_path, str(classifier), "in.tsv", "--skip_broken", "True")
        assert "2 rows answered" in ended.said
        assert "3 broken rows left out, the first: in.tsv:3: 1 fields, but the header names 2 (text, n)" in ended.said

    def test_a_reader_that_has_enough_ends_it_quietly(self, tmp_path, classifier, launch_program):
        write(tmp_path / "in.txt", [["the cat"]] * 100, ["text"])
        ended = launch_program(into_a_closed_pipe, tmp_path, str(classifier), "in.txt")
        assert ended.status == 0
        assert "Error" not in ended.said
        assert "answered" not in ended.said

    def test_two_processes_are_refused(self, tmp_path, classifier, launch_together):
        write(tmp_path / "in.txt", [["the cat"]], ["text"])
        for ended in launch_together(main, tmp_path, str(classifier), "in.txt"):
            assert ended.status == 2
            assert "2 processes were started, but one answers a file" in ended.said


class TestRefused:
    def test_answers_never_replace_the_rows_that_are_asked_about(self, tmp_path, classifier, refused):
        rows = write(tmp_path / "in.csv", [["the cat"]], ["text"])
        before = rows.read_bytes()
        (tmp_path / "link.csv").symlink_to(rows)
        assert "--out link.csv is the file of inputs, which the answers would replace" in refused(
            classifier, "in.csv", "--out", "link.csv"
        )
        assert rows.read_bytes() == before

    @pytest.mark.parametrize(
        ("file", "change", "said"),
        [
            ("config.json", {"text_columns": "text"}, "config.json has the text_columns 'text'; expected the names of"),
            ("config.json", {"text_columns": 5}, "config.json has the text_columns 5; expected the names of"),
            ("config.json", {"id2label": {"0": "a", "1": "a"}}, "config.json gives two labels the name 'a'"),
            ("tokenizer_config.json", {"model_max_length": "x"}, "has the model_max_length 'x'; in "),
            ("tokenizer_config.json", {"model_max_length": -1}, "has the model_max_length -1; in "),
            ("config.json", {"num_hidden_layers": "2"}, "field 'num_hidden_layers': TypeError: Field"),
        ],
    )
    def test_a_model_whose_settings_are_damaged(self, tmp_path, classifier, refused, file, change, said):
        folder = tmp_path / "damaged"
        shutil.copytree(classifier, folder)
        (folder / file).write_text(json.dumps({**json.loads((folder / file).read_text()), **change}))
        (tmp_path / "in.txt").write_text("the cat\n")
        assert said in refused(folder, "in.txt")

    def test_where_no_row_can_be_read_that_is_what_is_said(self, tmp_path, classifier, refused):
        (tmp_path / "in.jsonl").write_text("[1]\n[2]\n")
        said = refused(classifier, "in.jsonl", "--skip_broken", "True")
        assert "error: in.jsonl:1: a JSON array, not an object {...}: JSON Lines has one object a line" in said
        assert "no row of the file can be read" in said

    @pytest.mark.parametrize(
        ("name", "content", "said"),
        [
            ("in.csv", b'text,n\nthe cat,1\n"a" dog,2\n', "in.csv:3: "),
            (
                "in.csv",
                b"text,n\nthe cat,1\na,dog,2\n",
                "in.csv:3: 3 fields, but the header names 2 (text, n); a field",
            ),
            ("in.jsonl", b'{"text": "the cat"}\n{"text": "a\n', "in.jsonl:2: not JSON"),
            ("in.jsonl", b'{"text": "the cat"}\n["a dog"]\n', "in.jsonl:2: a JSON array, not an object {...}"),
            ("in.jsonl", b'{"text": "the cat"}\n{"txt": "a dog"}\n', "in.jsonl:2: no 'text' here"),
            ("in.jsonl", b'{"text": "the cat"}\n{"text": ["a"]}\n', "in.jsonl:2: 'text': found ['a']; expected a text"),
            ("in.jsonl", b'{"text": "the cat"}\n{"text": NaN}\n', "in.jsonl:2: 'text' is empty"),
            ("in.csv", b'text,n\nthe cat,1\n"",2\n', "in.csv:3: 'text' is empty"),
            ("in.csv", b'text\nthe cat\n""\n', "in.csv:3: 'text' is empty"),
            ("in.txt", b"the cat\na \xff dog\n", "in.txt:2: 'text' is not UTF-8 at character 2"),
            ("in.txt", b"", "in.txt holds no rows"),
            ("in.parquet", b"the cat", "in.parquet: not a parquet file"),
            ("in.csv", b"text,text\na,b\n", "in.csv:1: the header names the column 'text' twice"),
            ("in.xlsx", b"the cat", "in.xlsx: a file of inputs ends in .csv, .tsv, .jsonl, .parquet, .txt"),
            (
                "in.csv",
                b"review,reply\na,b\n",
                "the columns of in.csv are review, reply: none has a usual name (text or sentence or",
            ),
            (
                "in.csv",
                b"text,sentence\na,b\n",
                "the columns of in.csv are text, sentence: it is not plain what to read (text or sentence)",
            ),
        ],
    )
    def test_a_file_that_cannot_be_read(self, tmp_path, classifier, refused, name, content, said):
        (tmp_path / name).write_bytes(content)
        assert f"error: {said}" in refused(classifier, name)

    def test_null_in_parquet(self, tmp_path, classifier, refused):
        write(tmp_path / "in.parquet", [["the cat"], [None]], ["text"])
        assert "in.parquet, row 1: no 'text' here" in refused(classifier, "in.parquet")

    @pytest.mark.parametrize(
        ("columns", "said"),
        [
            (["text=reviw"], "--columns names 'reviw', but the columns of in.csv are review, reply"),
            (["review"], "--columns is given 'review'; expected NAME=COLUMN, such as text=review"),
            (
                ["words=review"],
                "--columns says what is words; say --columns text=COLUMN or text=COLUMN text_pair=COLUMN",
            ),
        ],
    )
    def test_columns_that_are_not_there(self, tmp_path, classifier, refused, columns, said):
        (tmp_path / "in.csv").write_text("review,reply\na,b\n")
        assert said in refused(classifier, "in.csv", "--columns", *columns)

    def test_a_model_that_was_not_fine_tuned(self, tmp_path, small_model, made, refused):
        write(tmp_path / "in.txt", [["the cat"]], ["text"])
        assert "is BertForPreTraining, not fine-tuned" in refused(small_model, "in.txt")
        several = made(
            small_model, AutoModelForSequenceClassification, num_labels=3, problem_type="multi_label_classification"
        )
        assert "several labels at once" in refused(several, "in.txt")
        assert "nothing/here" in refused("./nothing/here", "in.txt")


class TestTask:
    def test_a_task_names_labels_and_columns(self, tmp_path, made, small_model, answer, refused, classifier):
        numbered = made(small_model, AutoModelForSequenceClassification, num_labels=2)
        rows = [["the cat", "a dog", "anna ran"]] * 3
        path = write(tmp_path / "in.csv", rows, ["sentence1", "sentence2", "text"])
        assert "it is not plain what to read (text or sentence1 with sentence2)" in refused(numbered, path)
        found = answer(tmp_path, numbered, path, "--task", "glue/rte")
        assert list(found[0]["probabilities"]) == ["entailment", "not_entailment"]
        assert "--task glue/rte has the labels entailment, not_entailment" in refused(
            classifier, path, "--task", "glue/rte"
        )
        assert "--task glue/stsb asks for regression" in refused(classifier, path, "--task", "glue/stsb")


def test_a_fine_tuned_model_says_what_its_run_said(tmp_path, labelled, launch, write_finetune_recipe, answer):
    write_finetune_recipe(tmp_path, predict_test=True, plan={"num_train_epochs": 3})
    ended = launch(tmp_path, "recipe.yaml")
    assert ended.status == 0, ended.said
    job = tmp_path / "runs/small/glue-rte/seed-0"
    said = [json.loads(line) for line in (job / "glue-rte-test.jsonl").read_text().splitlines()]
    found = answer(tmp_path, job / "model", labelled / "RTE/test.tsv", "--mixed_precision", "auto")  # as the run
    assert len({line["prediction"] for line in found}) == 2
    for line, of_run in zip(found, said, strict=True):
        assert (line["id"], line["prediction"]) == (of_run["id"], of_run["prediction"])
        assert line["probabilities"][line["prediction"]] == pytest.approx(of_run["probability"], abs=1e-4)
