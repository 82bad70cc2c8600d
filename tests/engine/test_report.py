"""Does a run's page stand alone, say what the run's files say, and fit a phone, in the light and in the dark?"""

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from engine.report import main, write_report
from pretrain.run import main as pretrain


class Page(HTMLParser):
    """The cells of each table row, how often each element stands in the page, and every link from it."""

    def __init__(self, text: str):
        super().__init__()
        self.rows: list[list[str]] = []
        self.counts: dict[str, int] = {}
        self.links: list[str | None] = []
        self.in_cell = False
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.counts[tag] = self.counts.get(tag, 0) + 1
        self.links += [value for name, value in attributes if name in ("src", "href", "xlink:href", "srcset", "data")]
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
            self.in_cell = True

    def handle_endtag(self, tag):
        self.in_cell = self.in_cell and tag not in ("td", "th")

    def handle_data(self, data):
        if self.in_cell:
            self.rows[-1][-1] += data


@pytest.fixture(scope="module")
def trained(tmp_path_factory, launch_program, write_recipe) -> Path:
    """The folder of a pretraining run of 30 steps with three evaluations."""
    folder = tmp_path_factory.mktemp("report")
    write_recipe(folder, corpus={"stores": str(folder / "stores")})
    ended = launch_program(pretrain, folder, "recipe.yaml")
    assert ended.status == 0, ended.said
    assert "the report is runs/small/report.html\n" in ended.said
    return folder / "runs/small"


@pytest.fixture
def stopped(tmp_path) -> Path:
    """A run that was killed while it wrote a line, of something that says strange things."""
    folder = tmp_path / "runs/stopped"
    (folder / "samples").mkdir(parents=True)
    lines = [{"step": step, "loss": 7 - step / 100, "tokens_per_second": 1000.0 * step} for step in range(1, 21)]
    lines += [{"step": 20, "eval_word_accuracy": 0.25, "baseline_word_accuracy": 0.125}]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / "metrics.jsonl").write_text(text + '{"step": 40, "lo')
    (folder / "recipe.yaml").write_text("# commit 0123\n# hardware 8 x Abacus\n# processes 8\nname: stopped\n")
    for step in range(1, 21):
        (folder / f"samples/step-{step}.md").write_text(f"- it said <b>{step}</b> and [this](http://example.org)\n")
    return folder


def test_every_pretraining_ends_in_a_page_that_needs_nothing_beside_it(trained):
    page = (trained / "report.html").read_text(encoding="utf-8")
    found = Page(page)
    links = {link for link in found.links if not link.startswith("#")}
    assert links == {"metrics.jsonl", "recipe.yaml", "data_report.md", "model/README.md"}
    assert all((trained / link).is_file() for link in links)
    assert not found.counts.keys() & {"link", "img", "iframe"}
    assert page.count("<script") == 1
    assert not re.search(r"@import|url\((?!#)", page)
    for title in ("Where it stands", "Curves", "Samples over time", "Throughput", "Data", "System and cost"):
        assert f"<h2>{title}</h2>" in page
    assert "Finished after 30 steps." in page


def test_it_says_what_the_files_say(trained):
    found = Page((trained / "report.html").read_text(encoding="utf-8"))
    lines = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    first, *_, last = [line for line in lines if "eval_masked_lm_loss" in line]
    row = ["masked LM accuracy", *(f"{line[name]:.1%}" for line, name in (
        (first, "eval_masked_lm_accuracy"), (last, "eval_masked_lm_accuracy"), (last, "baseline_masked_lm_accuracy"),
    ))]  # fmt: skip
    assert row in found.rows
    finished = json.loads((trained / "finished.json").read_text())
    facts = dict(row for row in found.rows if len(row) == 2)
    assert facts["memory of the main process, at most"] == f"{finished['peak_rss_mb']:,} MB"
    assert re.match(r"[\d.e-]+ kWh: \d+ busy CPU core\(s\) at 10 W each, for ", facts["energy, estimated"])
    assert facts["hardware"].endswith("CPU")
    assert ["", "documents", "sentences", "tokens"] in found.rows  # of the data report


