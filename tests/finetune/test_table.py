"""Is the table the paper's, and do only finished, comparable jobs get into it?"""

import json
import re
import sys
from pathlib import Path

import pytest

from finetune.table.__main__ import main
from finetune.table.pages import FORMATS, format_average, format_cell
from finetune.table.results import parse, read_all
from finetune.table.standings import GLUE, make_tables

NINE = {
    "glue/mnli": {"dev_matched": {"accuracy": 0.70}, "dev_mismatched": {"accuracy": 0.72}},
    "glue/qqp": {"dev": {"accuracy": 0.99, "f1": 0.60}},
    "glue/qnli": {"dev": {"accuracy": 0.80}},
    "glue/sst2": {"dev": {"accuracy": 0.90}},
    "glue/cola": {"dev": {"matthews_correlation": 0.30, "accuracy": 0.99}},
    "glue/stsb": {"dev": {"pearson": 0.99, "spearmanr": 0.75}},
    "glue/mrpc": {"dev": {"accuracy": 0.99, "f1": 0.85}},
    "glue/rte": {"dev": {"accuracy": 0.55}},
}


def line(task="glue/rte", metrics=None, **fields):
    metrics = metrics or {"dev": {"accuracy": 0.61}}
    name, value = next(iter(next(iter(metrics.values())).items()))
    job = {
        "task": task,
        "model": "runs/mini/model",
        "label": "mini",
        "init": "pretrained",
        "seed": 0,
        "metrics": metrics,
        "headline": {"name": name, "value": value},
        "majority": {"dev": {"accuracy": 0.527}},
        "hyperparameters": {"learning_rate": 3e-5},
        "commit": "0123456789abcdef",
        "hardware": "2 threads of x86_64 CPU",
        "data": "folder glue",
    }
    return job | fields


@pytest.fixture
def run(tmp_path):
    """Return a function that writes a run folder with the given results lines."""

    def write(*lines, name="run"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "results.jsonl").write_text("".join(f"{json.dumps(fields)}\n" for fields in lines))
        return folder

    return write


def glue(folder):
    (table,) = make_tables(read_all([folder]))
    return table


def row(table, system):
    return next(row for row in table.rows if row.system == system)


