"""Does the GLUE server get what it takes: its eleven files, by the models that dev chose, whole or not at all?"""

import json
import random
import zipfile
from functools import cache, partial

import pytest
from scipy.stats import spearmanr
from sklearn.metrics import f1_score, matthews_corrcoef

from finetune.table.submission import main

# The official test files' rows and the labels that the server takes, in the order of the names that finetune.run gives.
ROWS = {
    "CoLA": 1063, "SST-2": 1821, "MRPC": 1725, "STS-B": 1379, "QQP": 390965, "MNLI-m": 9796, "MNLI-mm": 9847,
    "QNLI": 5463, "RTE": 3000, "WNLI": 146, "AX": 1104,
}  # fmt: skip
NLI = {name: name for name in ("entailment", "neutral", "contradiction")}
TWO = {name: name for name in ("entailment", "not_entailment")}
NAMES = {
    "CoLA": {"unacceptable": "0", "acceptable": "1"},
    "SST-2": {"negative": "0", "positive": "1"},
    "MRPC": {"not_equivalent": "0", "equivalent": "1"},
    "QQP": {"not_duplicate": "0", "duplicate": "1"},
    "MNLI-m": NLI,
    "MNLI-mm": NLI,
    "QNLI": TWO,
    "RTE": TWO,
    "WNLI": {"not_entailment": "0", "entailment": "1"},
    "AX": NLI,
}
PREDICTED = {
    "MNLI-m": "glue-mnli-test_matched",
    "MNLI-mm": "glue-mnli-test_mismatched",
    **{name: f"glue-{name.lower().replace('-', '')}-test" for name in ROWS if not name.startswith("MNLI")},
}
NINE = [name for name in ROWS if name not in ("WNLI", "AX")]


@cache
def chance_answers(name, seed=0):
    """Names of labels, or scores beyond both ends of the scale."""
    chance = random.Random(f"{name} {seed}")
    if name == "STS-B":
        return [chance.uniform(-1, 6) for _ in range(ROWS[name])]
    return chance.choices(list(NAMES[name]), k=ROWS[name])


def write_job(run, task, value, seed=0, setting="", answers=None, majority=0.5, metric="accuracy"):
    """A finished job's folder, with predictions of some test files: {name in the zip: its answers}."""
    folder = run / task.replace("/", "-") / setting / f"seed-{seed}"
    folder.mkdir(parents=True)
    split = "dev_matched" if task == "glue/mnli" else "dev"
    line = {
        "task": task, "model": "runs/mini/model", "label": "mini", "init": "pretrained", "seed": seed,
        "metrics": {split: {metric: value}}, "headline": {"name": metric, "value": value},
        "majority": {split: {metric: majority}}, "hyperparameters": {"lr": setting}, "commit": "0123",
        "hardware": "a CPU", "data": "folder glue", "sizes": {}, "seconds": 1.0, "peak_rss_mb": 1, "precision": "no",
    }  # fmt: skip
    (folder / "finished.json").write_text(json.dumps(line))
    for name, found in (answers or {}).items():
        rows = (f'{{"id": "{number}", "prediction": {json.dumps(answer)}}}\n' for number, answer in enumerate(found))
        (folder / f"{PREDICTED[name]}.jsonl").write_text("".join(rows))
    return folder


@pytest.fixture(scope="module")
def complete(tmp_path_factory):
    """A run with a job of each task but WNLI, all of whose test files were predicted."""
    folder = tmp_path_factory.mktemp("complete")
    for name in ROWS:
        if name not in ("MNLI-m", "MNLI-mm", "AX", "WNLI"):
            task = PREDICTED[name].removesuffix("-test").replace("-", "/")
            write_job(folder / "runs/whole", task, 0.7, answers={name: chance_answers(name)})
    matched = {name: chance_answers(name) for name in ("MNLI-m", "MNLI-mm", "AX")}
    write_job(folder / "runs/whole", "glue/mnli", 0.7, answers=matched)
    return folder


