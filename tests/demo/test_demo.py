"""Does the demo compare what it says it compares, and is its page one that stands alone?"""

import json
import re
from html.parser import HTMLParser

import pytest

from demo.__main__ import as_table, choose_passes, compared, fit_passes, in_words, main, run
from demo.report import write_report
from pretrain.run import main as pretrain

RESULTS = {
    "tasks": {
        "docs/pair": {
            "metric": "accuracy",
            "majority": 0.5,
            "rules": {"shared_words": 0.613, "longer_text": 0.55},
            "random_init": 0.62,
            "pretrained": 0.705,
        }
    },
    "gain": 0.085,
    "pretraining_steps": 1500,
    "num_train_epochs": 2.5,
    "seconds": 333.0,
    "peak_rss_mb": 1234,
}
STEPS = {"pretrain a small BERT": {"seconds": 300.0, "peak_rss_mb": 1234}}


class Page(HTMLParser):
    """The elements of a page, the texts in its cells, and every link from it."""

    def __init__(self, text):
        super().__init__()
        self.counts, self.links, self.cells, self.in_cell = {}, [], [], False
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.counts[tag] = self.counts.get(tag, 0) + 1
        self.links += [value for name, value in attributes if name in ("src", "href", "xlink:href", "srcset", "data")]
        if tag in ("td", "th"):
            self.cells.append("")
            self.in_cell = True

    def handle_endtag(self, tag):
        self.in_cell = self.in_cell and tag not in ("td", "th")

    def handle_data(self, data):
        if self.in_cell:
            self.cells[-1] += data


@pytest.fixture(scope="module")
def page(tmp_path_factory, launch_program, write_recipe):
    """The report of a pretraining run of 30 steps."""
    folder = tmp_path_factory.mktemp("demo")
    recipe = write_recipe(folder, name="demo/pretrain", corpus={"stores": str(folder / "stores")})
    ended = launch_program(pretrain, folder, "recipe.yaml")
    assert ended.status == 0, ended.said
    path = write_report(folder / "runs/demo", recipe, RESULTS, STEPS)
    return path.read_text(encoding="utf-8")


class TestPage:
    def test_it_needs_nothing_beside_it(self, page):
        found = Page(page)
        assert all(link.startswith("#") for link in found.links)
        assert not found.counts.keys() & {"script", "link", "img", "iframe"}
        assert not re.search(r"@import|url\((?!#)", page)

    def test_it_says_how_long_both_were_trained(self, page):
        text = " ".join(page.split())
        assert "<p>1,500 steps. Held-out masked-LM loss" in text
        assert "fine-tuned on the same 3,000 rows, 2.5 times over, with the same seed" in text
        assert "+8.5 points on average" in text

    def test_it_shows_curves_table_guesses_and_steps(self, page):
        found = Page(page)
        assert found.counts["svg"] == 2
        assert found.counts["path"] > 5
        assert found.cells[5:10] == [
            "docs/pair (accuracy)",
            "62.0%",
            "70.5%",
            "50.0%",
            "shared words 61.3%longer text 55.0%",
        ]
        assert "pretrain a small BERT" in found.cells
        assert page.count('<div class="example">') == 8
        marks = re.findall(r'<mark class="(right|wrong)">(\S+) <i>(\S+) \d+ %, \S+ \d+ %, \S+ \d+ %</i></mark>', page)
        assert len(marks) >= 8
        for verdict, right, guess in marks:
            assert (verdict == "right") == (right == guess)
        assert (
            len(
                re.findall(
                    r"B is (?:a random next sentence|what follows); the model gives a random next sentence \d+ %", page
                )
            )
            == 8
        )


@pytest.mark.slow  # it reads all docstrings
def test_test_rows_are_compared(tmp_path, monkeypatch):
    """Choosing is for dev: of every line the headline metric of the test split is taken, and the rules answer that."""
    monkeypatch.chdir(tmp_path)
    for init, accuracy in (("random", 0.6), ("pretrained", 0.7)):
        line = {
            "task": "docs/wording", "label": "demo", "init": init, "seed": 0, "hyperparameters": {},
            "metrics": {"dev": {"accuracy": 0.9}, "test": {"accuracy": accuracy}},
            "headline": {"name": "accuracy", "value": 0.9},
            "majority": {"dev": {"accuracy": 0.4}, "test": {"accuracy": 0.5}},
        }  # fmt: skip
        (tmp_path / "runs/demo" / init).mkdir(parents=True)
        (tmp_path / "runs/demo" / init / "results.jsonl").write_text(json.dumps(line))
    (row,) = compared().values()
    assert (row["metric"], row["majority"], row["random_init"], row["pretrained"]) == ("accuracy", 0.5, 0.6, 0.7)
    assert row["rules"]
    assert all(0 <= value <= 1 for value in row["rules"].values())