@pytest.fixture
def command(monkeypatch, capsys):
    """Return a function that runs the program and gives (exit status, stdout, stderr)."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["finetune.table", *map(str, arguments)])
        try:
            main()
            status = 0
        except SystemExit as end:
            status = end.code
        return status, *capsys.readouterr()

    return call


# The paper's table


def test_published_averages_are_those_of_the_lecture(run):
    table = glue(run(line()))
    averages = {row.system: format_average(row, table) for row in table.rows if row.kind == "published"}
    assert averages == {
        "Pre-OpenAI SOTA": "74.0",
        "BiLSTM+ELMo+Attn": "71.0",
        "OpenAI GPT": "75.2",
        "BERT-base": "79.6",
        "BERT-large": "81.9",
    }


def test_columns_stand_in_the_papers_order(run):
    lines = FORMATS["markdown"]([glue(run(line()))]).splitlines()
    assert lines[2] == "| System | MNLI-(m/mm) | QQP | QNLI | SST-2 | CoLA | STS-B | MRPC | RTE | Average |"
    assert lines[4] == "|  | 392k | 363k | 108k | 67k | 8.5k | 5.7k | 3.5k | 2.5k | - |"
    assert lines[5] == "| Pre-OpenAI SOTA | 80.6/80.1 | 66.1 | 82.3 | 93.2 | 35.0 | 81.0 | 86.0 | 61.7 | 74.0 |"


def test_markdown_has_the_same_cells_in_every_line(run):
    both = make_tables(read_all([run(line(), line("docs/pair|odd", label="a|b"))]))
    for block in FORMATS["markdown"](both).split("\n\n"):
        rows = [text for text in block.splitlines() if text.startswith("|")]
        assert len({len(re.findall(r"(?<!\\)\|", text)) for text in rows}) <= 1


def test_published_and_ours_are_told_apart(run):
    notes = " ".join(glue(run(line())).notes)
    assert "test server" in notes
    assert "development sets" in notes


# Our rows


def test_nine_columns_make_an_average(run):
    table = glue(run(*(line(task, metrics, majority={}) for task, metrics in NINE.items())))
    mini = row(table, "mini")
    assert " ".join(format_cell(mini, column) for column in GLUE) == "70.0/72.0 60.0 80.0 90.0 30.0 75.0 85.0 55.0"
    assert mini.average(GLUE) == pytest.approx((70 + 72 + 60 + 80 + 90 + 30 + 75 + 85 + 55) / 9)
    assert not any("no average" in note for note in table.notes)


def test_a_missing_task_is_a_dash_and_leaves_no_average(run):
    kept = {task: metrics for task, metrics in NINE.items() if task not in ("glue/mnli", "glue/qqp")}
    table = glue(run(*(line(task, metrics, majority={}) for task, metrics in kept.items())))
    mini = row(table, "mini")
    assert [format_cell(mini, column) for column in GLUE[:3]] == ["–", "–", "80.0"]
    assert format_average(mini, table) == "–"
    assert "mini has no average: MNLI-(m/mm), QQP not run." in table.notes


def test_wnli_is_not_of_the_nine(run):
    first, second = make_tables(read_all([run(line(), line("glue/wnli"))]))
    assert [column.title for column in second.columns] == ["glue/wnli"]
    assert {cell.measure.task for cell in row(first, "mini").cells.values()} == {"glue/rte"}


@pytest.mark.parametrize(
    ("values", "expected"), [((0.5, 0.9, 0.6), "60.0"), ((0.5, 0.6, 0.7, 0.9), "65.0"), ((0.61,), "61.0")]
)
def test_a_cell_is_the_median_over_seeds(run, values, expected):
    jobs = [line(metrics={"dev": {"accuracy": value}}, seed=seed) for seed, value in enumerate(values)]
    table = glue(run(*jobs))
    assert format_cell(row(table, "mini"), GLUE[-1]) == expected
    assert any(note.startswith(f"mini: {len(values)} seed") for note in table.notes)


def test_random_init_stands_above_its_pretrained_twin_and_labels_keep_their_order(run):
    table = glue(run(line(label="b"), line(label="b", init="random"), line(label="a")))
    assert [row.system for row in table.rows[-4:]] == ["Majority class", "b, random init", "b", "a"]


def test_majority_comes_from_the_results_lines(run):
    table = glue(run(line()))
    assert format_cell(row(table, "Majority class"), GLUE[-1]) == "52.7"
    assert format_cell(row(table, "Majority class"), GLUE[0]) == "–"


def test_the_best_setting_counts_by_its_median_and_the_choice_is_said(run):
    lucky = [line(metrics={"dev": {"accuracy": v}}, seed=s) for s, v in enumerate((0.9, 0.5, 0.5))]
    steady = [
        line(metrics={"dev": {"accuracy": v}}, seed=s, hyperparameters={"learning_rate": 5e-5})
        for s, v in enumerate((0.6, 0.7, 0.6))
    ]
    table = glue(run(*lucky, *steady))
    assert format_cell(row(table, "mini"), GLUE[-1]) == "60.0"
    assert any("the best of up to 2 settings, chosen on the same rows" in note for note in table.notes)


def test_beyond_glue_shows_squad_as_em_and_f1_and_other_tasks_by_their_headline(run):
    squad = line("squad/v1.1", {"dev": {"f1": 0.8, "exact_match": 0.7}}, majority={})
    ner = line("conll2003", {"dev": {"f1": 0.91}, "test": {"f1": 0.88}}, majority={})
    (table,) = make_tables(read_all([run(squad, ner)]))
    assert table.title == "Beyond GLUE"
    assert [(c.title, c.subtitle, format_cell(row(table, "mini"), c)) for c in table.columns] == [
        ("squad/v1.1", "dev EM/F1", "70.0/80.0"),
        ("conll2003", "dev/test F1", "91.0/88.0"),
    ]


# What is refused


def test_a_job_that_stands_twice_alike_counts_once(run):
    once, again = run(line(), line()), run(line(), name="again")
    results = read_all([once, once / "results.jsonl", again])
    assert len(results) == 1


def test_one_job_with_two_outcomes_is_refused(run):
    folder = run(line(), line(metrics={"dev": {"accuracy": 0.7}}))
    with pytest.raises(ValueError, match=r"results.jsonl:2 and .*results.jsonl:1 are the same job .*different scores"):
        read_all([folder])


def test_jobs_scored_on_different_rows_are_refused(run):
    folder = run(line(), line(seed=1, majority={"dev": {"accuracy": 0.6}}, data="folder other"))
    with pytest.raises(ValueError, match=r"different rows of glue/rte \(folder other and folder glue"):
        read_all([folder])


def test_two_files_of_ones_own_are_not_taken_for_one(run):
    """Half of the labels of each file may be alike, so that a majority scores the same."""
    ours = run(line("own/classification", rows={"dev": "1"}), line("own/classification", seed=1, rows={"dev": "2"}))
    with pytest.raises(ValueError, match=r"different rows of own/classification"):
        read_all([ours])
    alike = [line("own/classification", seed=seed, rows={"dev": "1"}) for seed in (0, 1)]
    assert len(read_all([run(*alike, name="alike")])) == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"init": "lucky"}, "init is 'lucky'; allowed: random, pretrained"),
        ({"seed": "0"}, "seed is '0', which is of the wrong type"),
        ({"metrics": {"dev": {"accuracy": 61.0}}}, "metrics dev accuracy is 61.0; scores are fractions"),
        ({"metrics": {"dev": {"accuracy": float("nan")}}}, "metrics dev accuracy is nan"),
        ({"metrics": {"dev": 0.6}}, "dev is 0.6, which is of the wrong type"),
        ({"headline": {"name": "accuracy"}}, "has no 'value'"),
    ],
)
def test_a_bad_field_names_file_line_and_value(change, message):
    with pytest.raises(ValueError, match=rf"^here.jsonl:7.*{re.escape(message)}"):
        parse(json.dumps(line() | change), "here.jsonl:7")


@pytest.mark.parametrize(
    "name", ["task", "label", "init", "seed", "metrics", "majority", "headline", "hyperparameters"]
)
def test_a_missing_field_is_named(name):
    fields = line()
    del fields[name]
    with pytest.raises(ValueError, match=f"here.jsonl:7 has no '{name}'"):
        parse(json.dumps(fields), "here.jsonl:7")


def test_a_metric_that_the_table_needs_is_missed_by_name(run):
    with pytest.raises(ValueError, match=r"results.jsonl:1: glue/mrpc has no dev f1"):
        make_tables(read_all([run(line("glue/mrpc", {"dev": {"accuracy": 0.7}}))]))


# The program


def test_a_torn_line_ends_the_program_with_one_line_and_status_2(run, command):
    folder = run(line())
    with (folder / "results.jsonl").open("a") as file:
        file.write('{"task": "glue/r')
    status, out, err = command(folder)
    assert (status, out) == (2, "")
    assert err.count("\n") == 1
    assert "results.jsonl:2 is not JSON" in err


def test_a_run_without_results_ends_the_program_with_status_2(tmp_path, command):
    status, out, err = command(tmp_path)
    assert (status, out) == (2, "")
    assert str(tmp_path / "results.jsonl") in err


def test_no_run_at_all_ends_the_program_with_status_2(command):
    status, _, err = command()
    assert status == 2
    assert "name the runs to print" in err


def test_json_gives_the_seeds_apart_and_unrounded(run, command):
    folder = run(*(line(metrics={"dev": {"accuracy": v}}, seed=s) for s, v in ((1, 0.625), (0, 0.61234), (2, 0.7))))
    status, out, _ = command(folder, "--format", "json")
    (table,) = json.loads(out)["tables"]
    (cell,) = table["rows"][-1]["scores"]
    assert status == 0
    assert table["rows"][-1]["average"] is None
    assert cell["values"] == pytest.approx([61.234, 62.5, 70.0])  # in the order of the seeds
    assert (cell["median"], cell["min"], cell["max"]) == pytest.approx((62.5, 61.234, 70.0))


def test_html_stands_alone_and_escapes_what_runs_are_called(run, command):
    jobs = [line(metrics={"dev": {"accuracy": v}}, seed=s, label="<b>mini</b>") for s, v in enumerate((0.6, 0.7))]
    status, out, _ = command(run(*jobs), "--format", "html")
    assert status == 0
    assert "&lt;b&gt;mini" in out
    assert "<b>mini" not in out
    assert "60.0–70.0" in out  # the spread over seeds
    assert not re.search(r"""(src|href)=["'](?!#)""", out)