@pytest.fixture(scope="module")
def gold(tmp_path_factory):
    """Labels of chance: as a submission, but CoLA's and STS-B's as in the benchmark's download."""
    folder, right = tmp_path_factory.mktemp("gold"), {}
    for name in ROWS:
        found = chance_answers(name, seed=7)
        right[name] = [max(0.0, min(5.0, x)) for x in found] if name == "STS-B" else [NAMES[name][x] for x in found]
        path, head = {
            "CoLA": (folder / "CoLA/test.tsv", "index\tsentence\tlabel"),
            "STS-B": (folder / "STS-B/test.tsv", "index\tsentence2\tscore"),
        }.get(name, (folder / f"{name}.tsv", "index\tpairID\tlabel"))
        path.parent.mkdir(exist_ok=True)
        rows = [f'{number}\ta bare " is a letter\t{label}\n' for number, label in enumerate(right[name])]
        path.write_text("".join([f"{head}\n", *rows]))
    return folder, right


@pytest.fixture(scope="module")
def submit(launch_program):
    """`submit(folder, *argv)` runs the program; how it ended."""
    return partial(launch_program, main)


@pytest.fixture(scope="module")
def whole(complete, submit, gold):
    """The folder of a complete submission, which was scored, and what was said."""
    ended = submit(complete, "runs/whole", "--score", str(gold[0]))
    assert ended.status == 0, ended.said
    return complete, ended.said


@pytest.fixture(scope="module")
def submitted(whole):
    return whole[0]


def unzipped(path):
    """{name: its lines, the header first}"""
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name).decode().removesuffix("\n").split("\n") for name in archive.namelist()}


def answers_in(path, name):
    return [line.split("\t")[1] for line in unzipped(path)[f"{name}.tsv"][1:]]


class TestFormat:
    @pytest.mark.slow
    def test_the_zip_holds_the_eleven_files_and_all_their_rows(self, submitted):
        files = unzipped(submitted / "submission.zip")
        assert list(files) == [f"{name}.tsv" for name in ROWS]
        for name, number in ROWS.items():
            head, *rows = files[f"{name}.tsv"]
            assert head == "index\tprediction"
            assert [row.split("\t")[0] for row in rows] == [str(index) for index in range(number)]

    @pytest.mark.slow
    def test_labels_are_written_as_the_server_reads_them(self, submitted):
        for name, official in NAMES.items():
            if name != "WNLI":
                expected = [official[answer] for answer in chance_answers(name)]
                assert answers_in(submitted / "submission.zip", name) == expected, name

    def test_a_score_has_three_decimals_and_stays_on_the_scale(self, submitted):
        found = answers_in(submitted / "submission.zip", "STS-B")
        scores = chance_answers("STS-B")
        assert min(scores) < 0 < 5 < max(scores)
        assert found == [f"{max(0, min(5, score)):.3f}" for score in scores]

    def test_the_same_predictions_make_the_same_bytes(self, tmp_path, submit):
        write_job(tmp_path / "runs/small", "glue/rte", 0.7, answers={"RTE": chance_answers("RTE")})
        for name in ("once.zip", "again.zip"):
            assert submit(tmp_path, "runs/small", "--partial", "True", "--out", name).status == 0
        assert (tmp_path / "again.zip").read_bytes() == (tmp_path / "once.zip").read_bytes()

    def test_the_official_files_have_these_rows(self, data):
        """Those that are at hand."""
        for name, number in ROWS.items():
            path = data / "glue" / {"AX": "AX/diagnostic.tsv"}.get(name, f"{name}/test.tsv")
            if path.is_file():
                assert len(path.read_text(encoding="utf-8").rstrip("\n").split("\n")) - 1 == number, name


def chosen(folder, submit, name, *runs):
    ended = submit(folder, *(runs or ("runs/small",)), "--partial", "True")
    assert ended.status == 0, ended.said
    return next(line for line in ended.said.splitlines() if line.startswith(f"{name}.tsv"))


