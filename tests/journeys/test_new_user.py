"""Does somebody who has never seen it get from a clone to a model, its score and a page, by what the pages say?

The tutorials' own recipes and commands, in their order, and other journeys: real processes, a browser, a Hub on
loopback. Only the steps are fewer, since they are added to the commands. Every file that is left is opened.
"""

import csv
import json
import re
import signal
from pathlib import Path

import pytest
import yaml

from tests.journeys.outputs import open_all

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]  # some forty processes, most of which import torch

FEW = {
    "pretrain": ["--plan.max_steps", "20", "--plan.eval_steps", "10", "--max_eval_samples", "32"],
    "finetune": ["--plan.num_train_epochs", "1"],
    "evaluate": ["--max_mb", "0.05", "--pseudo_tokens", "20"],
    "plan": ["--hardware", "a100"],
}
OPEN = """
import sys
from transformers import AutoModel, AutoTokenizer
for name in sys.argv[1:]:
    print(AutoModel.from_pretrained(name).config.model_type, len(AutoTokenizer.from_pretrained(name)))
"""


def test_clone_set_up_and_the_first_tests(checkout, user):
    said = user.types("cloze", "--version")
    assert re.match(r"cloze \d", said)
    assert "pretrain" in user.types("make", "-C", str(checkout), "help") + user.types("cloze", "recipes")
    user.types("python", "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--rootdir={checkout}",
               f"{checkout}/tests/cloze/test_command.py")  # fmt: skip


def test_own_texts_to_bert_to_a_table_to_a_page_to_the_hub(user, follow, hub, browser):
    said = {}
    for command in follow("tutorial-bert.md"):
        name = command[1]
        command = [word.replace("you/", "alice/") for word in command]
        if name == "playground":
            said[name] = play(user, browser, command)
        elif name == "predict":
            rows = [["sentence1", "sentence2"], ["The name is a value.", "A value is the name."], ["None.", "Never."]]
            with (user.folder / command[3]).open("w", newline="") as file:
                csv.writer(file, delimiter="\t").writerows(rows)
            said[name] = user.types(*command)
        else:
            said[name] = user.types(*command, *FEW.get(name, []))
    assert {"tokenizer", "plan", "pretrain", "finetune", "table", "playground", "predict", "push"} <= said.keys()

    table = said["table"]
    assert "BERT-base" in table
    assert re.search(r"^\| my-bert .*\d", table, re.MULTILINE)
    assert re.search(r"^\| my-bert, random init .*\d", table, re.MULTILINE)
    answers = [json.loads(line) for line in said["predict"].splitlines() if line.startswith("{")]
    assert len(answers) == 2
    assert all(0 <= answer["prediction"] <= 5 for answer in answers)
    assert_whole_run(user.folder / "runs/my-bert", steps=20)
    assert (user.folder / "runs/my-glue/table.html").is_file()
    open_all(user.folder / "runs")

    pushed = hub.files("alice/my-bert")
    assert pushed["model.safetensors"] == (user.folder / "runs/my-bert/model/model.safetensors").read_bytes()
    assert yaml.safe_load(pushed["README.md"].decode().split("---")[1])["pipeline_tag"] == "fill-mask"
    assert user.types("python", "-c", OPEN, "alice/my-bert").splitlines()[-1].startswith("bert ")

    again = user.types("cloze", "pretrain", "recipes/my-bert.yaml", *FEW["pretrain"])
    assert not re.search(r"^step \d", again, re.MULTILINE)  # a finished run is left as it is


def test_own_texts_to_gpt_to_its_words_and_its_perplexity(user, follow):
    said = {}
    for command in follow("tutorial-gpt.md"):
        if command[1] == "playground":
            continue
        said[command[1]] = user.types(*command, *FEW.get(command[1], []))
    assert {"tokenizer", "pretrain", "generate", "evaluate"} <= said.keys()
    assert_whole_run(user.folder / "runs/my-gpt", steps=20)
    open_all(user.folder / "runs")

    prompt = "The value of"
    first, second = (
        user.types("cloze", "generate", "runs/my-gpt", "--prompt", prompt, "--seed", "3", "--max_new_tokens", "12")
        for _ in range(2)
    )
    assert first == second
    assert first.startswith(prompt)
    found = json.loads(user.types("cloze", "evaluate", "runs/my-gpt", *FEW["evaluate"], "--format", "json"))
    assert "bits_per_byte" in json.dumps(found)
    user.types("cloze", "finetune", "recipes/finetune/openai-gpt-glue.yaml", "--name", "my-gpt-glue", "--model",
               "runs/my-gpt", "--max_seq_length", "120", "--task", "glue/cola", *FEW["finetune"])  # fmt: skip
    open_all(user.folder / "runs/my-gpt-glue")