def test_the_published_rows_stand_alone_when_asked_for(command):
    status, out, _ = command("--published")
    averages = [row.split("|")[-2].strip() for row in out.splitlines() if row.startswith("|")][3:]
    assert (status, averages) == (0, ["74.0", "71.0", "75.2", "79.6", "81.9"])


def test_the_program_prints_markdown(run, command):
    status, out, _ = command(run(line()))
    assert status == 0
    assert re.search(r"^\| mini \| – .*\| 61\.0 \| – \|$", out, re.MULTILINE)


def test_the_page_of_a_missing_folder_is_refused_before_anything_is_printed(command):
    status, out, err = command(Path("nowhere"))
    assert (status, out) == (2, "")
    assert "nowhere" in err


# How the scores came about


def failed(**fields):
    headline = {"name": "accuracy", "value": None}
    return line(**fields) | {"metrics": {}, "headline": headline, "failure": "no finite gradient"}


def test_spread_and_best_run_are_shown(run):
    jobs = [line(metrics={"dev": {"accuracy": v}}, seed=s) for s, v in enumerate((0.55, 0.61, 0.58))]
    out = FORMATS["markdown"]([glue(run(*jobs))])
    assert "| 58.0 (55.0–61.0) |" in out
    assert "61.0, seed 1" in out