class TestChoice:
    def test_the_best_on_dev_of_seeds_settings_and_runs(self, tmp_path, submit):
        right = chance_answers("RTE", seed=1)
        for seed, value in enumerate((0.61, 0.64)):
            write_job(tmp_path / "runs/small", "glue/rte", value, seed, "lr=2e-05", {"RTE": chance_answers("RTE")})
        write_job(tmp_path / "runs/other", "glue/rte", 0.66, 0, answers={"RTE": right})
        line = chosen(tmp_path, submit, "RTE", "runs/small", "runs/other")
        assert "runs/other/glue-rte/seed-0 (accuracy 66.0 on dev, best of 3)" in line
        assert answers_in(tmp_path / "submission.zip", "RTE") == right
        assert "glue-rte/lr=2e-05/seed-1 (accuracy 64.0" in chosen(tmp_path, submit, "RTE", "runs/small")

    def test_a_job_without_predictions_cannot_be_chosen_and_is_told(self, tmp_path, submit):
        write_job(tmp_path / "runs/small", "glue/rte", 0.61, 0, answers={"RTE": chance_answers("RTE")})
        write_job(tmp_path / "runs/small", "glue/rte", 0.70, 1)
        line = chosen(tmp_path, submit, "RTE")
        assert "seed-0 (accuracy 61.0 on dev, best of 1; 1 more without test predictions)" in line

    def test_the_diagnostics_are_answered_by_the_mnli_model_that_is_taken(self, tmp_path, submit):
        names = ("MNLI-m", "MNLI-mm", "AX")
        for seed, value in enumerate((0.5, 0.7, 0.6)):
            answers = {name: chance_answers(name, seed) for name in names}
            write_job(tmp_path / "runs/small", "glue/mnli", value, seed, answers=answers)
        for name in names:
            assert "glue-mnli/seed-1" in chosen(tmp_path, submit, name)
            assert answers_in(tmp_path / "submission.zip", name) == chance_answers(name, 1)

    def test_jobs_that_dev_judged_on_different_rows_are_not_compared(self, tmp_path, submit):
        write_job(tmp_path / "runs/small", "glue/rte", 0.61, 0, answers={"RTE": chance_answers("RTE")})
        write_job(tmp_path / "runs/small", "glue/rte", 0.70, 1, answers={"RTE": chance_answers("RTE")}, majority=0.4)
        ended = submit(tmp_path, "runs/small", "--partial", "True")
        assert ended.status == 2
        assert "scored on different rows of glue/rte" in ended.said


class TestWinograd:
    def test_the_commonest_label_answers(self, submitted):
        assert set(answers_in(submitted / "submission.zip", "WNLI")) == {"0"}

    def test_it_is_the_commonest_label_of_the_real_training_rows(self, data):
        labels = [line.split("\t")[-1] for line in (data / "glue/WNLI/train.tsv").read_text().splitlines()[1:]]
        assert max(set(labels), key=labels.count) == "0"

    def test_a_model_as_good_as_that_changes_nothing_and_a_better_one_answers(self, tmp_path, submit):
        model = chance_answers("WNLI")
        write_job(tmp_path / "runs/small", "glue/wnli", 0.563, 0, answers={"WNLI": model}, majority=0.563)
        assert "not_entailment, the commonest label of the training rows" in chosen(tmp_path, submit, "WNLI")
        assert set(answers_in(tmp_path / "submission.zip", "WNLI")) == {"0"}
        write_job(tmp_path / "runs/small", "glue/wnli", 0.577, 1, answers={"WNLI": model}, majority=0.563)
        assert "glue-wnli/seed-1" in chosen(tmp_path, submit, "WNLI")
        assert answers_in(tmp_path / "submission.zip", "WNLI") == [NAMES["WNLI"][answer] for answer in model]