def test_the_same_masks_are_guessed_at_each_evaluation(trained):
    """Over time one sees what a run learns: only the guesses change."""
    said = [(trained / f"samples/step-{step}.md").read_text().splitlines() for step in (10, 20, 30)]
    guess = re.compile(r"- `.+` \*\*`\S+`\*\* `.+` → (?:\*`\S+`\* \d+%(?:, )?){3}")
    assert all(guess.fullmatch(line) for lines in said for line in lines)
    assert len(said[0]) == 8
    questions = [[line.partition(" → ")[0] for line in lines] for lines in said]
    assert questions[0] == questions[1] == questions[2]
    assert said[0] != said[2]
    page = (trained / "report.html").read_text(encoding="utf-8")
    assert re.findall(r"<summary>step (\d+)</summary>", page) == ["10", "20", "30"]
    assert page.count("<li><code>") >= 3 * 8


def test_its_curves_tell_their_values(trained, browser):
    """To the pointer, and to who has only keys."""
    lines = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    losses = {f"{line['step']}": line["masked_lm_loss"] for line in lines if "masked_lm_loss" in line}
    (evaluated,) = [
        line["eval_masked_lm_loss"] for line in lines if line["step"] == 20 and "eval_masked_lm_loss" in line
    ]
    page = browser.new_page(viewport={"width": 390, "height": 800})
    wrong = []
    page.on("pageerror", lambda error: wrong.append(error))
    page.goto(f"file://{trained / 'report.html'}")
    figure = page.locator("figure").filter(has=page.locator("[aria-label^='masked LM loss']"))
    tip = figure.locator("figcaption")
    assert not tip.is_visible()
    figure.locator("svg").hover()
    step, value = re.match(r"step (\d+)\s+training ([\d.]+)", tip.inner_text()).groups()
    assert float(value) == pytest.approx(losses[step], rel=1e-3)
    box = tip.bounding_box()
    assert 0 <= box["x"] <= box["x"] + box["width"] <= 390
    figure.focus()
    for _ in range(len(losses)):
        page.keyboard.press("ArrowLeft")
    while not tip.inner_text().startswith("step 20\n"):
        page.keyboard.press("ArrowRight")
    assert f"held out {float(f'{evaluated:.4g}'):g}" in tip.inner_text()
    assert re.search(r"baseline [\d.]+", tip.inner_text())
    page.mouse.move(0, 0)
    page.keyboard.press("Tab")
    assert not tip.is_visible()
    assert not wrong


def test_a_wide_picture_fits_a_phone_and_has_its_caption(tmp_path, browser):
    folder = write_run(tmp_path / "pictures", 3.0, 6.5)
    (folder / "samples").mkdir()
    Image.new("RGB", (1950, 390), "green").save(folder / "samples/step-10-1.png")
    (folder / "samples/step-10.md").write_text("![how far <features> move](step-10-1.png)\n")
    write_report(folder)
    page = browser.new_page(viewport={"width": 390, "height": 800})
    page.goto(f"file://{folder / 'report.html'}")
    box = page.locator("img").bounding_box()
    assert box["width"] / box["height"] == pytest.approx(5, rel=0.01)
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    assert page.get_by_text("how far <features> move").is_visible()


def write_run(folder: Path, loss: float, baseline: float, recipe: str = "") -> Path:
    folder.mkdir(parents=True)
    line = {"step": 10, "eval_word_loss": loss, "baseline_word_loss": baseline}
    (folder / "metrics.jsonl").write_text(json.dumps(line) + "\n")
    (folder / "recipe.yaml").write_text(f"# commit 0123\n{recipe}")
    return folder


def test_it_stands_beside_the_runs_on_the_same_held_out_data(tmp_path):
    runs = tmp_path / "runs"
    own, other, elsewhere = (
        write_run(runs / name, loss, baseline)
        for name, loss, baseline in (("own", 3.5, 7.0), ("other run", 3.25, 7.0), ("elsewhere", 3.0, 6.5))
    )
    write_report(other)
    (runs / "damaged").mkdir()
    (runs / "damaged/metrics.jsonl").write_text("no line\n")
    page = write_report(own).read_text(encoding="utf-8")
    found = Page(page)
    assert ["own, this run", "10", "3.5"] in found.rows
    assert ["other run", "10", "3.25"] in found.rows
    assert "other%20run/report.html" in page
    assert "elsewhere" not in page  # another baseline: other rows, or another tokenizer
    assert "Beside other runs" not in write_report(elsewhere).read_text(encoding="utf-8")


