"""Do edge probes find what layers hold, and nothing else; and are the two figures those of the paper?"""

import json
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import layer_norm
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM

from probe.edges.batches import make_rows
from probe.edges.conllu import Sentence
from probe.edges.examples import Asked
from probe.edges.layers import Layers, Pieces, open_network, read_layers
from probe.edges.network import Batch, Probes
from probe.edges.page import tell_division
from probe.edges.summary import centre_of_gravity, expected_layer, gains, scores_of, summarize
from probe.edges.training import Schedule, count, train
from probe.run import main
from tokenizer.learn import BytePairs
from tokenizer.load import load_tokenizer

TAGS = ("NOUN", "VERB", "ADJ")


def sentence(number, tags, words=None):
    words = words or [f"w{number}{place}" for place in range(len(tags))]
    text = " ".join(words)
    ends = np.cumsum([len(word) + 1 for word in words]) - 1
    places = [(int(end) - len(word), int(end)) for word, end in zip(words, ends, strict=True)]
    rest = [0] * len(tags), ["root"] * len(tags)
    return Sentence("made", number, f"d{number // 4}", text, words, places, list(tags), *rest)


def test_the_two_figures_by_hand():
    scores = np.array([0.5, 0.6, 0.9, 0.8])
    assert gains(scores) == pytest.approx([0.1, 0.3, -0.1])
    assert expected_layer(scores) == pytest.approx((0.1 + 2 * 0.3 - 3 * 0.1) / 0.3)
    assert np.isnan(expected_layer(np.array([0.5, 0.6, 0.5])))
    assert centre_of_gravity([0.25, 0.25, 0.5]) == pytest.approx(1.25)
    assert scores_of(np.array([[3, 1, 1], [0, 0, 0]])) == pytest.approx([0.75, 0.0])


def made_counts(scores, blocks=20, each=50):
    hits = np.rint(np.array(scores) * each).astype(int)
    return np.stack([np.stack([hits, each - hits, each - hits], -1)] * blocks, 1)  # (L + 1, blocks, 3)


def test_an_expected_layer_is_told_only_where_there_is_a_gain_beyond_noise():
    found = summarize([made_counts([0.5, 0.7, 0.9]), made_counts([0.5, 0.72, 0.92])], [1.0, 1.2], [0.3, 0.4])
    assert found.expected == pytest.approx(expected_layer(np.array(found.scores)))
    assert found.expected_range[0] <= found.expected <= found.expected_range[1]
    assert found.gain_range[0] > 0.35
    assert (found.centre, found.centre_range, found.seeds, found.falls) == (pytest.approx(1.1), (1.0, 1.2), 2, False)
    assert found.selectivity == pytest.approx(0.91 - 0.35)
    noisy = made_counts([0.5, 0.5, 0.5])
    noisy[2, ::2, 0] += 20  # one half of the documents gain, and the other lose nearly as much
    noisy[2, 1::2, 0] -= 18
    noisy[2, :, 1:] = 50 - noisy[2, :, :1]
    flat = summarize([noisy], [1.0], [0.3])
    assert flat.total_gain > 0
    assert (flat.expected, flat.expected_range) == (None, None)
    assert summarize([made_counts([0.5, 0.8, 0.7])], [1.0], [0.3]).falls
    wild = summarize([made_counts([0.5, 0.9, 0.56])], [1.0], [0.3])  # (.4 - 2 x .34) / .06 is no layer
    assert wild.gain_range[0] > 0
    assert wild.expected is None