class TestRefused:
    def test_what_is_missing_is_listed_and_nothing_written(self, tmp_path, submit):
        answers = {"MNLI-m": chance_answers("MNLI-m"), "AX": chance_answers("AX")}
        write_job(tmp_path / "runs/small", "glue/mnli", 0.7, answers=answers)
        write_job(tmp_path / "runs/small", "glue/rte", 0.7, answers={"RTE": chance_answers("RTE")[:2999]})
        write_job(tmp_path / "runs/small", "glue/cola", 0.7)
        ended = submit(tmp_path, "runs/small")
        assert ended.status == 2
        said = {line.split(":")[0].strip(): line for line in ended.said.splitlines() if ".tsv: " in line}
        assert list(said) == [f"{name}.tsv" for name in ROWS if name not in ("MNLI-m", "WNLI", "AX")]
        assert "none of its 1 jobs has test predictions; run it with --predict_test True" in said["CoLA.tsv"]
        assert "no finished job" in said["QQP.tsv"]
        assert "glue-mnli/seed-0/glue-mnli-test_mismatched.jsonl is not there" in said["MNLI-mm.tsv"]
        assert "has 2999 rows, the official file 3000" in said["RTE.tsv"]
        assert not (tmp_path / "submission.zip").exists()
        ended = submit(tmp_path, "runs/small", "--partial", "True")
        assert ended.status == 0
        assert "4 files of 11, the server refuses it" in ended.said
        assert list(unzipped(tmp_path / "submission.zip")) == ["MNLI-m.tsv", "RTE.tsv", "WNLI.tsv", "AX.tsv"]

    @pytest.mark.parametrize(
        ("line", "said"),
        [
            ('{"id": "1", "prediction": "maybe"}', "'maybe' of glue/rte; allowed: entailment, not_entailment"),
            ('{"id": "7", "prediction": "entailment"}', "id '7'; expected '1'"),
            ('{"id": "1", "predic', "no JSON object with an id and a prediction"),
        ],
    )
    def test_a_bad_line_is_named(self, tmp_path, submit, line, said):
        folder = write_job(tmp_path / "runs/small", "glue/rte", 0.7, answers={"RTE": ["entailment"]})
        with (folder / "glue-rte-test.jsonl").open("a") as file:
            file.write(f"{line}\n")
        ended = submit(tmp_path, "runs/small", "--partial", "True")
        assert ended.status == 2
        assert (
            f"glue-rte-test.jsonl:2: {said}" in ended.said or f"glue-rte-test.jsonl:2: prediction {said}" in ended.said
        )

    def test_a_folder_without_jobs_is_named(self, tmp_path, submit):
        ended = submit(tmp_path, "runs/nowhere")
        assert ended.status == 2
        assert "runs/nowhere holds no finished job" in ended.said