def test_the_table_shows_the_best_rule():
    row = "| docs/pair (accuracy) | 50.0% | 61.3% (shared words) | 62.0% | **70.5%** |"
    assert as_table(RESULTS["tasks"]).splitlines()[2:] == [row]


def test_what_was_done_is_said_beside_the_table():
    assert in_words(RESULTS) == (
        "Pretraining (1,500 steps) is worth +8.5 points on average, after 2.5 passes of fine-tuning each; one seed. "
        "5.5 minutes, at most 1,234 MB in one process."
    )
    assert "is worth -1.0 points" in in_words({**RESULTS, "gain": -0.01})


def test_a_slower_machine_makes_fewer_passes_and_never_none():
    """Half the speed: half the pretraining steps in the same minutes, and half the steps that fit into what is left."""
    fast, slow, slowest = (fit_passes(left) for left in (10_000, 1_500, 100))
    assert fast == 4.0 > slow > slowest == 0.5


def test_the_passes_are_chosen_once(tmp_path, monkeypatch):
    """A resume, which knows other times, goes on with what the first fine-tuning began with."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs/demo/pretrain").mkdir(parents=True)
    finished = tmp_path / "runs/demo/pretrain/finished.json"
    finished.write_text(json.dumps({"seconds": 300.0, "steps": 1500}))
    chosen = choose_passes({"all": {"seconds": 300.0}})
    assert 0.5 < chosen < 4
    assert choose_passes({"all": {"seconds": 0.0}}) == chosen
    (tmp_path / "runs/demo/passes.json").unlink()
    assert choose_passes({"all": {"seconds": 0.0}}) > chosen
    for damaged in ("{", "[]", '{"num_train_epochs": "2"}', '{"num_train_epochs": NaN}', '{"num_train_epochs": 1e9}'):
        (tmp_path / "runs/demo/passes.json").write_text(damaged)
        with pytest.raises(ValueError, match=r"passes.json is damaged.*delete runs/demo and make the demo anew"):
            choose_passes({})
    (tmp_path / "runs/demo/passes.json").unlink()
    finished.write_text(json.dumps({"seconds": "300", "steps": 1500}))
    with pytest.raises(ValueError, match=r"finished.json does not say steps and seconds"):
        choose_passes({})


@pytest.mark.parametrize("damaged", ["{", "[]", '{"a": 1}', '{"a": {"seconds": "1", "peak_rss_mb": 1}}'])
def test_damaged_times_are_named(launch_program, tmp_path, damaged):
    (tmp_path / "runs/demo/wordpiece").mkdir(parents=True)
    (tmp_path / "runs/demo/steps.json").write_text(damaged)
    ended = launch_program(main, tmp_path)
    assert ended.status == 2
    assert ended.said.startswith("error: runs/demo/steps.json is damaged (")
    assert ended.said.endswith("; delete it, and what each step took is measured anew\n")


def test_it_takes_no_options(launch_program, tmp_path):
    ended = launch_program(main, tmp_path, "x")
    assert (ended.status, ended.said) == (2, "error: `make demo` takes no options; found x\n")
    assert not (tmp_path / "runs").exists()


def test_a_step_tells_what_its_processes_held_and_fails_as_they_do(tmp_path, monkeypatch):
    """What this process holds does not count; what a grandchild held does: a launcher starts what trains."""
    monkeypatch.chdir(tmp_path)
    hungry = "import subprocess, sys; subprocess.call([sys.executable, '-c', 'held = b\"x\" * 300_000_000'])"
    assert run(("-c", "pass"))["peak_rss_mb"] < 100
    assert 300 < run(("-c", hungry))["peak_rss_mb"] < 400
    with pytest.raises(SystemExit) as failed:
        run(("-c", "raise SystemExit(3)"))
    assert failed.value.code == 3