def test_a_job_links_to_its_table_to_its_start_and_to_the_same_task_elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    start = write_run(Path("runs/bert"), 3.5, 7.0)
    write_report(start)
    (start / "model").mkdir()
    jobs = []
    for run in ("pretrained", "random"):
        for task in ("rte", "mrpc"):
            job = write_run(Path("runs", run, task, "seed-0"), 0.5, 0.75, "model: runs/bert/model\n")
            (job / ".cloze").write_text("job\n")
            jobs.append(job)
        Path("runs", run, ".cloze").write_text("run\n")
    found = Page(write_report(jobs[0]).read_text(encoding="utf-8"))
    assert "../../table.html" in found.links
    assert "../../../bert/report.html" in found.links
    assert ["pretrained/rte/seed-0, this run", "10", "0.5"] in found.rows
    assert ["random/rte/seed-0", "10", "0.5"] in found.rows
    assert not any("mrpc" in cell for row in found.rows for cell in row)


def test_a_run_that_was_stopped_has_a_page_too(stopped, launch_program):
    ended = launch_program(main, stopped.parents[1], "runs/stopped")
    assert (ended.status, ended.said) == (0, "runs/stopped/report.html\n")
    page = (stopped / "report.html").read_text(encoding="utf-8")
    found = Page(page)
    assert "Not finished: step 20." in page
    assert ["word accuracy", "25.0%", "12.5%"] in found.rows  # evaluated once: there is no first and last
    assert ["tokens a second", "1,000", "10,500", "20,000"] in found.rows
    assert ["hardware", "8 x Abacus"] in found.rows
    assert "kWh" not in page  # of another machine, whose power is unknown here
    assert found.counts["svg"] == 2  # loss and speed; one evaluation is no curve


def test_what_a_model_says_is_text(stopped):
    found = Page(write_report(stopped).read_text(encoding="utf-8"))
    assert not any("example.org" in link for link in found.links)
    steps = re.findall(r"<summary>step (\d+)</summary>", (stopped / "report.html").read_text())
    assert steps == ["1", "4", "6", "9", "12", "15", "17", "20"]  # the first, the last, a few between
    assert "it said &lt;b&gt;20&lt;/b&gt;" in (stopped / "report.html").read_text()


def test_what_is_no_run_is_a_mistake(tmp_path, launch_program):
    ended = launch_program(main, tmp_path, "nowhere")
    assert ended.status == 2
    assert ended.said == "error: nowhere is no run: looked for nowhere/metrics.jsonl\n"


@pytest.mark.parametrize(("width", "dark"), [(390, True), (1200, False)])
def test_it_fits_the_screen_and_its_colours(trained, tmp_path, width, dark):
    chromium = shutil.which("chromium")
    if not chromium:
        pytest.skip("chromium is not installed: this test looks at the page in it")
    page = (trained / "report.html").read_text(encoding="utf-8")
    look = "[innerWidth, document.documentElement.scrollWidth, getComputedStyle(document.body).backgroundColor]"
    (tmp_path / "page.html").write_text(f"{page}<script>parent.postMessage(JSON.stringify({look}), '*')</script>")
    (tmp_path / "screen.html").write_text(  # a window of chromium is never as narrow as a phone
        "<script>onmessage = message => { document.title = message.data }</script>"
        f'<iframe src="page.html" style="width: {width}px; height: 800px; border: 0"></iframe>'
    )
    shown = subprocess.run(
        [chromium, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
         f"--user-data-dir={tmp_path / 'chromium'}", "--virtual-time-budget=2000", "--dump-dom",
         *(["--blink-settings=preferredColorScheme=0"] if dark else []), f"file://{tmp_path / 'screen.html'}"],
        capture_output=True, text=True,
    ).stdout  # fmt: skip
    inner, needed, paper = json.loads(re.search(r"<title>(.*?)</title>", shown)[1])
    assert inner == width
    assert needed <= width  # nothing sticks out
    assert paper == ("rgb(21, 23, 26)" if dark else "rgb(255, 255, 255)")
