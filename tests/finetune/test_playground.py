"""Does the page show what the models say, as transformers' own pipelines and models say it?"""

import base64
import html
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import matplotlib.image
import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.normalizers import Lowercase
from tokenizers.pre_tokenizers import BertPreTokenizer
from transformers import (
    AutoConfig,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
    BertForPreTraining,
    GPT2LMHeadModel,
    PreTrainedTokenizerFast,
    pipeline,
)

from finetune.ask.playground import inside, page
from finetune.ask.playground.__main__ import main
from finetune.ask.playground.examples import example_for
from finetune.ask.playground.facts import describe
from finetune.ask.playground.models import load_models, shorten_names
from finetune.ask.playground.views import VIEWS, generate
from finetune.questions import QUESTIONS
from networks.word_vectors import WordVectors, WordVectorsConfig

ROOT = Path(__file__).parents[2]
LABELS, TAGS = {0: "never", 1: "maybe", 2: "so"}, dict(enumerate(["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]))
GAPS, SENTENCE, CONTEXT = "the [MASK] sat on a [MASK] .", "anna ran near paris .", "the old cat is in rome . bob ran ."


@pytest.fixture(scope="module")
def folders(tmp_path_factory, small_model, small_gpt):
    """A run of each kind, with large random weights: what is said differs from input to input."""
    runs = tmp_path_factory.mktemp("runs")
    heads = {
        "labels": (AutoModelForSequenceClassification, {"id2label": LABELS}),
        "other labels": (AutoModelForSequenceClassification, {"id2label": LABELS}),
        "score": (AutoModelForSequenceClassification, {"num_labels": 1, "problem_type": "regression"}),
        "spans": (AutoModelForQuestionAnswering, {}),
        "tags": (AutoModelForTokenClassification, {"id2label": TAGS}),
    }
    torch.manual_seed(0)
    for name, (auto_class, settings) in heads.items():
        config = AutoConfig.from_pretrained(small_model)
        config.update({"initializer_range": 1.0, **settings})
        auto_class.from_config(config).save_pretrained(runs / name / "model")
        AutoTokenizer.from_pretrained(small_model).save_pretrained(runs / name / "model")
    shutil.copytree(small_model, runs / "bert/model")
    shutil.copytree(small_gpt, runs / "gpt/model")
    return runs


@pytest.fixture(scope="module")
def guest(folders):
    """`guest(name)`: the model of a run."""
    opened = {one.name: one for one in load_models([str(path) for path in sorted(folders.iterdir())])}
    return opened.__getitem__


@pytest.fixture(scope="module")
def vectors(tmp_path_factory):
    """Word vectors on the page: `cat` is near to `dog`."""
    folder = tmp_path_factory.mktemp("vectors")
    words = {"[UNK]": 0, "[EOS]": 1, "cat": 2, "dog": 3, "river": 4}
    tokens = Tokenizer(WordLevel(words, unk_token="[UNK]"))
    tokens.normalizer, tokens.pre_tokenizer = Lowercase(), BertPreTokenizer()
    PreTrainedTokenizerFast(
        tokenizer_object=tokens, unk_token="[UNK]", eos_token="[EOS]", model_max_length=512
    ).save_pretrained(folder)
    model = WordVectors(WordVectorsConfig(vocab_size=5, hidden_size=2))
    model.words.weight.data = torch.tensor([[0.0, 9], [9, 9], [3, 4], [3, 3], [0, 2]])
    model.save_pretrained(folder)
    return load_models([str(folder)])[0]


@pytest.fixture
def made_pair(tmp_path, small_model):
    """A job's folder with a model that was fine-tuned for pairs."""
    config = AutoConfig.from_pretrained(small_model)
    config.update({"text_columns": ["premise", "hypothesis"]})
    AutoModelForSequenceClassification.from_config(config).save_pretrained(tmp_path / "model")
    AutoTokenizer.from_pretrained(small_model).save_pretrained(tmp_path / "model")
    return tmp_path


def shown(guest, *values):
    """All that a model's only, or first, view showed."""
    return list(VIEWS[guest.abilities[0]].ask(guest, *values))


def bars(answer):
    """(what, percent) of each bar."""
    found = re.findall(r"<span>([^<]*)</span><span class='bar'[^>]*></span><span class='share'>([\d.]+) %", answer)
    return [(html.unescape(name), float(percent)) for name, percent in found]


def rows(answer):
    """The cells of a table's rows."""
    return [re.findall(r"<td>([^<]*)</td>", row) for row in re.findall(r"<tr>(<td>.*?)</tr>", answer)]


class TestLanguageModels:
    def test_the_gaps_are_filled_as_the_pipeline_fills_them(self, folders, guest):
        (answer,) = shown(guest("bert"), GAPS, 4)
        expected = pipeline("fill-mask", str(folders / "bert/model"), top_k=4)(GAPS)
        found = [(name, pytest.approx(share, abs=0.051)) for name, share in bars(answer)]
        assert [(guess["token_str"], 100 * guess["score"]) for gap in expected for guess in gap] == found

    def test_a_pair_is_judged_by_the_next_sentence_head(self, folders, guest):
        (answer,) = VIEWS["follow"].ask(guest("bert"), SENTENCE, CONTEXT)
        x = AutoTokenizer.from_pretrained(folders / "bert/model")(SENTENCE, CONTEXT, return_tensors="pt")
        logits = BertForPreTraining.from_pretrained(folders / "bert/model")(**x).seq_relationship_logits[0]
        assert [share for _, share in bars(answer)] == pytest.approx((100 * logits.softmax(-1)).tolist(), abs=0.06)
        assert [name for name, _ in bars(answer)] == ["B follows A", "B is from elsewhere"]

    def test_without_chance_a_text_goes_on_as_greedy_search_does(self, folders, guest):
        gpt, chance = guest("gpt"), torch.Generator()
        start = torch.tensor([[gpt.tokenizer.eos_token_id, *gpt.tokenizer(SENTENCE)["input_ids"]]])
        expected = GPT2LMHeadModel.from_pretrained(folders / "gpt/model").generate(
            start, attention_mask=torch.ones_like(start), max_new_tokens=12, do_sample=False
        )
        grown = list(generate(gpt, SENTENCE, 0, 1, 12, chance))
        assert grown[-1] == expected[0, : len(grown[-1])].tolist()
        assert [ids[:-1] for ids in grown[1:]] == grown[:-1]  # a token at a time

    @pytest.mark.slow
    def test_what_is_drawn_is_of_the_nucleus_as_often_as_likely(self, folders, guest):
        gpt = guest("gpt")
        start = torch.tensor([[gpt.tokenizer.eos_token_id, *gpt.tokenizer(SENTENCE)["input_ids"]]])
        with torch.inference_mode():
            shares = (gpt.model(start).logits[0, -1] / 0.7).softmax(-1)
            likeliest, order = shares.sort(descending=True)
            kept = order[likeliest.cumsum(0) - likeliest < 0.6]
            chance = torch.Generator().manual_seed(0)
            drawn = [next(generate(gpt, SENTENCE, 0.7, 0.6, 1, chance), [0])[-1] for _ in range(1500)]
        assert set(drawn) <= set(kept.tolist())
        most = int(kept[0])
        assert drawn.count(most) / 1500 == pytest.approx(float(shares[most] / shares[kept].sum()), abs=0.04)

    def test_a_seed_gives_the_same_text_again(self, guest):
        texts = [shown(guest("gpt"), SENTENCE, 1.0, 0.95, 20, seed)[-1] for seed in (3, 3, 4)]
        assert texts[0] == texts[1] != texts[2]

    def test_it_ends_where_the_models_positions_end(self, guest):
        assert len(list(generate(guest("gpt"), SENTENCE, 1.0, 1.0, 400, torch.Generator().manual_seed(1)))[-1]) <= 64


class TestFineTuned:
    def test_labels(self, folders, guest):
        (answer,) = shown(guest("labels"), SENTENCE, "")
        (pair,) = shown(guest("labels"), SENTENCE, CONTEXT)
        judge = pipeline("text-classification", str(folders / "labels/model"), top_k=None)
        for found, asked in ((answer, SENTENCE), (pair, {"text": SENTENCE, "text_pair": CONTEXT})):
            expected = [(label["label"], pytest.approx(100 * label["score"], abs=0.06)) for label in judge([asked])[0]]
            assert bars(found) == expected

    def test_a_score(self, folders, guest):
        (answer,) = shown(guest("score"), SENTENCE, CONTEXT)
        judge = pipeline("text-classification", str(folders / "score/model"), function_to_apply="none")
        assert rows(answer) == [[f"{judge([{'text': SENTENCE, 'text_pair': CONTEXT}])[0]['score']:.3f}"]]

    def test_the_answer_is_marked_in_its_context(self, folders, guest):
        (answer,) = shown(guest("spans"), "where is the cat ?", CONTEXT)
        marked = re.search(r"<div class='running'>(.*?)<mark>(.*?)</mark>(.*?)</div>", answer).groups()
        assert "".join(marked) == CONTEXT
        best = rows(answer)
        assert marked[1] == best[0][0]
        x = AutoTokenizer.from_pretrained(folders / "spans/model")("where is the cat ?", CONTEXT, return_tensors="pt")
        found = AutoModelForQuestionAnswering.from_pretrained(folders / "spans/model")(**x)
        scores = found.start_logits[0][:, None] + found.end_logits[0]
        outside = (x["token_type_ids"][0] == 0) | (x["input_ids"][0] == guest("spans").tokenizer.sep_token_id)
        backwards = torch.ones_like(scores).tril(-1).bool()
        scores = scores.masked_fill(backwards | outside | outside[:, None], -torch.inf)
        start, end = divmod(int(scores.argmax()), len(scores))
        tokens = guest("spans").tokens(x["input_ids"][0, start : end + 1].tolist())
        assert marked[1].split() == tokens

    def test_entities_are_marked_as_the_pipeline_finds_them(self, folders, guest):
        (answer,) = shown(guest("tags"), SENTENCE)
        find = pipeline("token-classification", str(folders / "tags/model"), aggregation_strategy="first")
        expected = [(SENTENCE[group["start"] : group["end"]], group["entity_group"]) for group in find(SENTENCE)]
        assert expected
        assert re.findall(r"<mark>([^<]*)<small>([A-Z]+)</small></mark>", answer) == expected
        assert "cut off" not in answer

    def test_a_text_that_is_cut_is_said(self, guest):
        tagger = guest("tags")
        (answer,) = shown(tagger, "cat " * (tagger.most_tokens + 3))
        assert "This is 5 tokens longer than the model reads" in answer  # its two special tokens


class TestInside:
    def test_attention_is_the_models_own(self, folders, guest):
        answer = inside.attention(guest("bert"), SENTENCE, CONTEXT, 2, 1)
        model = BertForPreTraining.from_pretrained(folders / "bert/model", attn_implementation="eager")
        x = AutoTokenizer.from_pretrained(folders / "bert/model")(SENTENCE, CONTEXT, return_tensors="pt")
        expected = model(**x, output_attentions=True).attentions[1][0, 0].flatten()
        found = [float(share) for share in re.findall(r": ([\d.]+) %'", answer)]
        assert found == pytest.approx((100 * expected).tolist(), abs=0.051)
        assert sum(found) == pytest.approx(100 * x["input_ids"].shape[1], rel=0.02)

    def test_the_last_layers_guess_is_the_models(self, guest):
        last = rows(inside.by_layer(guest("bert"), GAPS))
        assert [row[0] for row in last] == ["embeddings", "layer 1", "layer 2"]
        (answer,) = shown(guest("bert"), GAPS, inside.GUESSES)
        said = [f"{name} {share:.1f} %" for name, share in bars(answer)]
        assert last[-1][1:] == [", ".join(said[:3]), ", ".join(said[3:])]
        assert last[1][1:] != last[2][1:]

    def test_a_gpts_layers_guess_what_comes_next(self, guest):
        gpt = guest("gpt")
        (*_, last) = rows(inside.by_layer(gpt, SENTENCE))
        with torch.inference_mode():
            best = gpt.model(**gpt.encode(SENTENCE)).logits[0, -1].softmax(-1).max()
        assert f"{100 * float(best):.1f} %" in last[1]

    def test_every_head_has_a_picture_and_the_one_at_hand_is_marked(self, guest):
        answer = inside.all_heads(guest("bert"), SENTENCE, "", 2, 1)
        tiles = re.findall(
            r"<button [^>]*data-row='(\d)' data-column='(\d)' title='([^']*)' [^>]*class='(\w*)'", answer
        )
        assert [(row, column) for row, column, *_ in tiles] == [(r, c) for r in "01" for c in "012"]
        assert [title for *_, title, marked in tiles if marked] == ["Layer 2, head 1"]
        assert tiles[0][2] == "Layer 1, the mean of its heads"
        drawn = [base64.b64decode(found) for found in re.findall(r"base64,([^']+)'", answer)]
        width = guest("bert").encode(SENTENCE)["input_ids"].shape[1]
        pixels = [matplotlib.image.imread(io.BytesIO(tile), format="png") for tile in drawn]  # (T, T, 4) each
        _, shares = inside.read_attention(guest("bert"), SENTENCE, "")
        assert len(pixels) == 6
        assert pixels[5].shape == (width, width, 4)
        assert pixels[5][..., 3] == pytest.approx((shares[1, 2] / shares[1, 2].max()).numpy(), abs=0.003)


class TestNeighbours:
    def test_of_a_word(self, vectors):
        assert vectors.abilities == ("neighbours", "occurrences")
        (answer,) = VIEWS["neighbours"].ask(vectors, "Cat", 10)
        assert rows(answer) == [["dog", f"{21 / 5 / 18**0.5:.3f}"], ["river", "0.800"]]
        with pytest.raises(ValueError, match="'zebra' is none of the 5 words"):
            list(VIEWS["neighbours"].ask(vectors, "zebra", 10))

    def test_word_vectors_have_one_for_all_occurrences(self, vectors):
        (answer,) = VIEWS["occurrences"].ask(vectors, "a *cat* by the river\nthe *cat*\n*river*")
        assert "A word has one vector here" in answer
        assert rows(answer) == [["the *cat*", "1.000"], ["*river*", "0.800"]]

    def test_of_a_model_that_reads_the_text_by_layer(self, folders, guest):
        (answer,) = VIEWS["occurrences"].ask(guest("bert"), "the *cat* sat near the *cat* .\nan old *dog*")
        assert "<h4>the *cat* sat near the cat .: cosine by layer</h4>" in answer
        x = AutoTokenizer.from_pretrained(folders / "bert/model")("the cat sat near the cat .", return_tensors="pt")
        model = BertForPreTraining.from_pretrained(folders / "bert/model").eval()
        layers = model.bert(**x, output_hidden_states=True).hidden_states
        expected = [float(torch.cosine_similarity(layer[0, 2], layer[0, 6], 0).detach()) for layer in layers]
        (found,) = [row for row in rows(answer)[:2] if row[0].startswith("the cat sat")]
        assert [float(value) for value in found[1:]] == pytest.approx(expected, abs=6e-4)

    def test_of_a_gpt_it_is_said_that_it_reads_the_left(self, guest):
        (answer,) = VIEWS["occurrences"].ask(guest("gpt"), "the *cat* sat\nthe *cat* ran")
        assert "reads from the left" in answer
        assert {value for row in rows(answer) for value in row[1:]} == {"1.000"}

    @pytest.mark.parametrize("written", ["", "no word is marked\n*here*", "*one* alone"])
    def test_sentences_without_a_marked_word_are_told(self, guest, written):
        with pytest.raises(ValueError, match="with the word between asterisks"):
            list(VIEWS["occurrences"].ask(guest("bert"), written))


class TestFacts:
    def test_of_a_pretrained_model(self, folders, guest):
        kind, size, reads, training = describe(guest("bert"), ["Fill mask", "Next sentence"])[1:]
        assert kind == "bert: fill mask, next sentence"
        model = BertForPreTraining.from_pretrained(folders / "bert/model")
        assert size.startswith(f"{model.num_parameters() / 1e6:,.1f} M parameters: 2 layers of ")
        assert size.endswith(", 2 heads")
        assert reads == f"64 tokens, of a vocabulary of {len(guest('bert').tokenizer):,}"
        assert training == "–"  # no run lies around it

    def test_of_a_finished_job(self, guest, folders):
        job = folders / "labels"
        lines = [{"step": 7, "eval_dev_accuracy": 0.75, "baseline_dev_accuracy": 0.5}]
        (job / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        (job / "finished.json").write_text('{"seconds": 1, "steps": 7}')
        row = describe(guest("labels"), ["Classify"])
        assert row[1] == "bert: classify; labels never, maybe, so"
        assert row[4] == "7 steps; dev accuracy 75.0% (baseline 50.0%)"
        assert describe(guest("tags"), ["Entities"])[1] == "bert: entities; labels PER, LOC"
        assert describe(guest("spans"), ["Answer"])[1] == "bert: answer"


class TestExamples:
    def test_a_mask_is_the_models_own(self, guest):
        field = VIEWS["fill"].fields[0]
        assert example_for(field, guest("bert")) == "The capital of France is [MASK]."
        cat = page.INSIDE
        assert "[MASK]" in example_for(cat, guest("bert"))
        assert "[MASK]" not in example_for(cat, guest("gpt"))
        assert page.fill(page.INSIDE_PAIR, [guest("bert")])["value"]
        assert not page.fill(page.INSIDE_PAIR, [guest("gpt")])["visible"]

    def test_a_job_has_a_row_of_its_own_data(self, tmp_path, folders, made_pair):
        first, second = QUESTIONS["classification"].page_boxes
        (alone,) = load_models([str(made_pair)])
        assert example_for(first, alone) == first.value
        (made_pair / "data_report.md").write_text(
            "# docs\n\n## Ten rows\n\n- **no**\n  - premise: It rains …\n  - hypothesis: b\n"
            "- **yes**\n  - premise: It rains: a lot.\n  - hypothesis: It is wet.\n"
        )
        assert [example_for(box, alone) for box in (first, second)] == ["It rains: a lot.", "It is wet."]

    def test_another_model_brings_its_example_unless_somebody_wrote_a_text(self, guest):
        by_name = {name: guest(name) for name in ("bert", "gpt")}
        cat = page.INSIDE
        changed = page.refill(cat, by_name, example_for(cat, guest("bert")), "gpt")
        assert changed["value"] == example_for(cat, guest("gpt"))
        assert "value" not in page.refill(cat, by_name, "my own text", "gpt")


class TestMistakes:
    @pytest.mark.parametrize(
        ("name", "values", "said"),
        [
            ("bert", ("no gap here", 5), r"write \[MASK\] where"),
            ("bert", ("", 5), "no text yet"),
            ("bert", ("[MASK] " * 70, 5), "72 tokens, and bert reads 64"),
            ("gpt", ("  ", 1, 1, 5, 0), "There is no text yet"),
            ("labels", ("", ""), "'text' is empty"),
            ("spans", ("where ?", " "), "'context' is empty"),
        ],
    )
    def test_are_told_in_words(self, guest, name, values, said):
        with pytest.raises(ValueError, match=said):
            shown(guest(name), *values)

    @pytest.mark.parametrize(("layer", "head"), [(3, 0), (0, 1), (1, 3)])
    def test_a_layer_that_is_not_there(self, guest, layer, head):
        with pytest.raises(ValueError, match="has 2 layers of 2 heads"):
            inside.attention(guest("bert"), SENTENCE, "", layer, head)

    def test_the_page_offers_no_layer_that_is_not_there(self, guest):
        layer, head = page.bound_sliders(guest("bert"), 9, 9)
        assert (layer["minimum"], layer["maximum"], layer["value"]) == (1, 2, 2)
        assert (head["minimum"], head["maximum"], head["value"]) == (0, 2, 2)

    def test_a_classifier_has_no_guess_of_a_word(self, guest):
        with pytest.raises(ValueError, match="labels is no language model"):
            inside.by_layer(guest("labels"), GAPS)

    def test_what_is_written_never_becomes_markup(self, guest):
        for name, values in {"tags": ("<b>anna</b>",), "spans": ("<i>?</i>", "<b>cat</b>")}.items():
            (answer,) = shown(guest(name), *values)
            assert "<b>" not in answer

    def test_models_that_are_not_there(self, launch_program, folders, tmp_path):
        for models, said in {
            (): "no model is named",
            (str(tmp_path / "gone"),): "gone",
            (str(tmp_path),): "has no model",
            (str(folders / "bert"), str(folders / "bert/model")): "is named twice",
        }.items():
            ended = launch_program(main, tmp_path, *models)
            assert ended.status == 2, ended.said
            assert said in ended.said.splitlines()[-1]

    def test_names_are_as_short_as_they_differ(self):
        for names, short in {
            ("runs/bert/model", "/a/gpt", "you/mini@step-10"): ["bert", "gpt", "mini@step-10"],
            ("runs/glue/rte/seed-0", "runs/glue/mrpc/seed-0/model/"): ["rte", "mrpc"],
            ("runs/glue/rte/seed-0", "runs/glue/rte/seed-1"): ["rte/seed-0", "rte/seed-1"],
            ("runs/one/rte/seed-0", "runs/two/rte/seed-0", "runs/two/bert"): ["one/rte", "two/rte", "bert"],
            ("a/rte/seed-0", "a/rte/seed-1", "b/rte/seed-0"): ["a/rte/seed-0", "a/rte/seed-1", "b/rte/seed-0"],
            ("you/mini", "them/mini"): ["you/mini", "them/mini"],
        }.items():
            assert shorten_names(names) == short


@pytest.mark.slow
def test_in_a_browser_every_tab_answers_and_no_other_machine_is_asked(folders, browser):
    names = ["bert", "gpt", "labels", "other labels", "spans", "tags"]
    playground = subprocess.Popen(
        [sys.executable, "-m", "finetune.playground", *(str(folders / name) for name in names)],
        cwd=ROOT, stdout=subprocess.PIPE, text=True, env={**os.environ, "GRADIO_ANALYTICS_ENABLED": "True"},
    )  # fmt: skip
    try:
        address = next(found[1] for line in playground.stdout if (found := re.search(r"(http://\S+)", line)))
        assert address.startswith("http://127.0.0.1:")
        page = browser.new_page(viewport={"width": 1200, "height": 900})
        asked = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto(address)

        def answers(tab, button=None, panel=page, number=1):
            panel.get_by_role("tab", name=tab, exact=True).first.click()
            page.get_by_role("button", name=button or tab, exact=True).locator("visible=true").click()
            said = page.locator(".block.answer").locator("visible=true")
            page.wait_for_function(
                "number => [...document.querySelectorAll('.block.answer')]"
                ".filter(answer => answer.checkVisibility() && answer.innerText.trim())"
                ".length === number",
                arg=number,
            )
            return [said.nth(place).inner_text() for place in range(number)]

        assert "Gap 1" in answers("Fill mask")[0]
        assert "B follows A" in answers("Next sentence")[0]
        assert answers("Continue")[0].startswith("The history of the city begins with")
        assert all(label in answers("Classify")[0] for label in LABELS.values())
        assert "The best answers" in answers("Answer")[0]
        answers("Entities")
        page.get_by_role("tab", name="Occurrences", exact=True).first.click()
        sentences = page.get_by_label("Sentences, a line each").locator("visible=true")
        sentences.fill("The *history* of the city.\nThe *history* of it.")  # bank is in no vocabulary so small
        assert "cosine by layer" in answers("Occurrences")[0]
        page.get_by_role("tab", name="Compare", exact=True).first.click()
        page.get_by_role("tab", name="Classify", exact=True).locator("visible=true").last.click()
        both = answers("Compare", "Classify", number=2)
        assert both[0].startswith("labels")
        assert both[1].startswith("other labels")
        assert both[0].split("\n", 1)[1] != both[1].split("\n", 1)[1]
        every, one = answers("Look inside", "Show attention", number=2)
        assert "layer 2" in every
        assert "[CLS]" in one
        assert one.startswith("Layer 1, the mean of its heads")
        page.get_by_role("button", name="Layer 2, head 1", exact=True).click()
        page.get_by_role("heading", name="Layer 2, head 1", exact=True).wait_for()
        assert page.get_by_role("slider", name="Layer").locator("visible=true").input_value() == "2"

        page.get_by_role("tab", name="Fill mask", exact=True).first.click()
        page.get_by_label("Text with gaps").first.fill("no gap")
        page.get_by_role("button", name="Fill mask", exact=True).locator("visible=true").click()
        page.get_by_text("There is no gap in the text").wait_for()
        assert {re.match(r"\w+:(//[^/]+|)", url)[0] for url in asked} <= {address.rstrip("/"), "data:", "blob:"}
    finally:
        playground.send_signal(signal.SIGTERM)
        assert playground.wait(20) is not None