def test_a_probe_is_what_the_paper_says():
    torch.manual_seed(0)
    sees = torch.ones(3, 3, dtype=torch.bool).tril()
    probes = Probes(sees, 10, 2, 5, 8, 0.0, seed=0).double()
    with torch.no_grad():
        probes.mix += torch.randn(3, 3)
        probes.scale += 0.5
    spans = [torch.tensor([[[0, 2], [1, 2], [3, 6]], [[0, 1], [2, 3], [0, 0]]])] * 2
    places = torch.tensor([[0, 1, 4], [2, 0, 3]])
    batch = Batch(torch.randn(3, 12, 10).double(), spans, places, torch.zeros(2, 3, 5), torch.zeros(3).long())
    logits = probes(batch)
    for number in range(3):
        seen = probes.mix[number, : number + 1].softmax(0) * probes.scale[number]
        mixed = torch.einsum("l,lnd->nd", seen, batch.states[: number + 1]).view(2, 6, 10)
        for example, pair in enumerate(places.T.tolist()):
            pooled = []
            for side, place in enumerate(pair):
                begin, end = spans[side].flatten(0, 1)[place].tolist()
                pieces = mixed[place // 3, begin:end] @ probes.project[side][number] + probes.project_bias[side][number]
                pooled.append((pieces @ probes.attend[side][number]).softmax(0).T @ pieces)
            first = torch.cat([probes.first[0][number], probes.first[1][number]])
            found = layer_norm((torch.cat(pooled, 1) @ first + probes.first_bias[number]).tanh(), (8,))
            expected = found @ probes.last[number] + probes.last_bias[number]
            assert torch.allclose(logits[number, example], expected[0])


def test_probes_find_what_the_second_of_three_layers_holds():
    drawn = np.random.default_rng(0)
    sentences = [sentence(n, drawn.choice(TAGS, 6)) for n in range(70)]
    asked = Asked.of("pos", sentences)
    values = drawn.normal(size=(420, 3, 8)).astype(np.float16)
    tags = [TAGS.index(tag) for one in sentences for tag in one.pos]
    values[np.arange(420), 1, tags] += 6  # layer 1 tells the tag; 0 and 2 are noise
    offsets = [np.array(one.places) for one in sentences]
    layers = Layers([Pieces(list(range(6)), 0, one) for one in offsets], np.arange(0, 421, 6), values)
    parts = [Asked(sentences[a:b], asked.examples[a:b]) for a, b in ((0, 40), (40, 50), (50, 70))]
    rows = [make_rows(part, part.labels, TAGS, layers, first)
            for part, first in zip(parts, (0, 40, 50), strict=True)]  # fmt: skip
    sees = torch.ones(4, 3, dtype=torch.bool).tril()
    kinds = torch.tensor([0, 0, 0, 1])
    probes = Probes(sees, 8, 1, 3, 16, 0.1, seed=0)
    steps = train(probes, kinds, rows[0], rows[1], layers, Schedule(0.02, 8, 10, 3, 6, 60), seed=0)
    counts = count(probes, kinds, rows[2], layers, 16)
    scores = scores_of(counts.sum(1))
    assert scores[0] < 0.55  # chance is a third, and a sigmoid may also give no label
    assert min(scores[1:]) > 0.95
    found = summarize([counts[:3]], [centre_of_gravity(probes.shares[2].tolist())], [float(scores[3])])
    assert found.expected == pytest.approx(1.0, abs=0.15)
    assert probes.shares[1, 2] == 0  # it does not see the last layer
    assert probes.shares[2].argmax() == 1
    assert steps <= 60
    again = Probes(sees, 8, 1, 3, 16, 0.1, seed=0)
    train(again, kinds, rows[0], rows[1], layers, Schedule(0.02, 8, 10, 3, 6, 60), seed=0)
    assert torch.equal(again.last, probes.last)


def test_probes_side_by_side_learn_as_each_does_alone():
    drawn = np.random.default_rng(1)
    sentences = [sentence(n, drawn.choice(TAGS, 5)) for n in range(40)]
    asked = Asked.of("pos", sentences)
    pieces = [Pieces(list(range(5)), 0, np.array(one.places)) for one in sentences]
    layers = Layers(pieces, np.arange(0, 201, 5), drawn.normal(size=(200, 2, 8)).astype(np.float32))
    rows = make_rows(asked, asked.labels, TAGS, layers, 0)
    sees, schedule = torch.ones(2, 2, dtype=torch.bool).tril(), Schedule(0.01, 8, 5, 1, 3, 20)

    def learn(sees):
        probes = Probes(sees, 8, 1, 3, 16, 0.0, seed=0)
        train(probes, torch.zeros(len(sees), dtype=torch.int64), rows, rows, layers, schedule, seed=0)
        return probes

    together, alone = learn(sees), learn(sees[1:])
    assert torch.allclose(together.last[1], alone.last[0], atol=1e-4)


def test_a_span_is_its_pieces_and_what_is_cut_off_counts_as_missed():
    one = sentence(0, ["NOUN", "VERB", "ADJ"], ["unhappy", "ran", "on"])
    pieces = Pieces([0] * 5, 1, np.array([(0, 2), (2, 7), (8, 11)]))  # un ##happy ran; "on" was cut off
    assert pieces.find(one, (0, 1)) == (0, 2)
    assert pieces.find(one, (0, 2)) == (0, 3)
    assert pieces.find(one, (2, 3)) is None
    assert pieces.find(one, (1, 3)) is None
    layers = Layers([pieces], np.array([0, 3]), np.zeros((3, 2, 4), np.float16))
    asked = Asked.of("pos", [one])
    rows = make_rows(asked, [frozenset(["NOUN"])] * 3, TAGS, layers, 0)
    assert (rows.num_lost, rows.num_examples, rows.lost.tolist()) == (1, 3, [[1], [1]])
    counts = count(Probes(torch.ones(1, 2).bool(), 4, 1, 3, 8, 0.0, 0), torch.tensor([0]), rows, layers, 8)
    assert counts[0, 0, 0] + counts[0, 0, 2] == 3


# Any model, and the door

BERT = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
GPT = {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 24}


@pytest.fixture(scope="module")
def models(corpus, tokenizer_folder, tmp_path_factory) -> dict[str, Path]:
    texts = [path.read_text(encoding="utf-8") for path in sorted(corpus.iterdir())]
    bytes_ = BytePairs(name="byte-bpe", vocab_size=400).learn(iter([texts]), Counter(), 32)
    kinds = {
        "bert": (AutoModel, load_tokenizer(tokenizer_folder), BERT),
        "gpt2": (AutoModelForCausalLM, bytes_, {**GPT, "eos_token_id": bytes_.eos_token_id}),
    }
    made = {}
    for kind, (opener, tokenizer, sizes) in kinds.items():
        torch.manual_seed(0)
        made[kind] = tmp_path_factory.mktemp("models") / kind
        config = AutoConfig.for_model(kind, **sizes, vocab_size=len(tokenizer), initializer_range=0.3)
        opener.from_config(config).save_pretrained(made[kind])
        tokenizer.save_pretrained(made[kind])
    return made


@pytest.mark.parametrize("kind", ["bert", "gpt2"])
def test_layers_are_those_that_transformers_gives_and_are_computed_once(models, kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sentences = [sentence(n, ["X"] * len(words), words) for n, words in enumerate((["the", "old", "man"], ["a"] * 40))]
    found = read_layers(str(models[kind]), False, 0, sentences)
    model, tokenizer = AutoModel.from_pretrained(models[kind]), load_tokenizer(models[kind])
    ids = tokenizer(sentences[0].text)["input_ids"]
    ids = ids if kind == "bert" else [tokenizer.eos_token_id, *ids]
    with torch.no_grad():
        states = torch.stack(model(torch.tensor([ids]), output_hidden_states=True).hidden_states, 2)[0]
    of_text = states[1:-1] if kind == "bert" else states[1:]
    assert np.allclose(found.values[: found.starts[1]], of_text.numpy(), atol=2e-3)
    first, behind = found.pieces[0].find(sentences[0], (1, 2))
    pieces = tokenizer.convert_ids_to_tokens(found.pieces[0].ids[found.pieces[0].first :][first:behind])
    assert "".join(pieces).replace("##", "").replace("Ġ", "") == "old"
    if kind == "gpt2":  # it reads 24 tokens, one of which stands before the text
        assert len(found.pieces[1].offsets) == 23
        assert found.pieces[1].find(sentences[1], (39, 40)) is None
    stored = list(Path("runs/stores/edges").glob("*/layers.npy"))
    times = [path.stat().st_mtime_ns for path in stored]
    read_layers(str(models[kind]), False, 0, sentences)
    assert [path.stat().st_mtime_ns for path in stored] == times
    other = read_layers(str(models[kind]), True, 1, sentences)
    assert not np.allclose(other.values, found.values, atol=0.1)
    trained, fresh = (open_network(str(models[kind]), untrained, 0) for untrained in (False, True))
    assert trained.config.to_dict() == fresh.config.to_dict()


LINE = "{number}\t{form}\t_\t{pos}\t_\t_\t0\troot\t_\t_"


@pytest.fixture
def recipe(tmp_path) -> Path:
    words = {"man": "NOUN", "door": "NOUN", "opened": "VERB", "old": "ADJ", "green": "ADJ", "saw": "VERB"}
    drawn = np.random.default_rng(0)
    (tmp_path / "bank").mkdir()
    for split, documents in (("train", 8), ("dev", 4)):
        lines = []
        for number in range(documents):
            lines.append(f"# newdoc id = {split}{number}")
            for _ in range(3):
                forms = drawn.choice(list(words), 4)
                lines += [LINE.format(number=n, form=form, pos=words[form]) for n, form in enumerate(forms, 1)]
                lines.append("")
        (tmp_path / "bank" / f"my-{split}.conllu").write_text("\n".join(lines))
    path = tmp_path / "recipe.yaml"
    settings = "path: bank, hidden_size: 8, max_steps: 4, eval_steps: 2, learning_rate: 0.02"
    path.write_text(f"name: probed\nseeds: [0, 1]\nprobes:\n  - {{name: edges, annotation: pos, {settings}}}\n")
    return path


def test_a_recipe_gives_lines_for_the_table_and_a_page(recipe, models, launch_program):
    from finetune.table.__main__ import main as table

    folder, model = recipe.parent, str(models["bert"])
    first = launch_program(main, folder, "recipe.yaml", "--model", model)
    assert first.status == 0, first.said
    lines = [json.loads(line) for line in (folder / "runs/probed/results.jsonl").read_text().splitlines()]
    jobs = [(line["task"], line["init"], line["seed"]) for line in lines]
    assert jobs == [("edges/pos-bank", init, seed) for init in ("pretrained", "random") for seed in (0, 1)]
    assert {"f1", "layer_0", "control", "selectivity", "by_words", "coverage"} == set(lines[0]["metrics"]["dev"])
    assert lines[0]["metrics"]["dev"]["by_words"] == 1.0
    page = (folder / "runs/probed/edges.html").read_text()
    assert "pos-bank" in page
    assert page.count("<svg") == 2
    assert not re.search(r"(src|href)=.?https?:|<script|<link", page)  # it needs nothing beside it
    told = next((folder / "runs/probed").glob("*/*/seed-1/page.md")).read_text()
    assert "expected layer" in told
    assert "centre of gravity" in told
    divided = "trained on bank/my-train.conllu, judged by bank/my-dev.conllu"
    assert divided in told
    assert divided in page
    details = json.loads(next((folder / "runs/probed").glob("*/*/seed-1/details.json")).read_text())
    assert details["division"]["dev"] == ["bank/my-dev.conllu"]
    again = launch_program(main, folder, "recipe.yaml", "--model", model)
    assert again.said.count("done before") == 4
    shown = launch_program(table, folder, "runs/probed")
    assert shown.status == 0, shown.said
    assert "edges/pos-bank" in shown.said


def test_how_files_are_divided_is_told_in_words():
    none = {"train": [], "dev": [], "unread": [], "together": []}
    assert tell_division(none | {"together": ["a.conllu"]}) == (
        "divided by documents, one in 5 of which is judged: a.conllu"
    )
    many = [f"{number}.conllu" for number in range(1200)]
    assert tell_division(none | {"together": many}).endswith("judged: 0.conllu and 1,199 other files")
    split = {"train": ["t.conllu"], "dev": ["d.conllu", "e.conllu"], "unread": ["test.conllu"]}
    assert tell_division(none | split) == ("trained on t.conllu, judged by d.conllu, e.conllu; not read: test.conllu")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("annotation: entities", "bank has no entities among the sentences to train on; they are read from Entity= in"),
        (
            "annotation: coreference",
            "bank has no coreference among the sentences to train on; they are read from Entity",
        ),
        ("annotation: constituents", "constituents need trees beside bank/my-train.conllu"),
        ("annotation: pos, dropout: 1.5", "dropout 1.5; both must be below 1"),
    ],
)
def test_mistakes_are_told_in_one_line(recipe, models, launch_program, change, said):
    recipe.write_text(recipe.read_text().replace("annotation: pos", change))
    if "coreference" in change:  # mentions, each of another entity
        for path in (recipe.parent / "bank").iterdir():
            lines = path.read_text().split("\n")
            path.write_text("\n".join(re.sub("_$", f"Entity=(e{n}-person)", line) for n, line in enumerate(lines)))
    ended = launch_program(main, recipe.parent, "recipe.yaml", "--model", str(models["bert"]))
    assert ended.status == 2
    assert said in ended.said
    assert len(ended.said.strip().splitlines()) == 1