def test_degenerate_runs_are_named_and_counted_and_those_without_a_score_are_named(run):
    folder = run(
        line(metrics={"dev": {"accuracy": 0.6}}, seed=0),
        line(metrics={"dev": {"accuracy": 0.5}}, seed=1, failure="answers 'entailment' to every row"),
        failed(seed=2),
    )
    table = glue(folder)
    assert format_cell(row(table, "mini"), GLUE[-1]) == "55.0"
    first, second = table.failures
    assert first.startswith("glue/rte, mini, seed 1: answers 'entailment' to every row")
    assert "counts in the median" in first
    assert second == "glue/rte, mini, seed 2: no finite gradient (it has no score)"
    for render in FORMATS.values():
        assert "no finite gradient" in render([table])


def test_a_run_in_which_everything_failed_has_no_row_and_says_why(run):
    (table,) = make_tables(read_all([run(failed())]))
    assert all(row.kind != "pretrained" for row in table.rows)
    assert table.failures


def test_where_everything_beyond_glue_failed_there_is_no_table_of_nothing(run):
    found = make_tables(read_all([run(failed(task="squad/v1.1"))]))
    assert "| System |" not in FORMATS["markdown"](found)
    assert '<th scope="col">System</th>' not in FORMATS["html"](found)
    for render in FORMATS.values():
        assert "no finite gradient" in render(found)
        assert "The median over seeds" not in render(found)


def test_a_part_of_the_training_rows_is_marked(run):
    job = line("glue/mnli", NINE["glue/mnli"], sizes={"train": 10_000, "dev_matched": 4_908})
    table = glue(run(job | {"majority": {}}))
    assert format_cell(row(table, "mini"), GLUE[0]) == "70.0/72.0†"
    assert any("glue/mnli on 10,000 of 392,702 rows" in note for note in table.notes)


def notes_of(table, mark):
    return [note for note in table.notes if note.startswith(mark)]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"passes": 0.05, "hyperparameters": {"epochs": 0.05}}, "glue/rte on 5 % of an epoch"),
        ({"hyperparameters": {"epochs": 0.5}}, "glue/rte on 50 % of an epoch"),  # a line of an older version
        ({"passes": 0.25, "sizes": {"train": 249}}, "glue/rte on 249 of 2,490 rows and 25 % of an epoch"),
        ({"held_out": 0.2, "task": "own/x", "sizes": {"train": 80}},
         "own/x on 80 rows, 20% of the file being held out for dev"),
        ({"sizes": {"train": 2490, "dev": 100}}, "glue/rte on 100 of 277 dev rows"),
    ],
)  # fmt: skip
def test_a_part_of_any_kind_is_marked_wherever_it_counts(run, fields, said):
    (table,) = make_tables(read_all([run(line(**fields))]))
    assert format_cell(row(table, "mini"), table.columns[-1]).endswith("†")
    assert said in " ".join(notes_of(table, "†"))