class TestScore:
    def test_each_task_by_its_own_metric_and_the_average_of_nine(self, whole, gold):
        (folder, said), right = whole, gold[1]
        lines = said[said.index("scores by the labels") :].splitlines()[1:]
        shown = {line.split()[0]: line.split(maxsplit=1)[1] for line in lines}
        found = {name: answers_in(folder / "submission.zip", name) for name in ROWS}
        headline = {name: sum(map(str.__eq__, found[name], right[name])) / ROWS[name] for name in NAMES}
        for name in ("CoLA", "AX"):
            headline[name] = matthews_corrcoef(right[name], found[name])
        for name in ("MRPC", "QQP"):
            headline[name] = f1_score(right[name], found[name], pos_label="1")
        headline["STS-B"] = spearmanr(list(map(float, found["STS-B"])), right["STS-B"]).statistic
        for name, value in headline.items():
            assert f" {100 * value:.1f}" in f" {shown[name]}", name
        average = sum(headline[name] for name in NINE) / 9
        assert shown["average"] == f"{100 * average:.1f} of nine columns, WNLI left out"

    def test_labels_of_some_tasks_give_no_average(self, tmp_path, submit, gold):
        write_job(tmp_path / "runs/small", "glue/rte", 0.7, answers={"RTE": chance_answers("RTE")})
        ended = submit(tmp_path, "runs/small", "--partial", "True", "--score", str(gold[0]))
        assert ended.status == 0
        assert "no average of the nine columns without CoLA, SST-2" in ended.said

    @pytest.mark.parametrize("way", ["rows without a label", "rows that are not there"])
    def test_rows_that_have_labels_are_judged_and_counted(self, tmp_path, submit, way):
        """Of 3,000 rows every fifth has none; the labelled ones are answered rightly but for each tenth of them."""
        right = chance_answers("RTE")
        judged = [row for row in range(3000) if row % 5]
        wrong = {"entailment": "not_entailment", "not_entailment": "entailment"}
        given = [wrong[label] if row % 5 == 0 or row in judged[::10] else label for row, label in enumerate(right)]
        write_job(tmp_path / "runs/small", "glue/rte", 0.7, answers={"RTE": given})
        lines = [f"{row}\t{right[row]}\n" if row % 5 else f"{row}\t\n" * ("without" in way) for row in range(3000)]
        (tmp_path / "RTE.tsv").write_text("index\tlabel\n" + "".join(lines))
        ended = submit(tmp_path, "runs/small", "--partial", "True", "--score", ".")
        assert ended.status == 0, ended.said
        assert "RTE         accuracy 90.0 on the 2,400 of 3,000 rows that have labels" in ended.said

    @pytest.mark.parametrize(
        ("labels", "said"),
        [
            ("index\tlabel\n0\tentailment\n3000\tentailment\n", "RTE.tsv:3: index '3000'; the test file has 0 to 2999"),
            ("index\tlabel\n7\tentailment\n7\tentailment\n", "RTE.tsv:3: index '7' stands in line 2 too"),
            ("label\nentailment\nentailment\n", "RTE.tsv has 2 rows, but 3000 are predicted"),
            ("index\tlabel\n0\t-1\n1\t-1\n", "no labels of what is predicted"),
            ("index\tlabel\n0\tyes\n", "RTE.tsv:2: label 'yes' of glue/rte; allowed: 'entailment', 'not_entailment'"),
            ("index\tsentence1\n0\tyes\n", "no labels of what is predicted; looked for a column of labels in RTE.tsv"),
        ],
    )
    def test_labels_that_do_not_belong_to_the_rows_are_refused(self, tmp_path, submit, labels, said):
        write_job(tmp_path / "runs/small", "glue/rte", 0.7, answers={"RTE": chance_answers("RTE")})
        (tmp_path / "RTE.tsv").write_text(labels)
        ended = submit(tmp_path, "runs/small", "--partial", "True", "--score", ".")
        assert ended.status == 2
        assert said in ended.said
        assert not (tmp_path / "submission.zip").exists()


@pytest.mark.slow
def test_from_files_to_a_scored_zip(tmp_path, labelled, launch, write_finetune_recipe, submit):
    """The files have no test labels, but the word that decides them stands in each text."""
    write_finetune_recipe(tmp_path, predict_test=True)
    ended = launch(tmp_path, "recipe.yaml", "--save-model", "False")
    assert ended.status == 0, ended.said
    texts = (labelled / "RTE/test.tsv").read_text().splitlines()[1:]
    right = ["entailment" if "yes" in text.split() else "not_entailment" for text in texts]
    rows = "".join(f"{number}\t{label}\n" for number, label in enumerate(right))
    (tmp_path / "RTE.tsv").write_text(f"index\tprediction\n{rows}")
    ended = submit(tmp_path, "runs/small", "--partial", "True", "--score", ".")
    assert ended.status == 0, ended.said
    assert "RTE         accuracy 100.0" in ended.said
    assert answers_in(tmp_path / "submission.zip", "RTE") == right