def test_a_csv_to_a_classifier_to_answers(user):
    model = small_bert(user)
    (user.folder / "reviews").mkdir()
    rows = [(f"A {word} book, number {number}.", label)
            for number in range(100) for word, label in (("fine", "good"), ("dull", "bad"))]  # fmt: skip
    with (user.folder / "reviews/train.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *rows])
    user.types("cloze", "finetune", "recipes/finetune/own-classification.yaml", "--name", "reviews", "--model", model,
               "--data.path", "reviews", "--max_seq_length", "32", "--optimizer.learning_rate", "1e-3",
               "--plan.num_train_epochs", "8", "--plan.global_batch_size", "8",
               "--plan.per_device_train_batch_size", "8", "--plan.eval_steps", "20",
               "--plan.load_best_model_at_end", "True")  # fmt: skip
    (result,) = map(json.loads, (user.folder / "runs/reviews/results.jsonl").read_text().splitlines())
    assert result["metrics"]["dev"]["accuracy"] > 0.9
    open_all(user.folder / "runs/reviews")

    (user.folder / "new.csv").write_text("review\nA fine book.\nA dull book.\n")
    job = "runs/reviews/own-classification/seed-0"
    user.types("cloze", "predict", job, "new.csv", "--columns", "text=review", "--out", "answers.jsonl")
    answers = [json.loads(line) for line in (user.folder / "answers.jsonl").read_text().splitlines()]
    assert [answer["prediction"] for answer in answers] == ["good", "bad"]
    user.types("cloze", "convert", job, "--to", "safetensors", "--dtype", "bf16", "--out", "half")
    assert "bert" in user.types("python", "-c", OPEN, "half")


def test_a_checkpoint_adapted_to_other_text(user):
    small_bert(user)
    (user.folder / "letters").mkdir()
    for number in range(6):
        (user.folder / f"letters/{number}.txt").write_text(f"Dear reader {number}. This is a letter. It is short. " * 9)
    recipe = {
        "name": "adapted", "corpus": {"sources": [{"kind": "text", "path": "letters"}], "held_out": 0.2},
        "model": {"from": "runs/small"}, "objective": {"name": "bert", "max_seq_length": 32, "next_sentence": False},
        "optimizer": {"learning_rate": 1e-3}, "schedule": {"warmup_ratio": 0.1},
        "plan": {"max_steps": 20, "global_batch_size": 8, "per_device_train_batch_size": 8},
    }  # fmt: skip
    (user.folder / "recipes/adapted.yaml").write_text(yaml.safe_dump(recipe))
    user.types("cloze", "pretrain", "recipes/adapted.yaml")
    said = user.types("cloze", "evaluate", "runs/small", "runs/adapted", "--corpus", "recipes/adapted.yaml",
                      "--pseudo_tokens", "0", "--format", "json")  # fmt: skip
    before, after = (float(loss) for loss in re.findall(r'"loss": ([\d.]+)', said)[:2])
    assert after < before
    open_all(user.folder / "runs/adapted")


def test_the_notebook(user):
    cells = json.loads((ROOT / "docs/notebook.ipynb").read_text(encoding="utf-8"))["cells"]
    code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    said = user.types("python", "-c", re.sub(r"^steps = \d+", "steps = 4", code, flags=re.MULTILINE))
    assert "accuracy" in said
    open_all(user.folder / "runs/notebook")


def small_bert(user):
    """Train a vocabulary and a small BERT; the model's folder, from the user's."""
    sources = [{"kind": "text", "path": "texts"}]
    vocabulary = {"name": "vocabulary", "sources": sources, "vocabulary": {"name": "wordpiece", "vocab_size": 1000}}
    recipe = {
        "name": "small", "corpus": {"sources": sources}, "tokenizer": "runs/vocabulary/tokenizer",
        "model": {"num_hidden_layers": 2, "hidden_size": 64, "num_attention_heads": 2, "intermediate_size": 128,
                  "max_position_embeddings": 64},
        "objective": {"name": "bert", "max_seq_length": 64}, "optimizer": {"learning_rate": 2e-3},
        "schedule": {"warmup_ratio": 0.1}, "max_eval_samples": 32,
        "plan": {"max_steps": 30, "global_batch_size": 8, "per_device_train_batch_size": 8},
    }  # fmt: skip
    for name, content in {"vocabulary": vocabulary, "small": recipe}.items():
        (user.folder / f"recipes/{name}.yaml").write_text(yaml.safe_dump(content))
    user.types("cloze", "tokenizer", "recipes/vocabulary.yaml")
    user.types("cloze", "pretrain", "recipes/small.yaml")
    return "runs/small/model"


def play(user, browser, command):
    """Open the playground in a browser and ask the first model to fill a gap; what it answers."""
    playground = user.starts(*command)
    try:
        address = next(found[0] for line in playground.stdout if (found := re.search(r"http://127\.0\.0\.1:\d+", line)))
        page = browser.new_page(viewport={"width": 1200, "height": 900})
        page.goto(address)
        page.get_by_role("tab", name="Fill mask", exact=True).first.click()
        page.get_by_role("button", name="Fill mask", exact=True).locator("visible=true").click()
        page.wait_for_function(
            "[...document.querySelectorAll('.block.answer')].some(it => it.checkVisibility() && it.innerText.trim())"
        )
        answer = page.locator(".block.answer").locator("visible=true").first.inner_text()
        assert re.search(r"\d", answer)
        assert page.get_by_role("tab", name="Score", exact=True).first.is_visible()
        return answer
    finally:
        playground.send_signal(signal.SIGTERM)
        assert playground.wait(20) is not None


def assert_whole_run(run, steps):
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["step"] == steps
    assert any("eval_loss" in line or "eval_masked_lm_loss" in line or "eval_next_token_loss" in line for line in lines)
    for name in ("recipe.yaml", "report.html", "data_report.md", "model/README.md", "model/model.safetensors"):
        assert (run / name).is_file(), name