@pytest.mark.parametrize("passes", [1.0, 1.003, 2.5])
def test_whole_epochs_of_all_rows_are_not_marked(run, passes):
    table = glue(run(line(passes=passes, sizes={"train": 2490, "dev": 277}, held_out=0.0)))
    assert format_cell(row(table, "mini"), GLUE[-1]) == "61.0"
    assert not notes_of(table, "†")


def test_an_average_over_a_part_is_marked_too(run):
    jobs = [line(task, metrics, majority={}) for task, metrics in NINE.items()]
    table = glue(run(*jobs[:-1], jobs[-1] | {"passes": 0.5}))
    assert format_average(row(table, "mini"), table) == "68.6†"


def test_only_the_system_that_is_partial_is_named(run):
    table = glue(run(line(label="a"), line(label="b", passes=0.5)))
    assert notes_of(table, "†") == ["† Trained on a part: glue/rte on 50 % of an epoch (b)."]


def test_edited_code_stays_visible_and_unknown_code_is_called_so(run):
    digits = "0123456789abcdef0123456789abcdef01234567"
    table = glue(run(line(seed=0, commit=digits), line(seed=1, commit=digits + "+changes"), line(seed=2, commit=None)))
    (note,) = [note for note in table.notes if note.startswith("mini: ")]
    assert "commit 0123456789ab and 0123456789ab+changes and unknown;" in note


def test_two_models_of_one_name_are_told(run):
    table = glue(run(line(seed=0, model="runs/a/model"), line(seed=1, model="runs/b/model")))
    assert any("model given as runs/a/model and runs/b/model" in note for note in table.notes)


def test_machines_and_rows_that_differ_all_stand_with_the_runs(run):
    jobs = [line(seed=seed, hardware=name, precision="bf16", processes=seed + 1, sizes={"train": 2490 + seed})
            for seed, name in enumerate(("a CPU", "1 x H100"))]  # fmt: skip
    out = FORMATS["markdown"]([glue(run(*jobs))])
    assert "2,490 train or 2,491 train | 1 process(es), a CPU, bf16 or 2 process(es), 1 x H100, bf16 |" in out


def test_memory_of_the_whole_process_is_called_an_upper_bound_and_the_unknown_is_a_dash(run):
    def memory(**fields):
        out = FORMATS["markdown"]([glue(run(line(**fields), name=f"run{len(str(fields))}"))])
        return next(text for text in out.splitlines() if text.startswith("| mini | glue/rte")).split(" | ")[6]

    assert memory(peak_rss_mb=1500, peak_rss_of="job") == "1.5"
    assert memory(peak_rss_mb=1500) == "≤ 1.5"
    assert memory() == "–"


def test_entity_scores_of_older_versions_are_shown_as_strict_ones(run):
    def ner(label, **scores):
        metrics = {"dev": {"f1": 0.9, "precision": 0.9, "recall": 0.9, **scores}}
        return line("conll2003", metrics, majority={}, label=label)

    constant = {"dev": {"f1": 0.0, "precision": 0.0, "recall": 0.0}}
    old = ner("old") | {"majority": constant}
    new = ner("new", strict_f1=0.89) | {"majority": {"dev": constant["dev"] | {"strict_f1": 0.0}}}
    (table,) = make_tables(read_all([run(old, new)]))
    (column,) = table.columns
    assert column.subtitle == "dev F1/strict F1"
    assert [format_cell(row(table, name), column) for name in ("BERT-base", "old", "new")] == [
        "96.4/–",
        "–/90.0",
        "90.0/89.0",
    ]


@pytest.mark.parametrize("task", ["conll2003", "own/x"])
def test_the_plots_legend_names_only_what_is_drawn(run, task):
    metrics = {"dev": {"f1": 0.9}}
    html = FORMATS["html"](make_tables(read_all([run(line(task, metrics, majority={}))])))
    assert ("published" in re.findall(r"<text[^>]*>([^<]*)", html)[-1]) == (task == "conll2003")
    assert ">majority<" not in html
    assert ">mini<" in html


# Runs that are not whole


@pytest.fixture
def begun(tmp_path):
    """A run of which one job was begun and none is done."""
    job = tmp_path / "begun" / "glue-rte" / "seed-1"
    job.mkdir(parents=True)
    (job / "recipe.yaml").write_text("seed: 1")
    return tmp_path / "begun"


@pytest.mark.parametrize("format_", ["markdown", "html", "json"])
def test_the_others_table_is_made_and_names_the_run_that_is_not_finished(run, begun, command, format_):
    status, out, err = command(run(line()), begun, "--format", format_)
    assert status == 0
    assert "61.0" in out or "61," in out
    assert f"{begun}/glue-rte/seed-1 is not finished" in out
    assert f"{begun}/results.jsonl is not there" in err


def test_a_job_that_is_not_finished_is_named_though_others_of_its_run_are(run, command):
    folder = run(line())
    names = [f"glue-rte/lr={number}/seed-0" for number in range(3)]  # done, begun, asked for alone
    for name in names[:2]:
        (folder / name).mkdir(parents=True)
        (folder / name / "recipe.yaml").write_text("")
    (folder / names[0] / "finished.json").write_text("{}")
    (folder / "jobs.json").write_text(json.dumps(names))
    status, out, _ = command(folder)
    assert status == 0
    missing = [str(folder / name) for name in names[1:]]
    assert re.findall(r"^- (.*) is not finished$", out, re.MULTILINE) == missing


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (json.dumps(line(seed=1)).encode() + b'\n{"task": "glue/r', "results.jsonl:2 is not JSON"),
        (b"\x80\x81", "results.jsonl cannot be read"),
        (b"[1]\n", "results.jsonl:1 is not a JSON object"),
        (b"\n", "results.jsonl holds no result: no finished job has a score"),
        (json.dumps(line(seed=1, init="lucky")).encode(), "results.jsonl:1: init is 'lucky'"),
    ],
)
def test_a_damaged_file_is_named_beside_whole_ones_and_refused_alone(run, command, content, said):
    good, bad = run(line()), run(name="bad")
    (bad / "results.jsonl").write_bytes(content)
    status, out, err = command(good, bad)
    assert status == 0
    assert f"- {bad}/{said}" in out
    assert f"{bad}/{said}" in err
    assert ("2 seeds" in out) == ("not JSON" in said)  # the whole lines of a damaged file count
    status, out, err = command(bad)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert said in err


def test_a_path_that_is_not_there_is_a_mistake_beside_whole_runs_too(run, command):
    status, out, err = command(run(line()), "nowhere")
    assert (status, out) == (2, "")
    assert "nowhere is not there" in err


def test_what_was_tried_stands_in_the_json(run, command):
    taken = {"seconds": 120.0, "peak_rss_mb": 1500}
    jobs = [
        line(
            metrics={"dev": {"accuracy": v}},
            setting={"optimizer.learning_rate": lr},
            hyperparameters={"learning_rate": lr},
            **taken,
        )
        for lr, v in ((1e-5, 0.5), (3e-5, 0.6))
    ]
    _, out, _ = command(run(*jobs), "--format", "json")
    (table,) = json.loads(out)["tables"]
    (ours,) = [row for row in table["rows"] if row["system"] == "mini"]
    tried = [(one["setting"], one["value"]) for one in ours["scores"][0]["tried"]]
    assert tried == [("learning_rate 1e-05", 50.0), ("learning_rate 3e-05", 60.0)]
    (detail,) = table["runs"]
    assert (detail["setting"], detail["num_settings"]) == ("learning_rate 3e-05", 2)
    assert (detail["minutes"], detail["total_minutes"], detail["memory"]) == (2.0, 4.0, 1.5)


def test_squad_has_the_papers_rows_beside_ours(run):
    metrics = {"dev": {"exact_match": 0.2, "f1": 0.3}}
    ours = line("squad/v1.1", metrics, majority={}, headline={"name": "f1", "value": 0.3})
    (table,) = make_tables(read_all([run(ours)]))
    assert format_cell(row(table, "BERT-base"), table.columns[0]) == "80.8/88.5"
    assert format_cell(row(table, "mini"), table.columns[0]) == "20.0/30.0"
