"""Do the probes of any model say what scipy and transformers say, and does a run of them end in one page?"""

import json
import re
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import pearsonr, spearmanr
from transformers import BertConfig, BertModel, BertTokenizer, GPT2Config, GPT2LMHeadModel

from networks.occurrences import BANK
from probe.maps import draw_maps, embed, project
from probe.occurrences import Occurrences, find_words, same_sense
from probe.run import main
from probe.sentences import SentenceSimilarity, bag_of_words, overlap, read_sentence_pairs
from probe.similarity import Similarity, same_letters, same_rank
from probe.word_map import WordMap, read_groups

TEXT = " ".join(text for texts in BANK.values() for text in texts).replace("*", "")
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *dict.fromkeys(re.findall(r"\w+|\.", TEXT.lower())), "open",
              "account", "x"]  # fmt: skip
PAIRS = [
    ("The bank lent money.", "The bank lent them money.", 5.0),
    ("We swam across.", "We climbed the bank.", 2.5),
    ("A clerk in a bank.", "The mud of the river.", 0.2),
    ("The boat was old.", "The boat was wet.", 3.5),
]
WORDS = [("bank", "money", 8.0), ("river", "Stream", 7.5), ("boat", "clerk", 1.0), ("bank", "zebra", 2.0)]


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    """A folder with two untrained models that are far from all alike, and a file of word vectors."""
    folder = tmp_path_factory.mktemp("models")
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n")
    tokenizer = BertTokenizer.from_pretrained(folder, do_lower_case=True)
    torch.manual_seed(0)
    sizes: dict[str, Any] = {
        "vocab_size": len(VOCABULARY),
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
    }
    BertModel(BertConfig(**sizes, intermediate_size=32, initializer_range=0.5)).save_pretrained(folder / "bert")
    small: dict[str, Any] = {"n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 64, "initializer_range": 0.5}
    GPT2LMHeadModel(GPT2Config(vocab_size=len(VOCABULARY), **small)).save_pretrained(folder / "gpt")
    for name in ("bert", "gpt"):
        tokenizer.save_pretrained(folder / name)
    drawn = np.random.default_rng(0)
    lines = [f"{word} {' '.join(map(str, drawn.normal(size=8)))}" for word in VOCABULARY if word.isalpha()]
    (folder / "vectors.txt").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture
def sentences(tmp_path) -> Path:
    path = tmp_path / "pairs.tsv"
    rows = [f'{number}\t{one} "\t{other}\t{score}' for number, (one, other, score) in enumerate(PAIRS)]
    path.write_text("index\tsentence1\tsentence2\tscore\n" + "\n".join(rows) + "\n")
    return path


@pytest.fixture
def words(tmp_path) -> Path:
    path = tmp_path / "words.txt"
    path.write_text("\n".join(f"{one}\t{other}\t{score}" for one, other, score in WORDS) + "\n")
    return path


def pooled(runs, text):
    """Of each layer the mean, the first and the last state, as transformers has them."""
    tokenizer, model = BertTokenizer.from_pretrained(runs / "bert"), BertModel.from_pretrained(runs / "bert").eval()
    states = model(**tokenizer(text, return_tensors="pt"), output_hidden_states=True).hidden_states
    return [{"mean": layer[0].mean(0), "cls": layer[0, 0], "last": layer[0, -1]} for layer in states]


def test_sentences_are_ranked_by_layer_and_pooling_as_scipy_ranks_them(runs, sentences):
    found = SentenceSimilarity(name="sentence_similarity", path=str(sentences)).ask(str(runs / "bert"), False, 0)
    scores, sides = [score for *_, score in PAIRS], [[pooled(runs, f'{pair[side]}{" " if side else ""}' if side else
                     f'{pair[side]} "') for pair in PAIRS] for side in (0, 1)]  # fmt: skip
    for name in ("mean", "cls", "last"):
        for layer in range(3):
            cosines = [float(torch.cosine_similarity(one[layer][name], other[layer][name], 0).detach())
                       for one, other in zip(*sides, strict=True)]  # fmt: skip
            if layer or name == "mean":  # at layer 0 the special tokens are always the same
                assert found.layers[name][layer] == pytest.approx(spearmanr(cosines, scores).statistic)
            if name == "mean" and layer == 2:
                assert found.metrics["all"]["pearson"] == pytest.approx(pearsonr(cosines, scores).statistic, abs=1e-5)
    assert found.metrics["all"]["spearmanr"] == found.layers["mean"][-1]
    assert found.metrics["all"]["coverage"] == 1.0
    assert found.sizes == {"all": 4}
    assert found.page.count("\n| ") == 5  # a heading, a line, three layers


def test_shortcuts_are_those_worked_out_by_hand():
    assert overlap("The bank lent money.", "the bank lent them money") == 4 / 5
    assert bag_of_words("a b b", "b c") == pytest.approx(2 / (5**0.5 * 2**0.5))
    assert bag_of_words("", "b") == overlap("", "") == 0.0
    assert same_letters("bank", "BANK") == 1.0
    assert same_rank(10, 1000) == same_rank(1000, 10) == pytest.approx(-np.log(100))


def test_of_word_vectors_a_sentence_is_the_mean_of_its_known_words_and_a_gpt_has_no_first_token(runs, sentences):
    probe = SentenceSimilarity(name="sentence_similarity", path=str(sentences))
    vectors = probe.ask(str(runs / "vectors.txt"), False, 0)
    assert "cls_spearmanr" not in vectors.metrics["all"]
    assert vectors.layers == {}
    table = {
        line.split()[0]: np.array(line.split()[1:], float) for line in (runs / "vectors.txt").read_text().splitlines()
    }
    means = [
        [np.mean([table[word] for word in re.findall(r"\w+", text.lower()) if word in table], 0) for text in pair[:2]]
        for pair in PAIRS
    ]
    cosines = [one @ other / np.linalg.norm(one) / np.linalg.norm(other) for one, other in means]
    expected = spearmanr(cosines, [pair[2] for pair in PAIRS]).statistic
    assert vectors.metrics["all"]["spearmanr"] == pytest.approx(expected)


def test_sentence_pairs_of_any_file(tmp_path, sentences):
    assert read_sentence_pairs(sentences)[0] == ('The bank lent money. "', "The bank lent them money.", 5.0)
    bare, quoted, wrong = tmp_path / "bare.txt", tmp_path / "quoted.csv", tmp_path / "wrong.tsv"
    bare.write_text("one\tother\t1\n\nthis\tthat\t2.5\n")
    assert read_sentence_pairs(bare) == [("one", "other", 1.0), ("this", "that", 2.5)]
    quoted.write_text('sentence2,score,sentence1\n"a, b",3,"say ""c"""\n')
    assert read_sentence_pairs(quoted) == [('say "c"', "a, b", 3.0)]
    quoted.write_bytes(b'\r\nScore;Sentence1;Sentence2\r\n2,5;"one; two";"three\nfour"\r\n')
    assert read_sentence_pairs(quoted) == [("one; two", "three\nfour", 2.5)]
    quoted.write_text('sentence1,sentence2,score\n"never closed,')
    with pytest.raises(ValueError, match=r"quoted.csv is no table in CSV .*: is a quote missing"):
        read_sentence_pairs(quoted)
    wrong.write_text("one\tother\tnan\n")
    with pytest.raises(ValueError, match=r"wrong.tsv, line 1: two sentences and a number are expected"):
        read_sentence_pairs(wrong)
    wrong.write_text("one\tother\t1\none\tother\n")
    with pytest.raises(ValueError, match=r"wrong.tsv, line 2: two sentences and a number are expected, parted by tabs"):
        read_sentence_pairs(wrong)


@pytest.mark.parametrize(("number", "line"), [(1, "\tother\t1"), (2, "one\t \t1")])
def test_an_empty_sentence_is_refused_with_its_line(tmp_path, number, line):
    path = tmp_path / "pairs.tsv"
    path.write_text(f"one\tother\t1\n{line}\n")
    with pytest.raises(ValueError, match=rf"pairs.tsv, line 2: sentence {number} is empty; each line needs two"):
        read_sentence_pairs(path)


def test_pairs_with_a_sentence_that_is_cut_are_counted(runs, tmp_path):
    path, long = tmp_path / "pairs.tsv", "the river " * 40  # the GPT reads 64 tokens
    rows = [*PAIRS, (long, "The mud.", 1.0), (long, f"{long} bank", 4.0)]
    path.write_text("".join(f"{one}\t{other}\t{score}\n" for one, other, score in rows))
    probe = SentenceSimilarity(name="sentence_similarity", path=str(path))
    found = probe.ask(str(runs / "gpt"), False, 0)
    assert found.details == {"cut": 2}
    assert "2 of 6 pairs have a sentence that is longer than the 64 tokens that this model reads at once" in found.page
    whole = probe.ask(str(runs / "bert"), False, 0)
    assert whole.details == {"cut": 0}
    assert "cut" not in whole.page


def test_words_are_read_alone_by_a_model_that_has_no_word_vectors(runs, words):
    found = Similarity(name="similarity", path=str(words)).ask(str(runs / "bert"), False, 0)
    assert found.metrics["all"]["coverage"] == 3 / 4
    tokenizer, model = BertTokenizer.from_pretrained(runs / "bert"), BertModel.from_pretrained(runs / "bert").eval()

    def vector(word):
        return model(**tokenizer(word, return_tensors="pt")).last_hidden_state[0, 1]

    cosines = [float(torch.cosine_similarity(vector(one), vector(other), 0).detach()) for one, other, _ in WORDS[:3]]
    scores = [score for *_, score in WORDS[:3]]
    assert found.metrics["all"]["spearmanr"] == pytest.approx(spearmanr(cosines, scores).statistic)
    assert len(found.layers["spearmanr"]) == 3
    ranks = [[VOCABULARY.index(word.lower()) + 1 for word in pair[:2]] for pair in WORDS[:3]]
    nearness = [-abs(np.log(one / other)) for one, other in ranks]
    assert found.metrics["all"]["frequency"] == pytest.approx(spearmanr(nearness, scores).statistic)


def test_word_vectors_have_one_bank_and_are_at_chance(runs):
    found = Occurrences(name="occurrences").ask(str(runs / "vectors.txt"), False, 0)
    assert found.metrics["all"]["accuracy"] == pytest.approx(9 / 19)
    assert found.baseline["all"]["accuracy"] == pytest.approx(9 / 19)
    assert "| bank 1 and bank 2 | 1.000 |" in found.page
    assert "A word has one vector here" in found.page
    assert found.pictures == []  # there is nothing to see


def test_a_model_that_reads_the_text_has_two_and_a_gpt_is_said_to_read_the_left(runs):
    bert = Occurrences(name="occurrences", number=2).ask(str(runs / "bert"), False, 0)
    assert len(bert.layers["accuracy"]) == 3
    assert bert.page.count("\n- ") == 2 * 3 * 2
    assert "**bank** account on the river bank." in bert.page
    cosines = next(line for line in bert.page.splitlines() if line.startswith("| bank 1 and bank 2"))
    assert float(cosines.split("|")[4]) < 0.99
    assert [picture.caption.split(",")[1].split(":")[0].strip() for picture in bert.pictures] == ["PCA", "t-SNE"]
    gpt = Occurrences(name="occurrences").ask(str(runs / "gpt"), False, 0)
    assert "reads from the left" in gpt.page


def test_the_nearest_of_the_same_sense_are_counted_and_equal_ones_share():
    near = torch.tensor([[1.0, 0.9, 0.1, 0.0], [0.9, 1.0, 0.2, 0.2], [0.3, 0.2, 1.0, 0.3], [0.1, 0.5, 0.4, 1.0]])
    assert same_sense(near, ["a", "a", "b", "b"]) == (1 + 1 + 1 / 2 + 0) / 4
    assert float(near[0, 0]) == 1.0  # it is left as it was


def test_occurrences_of_a_file_and_of_a_corpus(runs, tmp_path):
    labelled, corpus = tmp_path / "senses.tsv", tmp_path / "corpus.txt"
    labelled.write_text(
        "money\tThe bank lent money.\nmoney\tA *bank* in the city.\nriver\tThe muddy bank.\nx\tNothing.\n"
    )
    found = Occurrences(name="occurrences", source=str(labelled)).ask(str(runs / "bert"), False, 0)
    assert found.sizes == {"all": 3}
    assert (labelled.name in str(found.page)) is False
    assert Occurrences(name="occurrences", source=str(labelled)).task == "occurrences/senses"
    corpus.write_text("The Bank lent money. The boat was old.\n\nThe banks of the river. We sat on the bank.\n")
    probe = Occurrences(name="occurrences", source=f"text:{corpus}", number=5)
    told = probe.ask(str(runs / "bert"), False, 0)
    assert told.headline == ""
    assert "The **Bank** lent money." in told.page
    assert "We sat on the **bank**." in told.page
    assert "banks" not in told.page
    assert [one.word for one in find_words("Bank, embankment bank-note", {"bank"})] == ["Bank", "bank"]
    assert [one.word for one in find_words("C++ and C, notC++.", {"c++", "c"})] == ["C++", "C"]
    assert [one.word for one in find_words("他去银行取钱。", {"银", "银行"})] == ["银行"]


def test_most_is_kept_of_the_occurrences_in_a_file_of_each_word(runs, tmp_path):
    path = tmp_path / "senses.tsv"
    lines = [f"{sense}\tThe {word} {' '.join(['old'] * number)}.\n" for word in ("bank", "boat") for sense in "ab"
             for number in range(5)]  # fmt: skip
    path.write_text("".join(lines))
    asked: dict[str, Any] = {"sentences": ("The *bank*.", "The *boat*."), "source": str(path), "number": 9}
    found = Occurrences(name="occurrences", most=4, **asked).ask(str(runs / "bert"), False, 0)
    assert found.sizes == {"all": 8}
    assert "8 of 20 occurrences are read, drawn at random (most: 4)." in found.page
    again = Occurrences(name="occurrences", most=4, **asked).ask(str(runs / "bert"), False, 0)
    assert again.page == found.page
    every = Occurrences(name="occurrences", most=10, **asked).ask(str(runs / "bert"), False, 0)
    assert every.sizes == {"all": 20}
    assert "drawn at random" not in every.page


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"sentences": ("no word",)}, "in which no word is marked"),
        ({"sentences": ("a *zebra* is",)}, "does not know 'zebra'"),
        ({"source": "FILE"}, "holds no other sentence with bank"),
        ({"source": "nowhere.txt"}, "source is 'nowhere.txt'; it is a file of sentences that is there, a recipe"),
    ],
)
def test_mistakes_of_occurrences(runs, tmp_path, settings, said):
    (tmp_path / "none.txt").write_text("Nothing here.\n")
    settings = {key: str(tmp_path / "none.txt") if value == "FILE" else value for key, value in settings.items()}
    with pytest.raises(ValueError, match=said):
        Occurrences(name="occurrences", **settings).ask(str(runs / "bert"), False, 0)


def test_maps_are_numpys_pca_and_the_same_again_by_seed():
    drawn = torch.tensor(np.random.default_rng(0).normal(size=(12, 5)))
    drawn[:6] += 9.0
    unit = torch.nn.functional.normalize(drawn, dim=1).numpy()
    places, share = project(unit)
    centred = unit - unit.mean(0)
    left, values, _ = np.linalg.svd(centred, full_matrices=False)
    assert np.abs(places) == pytest.approx(np.abs(left[:, :2] * values[:2]))
    assert share == pytest.approx((values[:2] ** 2).sum() / (values**2).sum())
    one, again, other = embed(unit, 0), embed(unit, 0), embed(unit, 1)
    assert np.array_equal(one, again)
    assert one.shape == other.shape == (12, 2)
    groups = ["a"] * 6 + ["b"] * 6
    first, second = (draw_maps(drawn, groups, groups, 0, "layer 1") for _ in range(2))
    assert [picture.png for picture in first] == [picture.png for picture in second]
    assert first[0].png.startswith(b"\x89PNG")
    assert draw_maps(drawn[:3], groups[:3], groups[:3], 0, "few") == []
    with warnings.catch_warnings(action="error"):
        assert len(draw_maps(drawn, ["猫"] * 12, groups, 0, "letters of any script")) == 2


def test_a_map_of_a_file_names_the_words_that_are_missing(runs, tmp_path):
    path = tmp_path / "list.txt"
    path.write_text(": water\nriver\nboat\nstream\nzebra\n: money\nbank\nclerk\n")
    assert list(read_groups(path)) == ["water", "money"]
    found = WordMap(name="word_map", path=str(path)).ask(str(runs / "bert"), False, 0)
    assert "Not in its vocabulary: zebra." in found.page
    assert len(found.pictures) == 2
    path.write_text("# a comment\n: $costs_$\nriver\nbank\nboat\nclerk\n")
    assert len(WordMap(name="word_map", path=str(path)).ask(str(runs / "bert"), False, 0).pictures) == 2
    path.write_text("two words\n")
    with pytest.raises(ValueError, match=r"list.txt, line 1: one word is expected"):
        read_groups(path)


def test_a_run_ends_in_one_page_that_needs_nothing_beside_it(runs, sentences, words, tmp_path, launch_program):
    shutil.copytree(runs / "bert", tmp_path / "runs/first/model")
    (tmp_path / "list.txt").write_text("river\nboat\nstream\nbank\n")
    (tmp_path / "recipe.yaml").write_text(
        f"name: probed\nprobes:\n  - {{name: sentence_similarity, path: {sentences}}}\n"
        f"  - {{name: similarity, path: {words}}}\n  - {{name: occurrences}}\n"
        f"  - {{name: word_map, path: {tmp_path / 'list.txt'}}}\n"
        "  - {name: neighbours, words: [bank], number: 3}\nseeds: [0, 1]\n"
    )
    ended = launch_program(main, tmp_path, "recipe.yaml", "--model", "runs/first")
    assert ended.status == 0, ended.said
    assert "the report is runs/probed/report.html" in ended.said
    page = (tmp_path / "runs/probed/report.html").read_text()
    assert not re.search(r"(src|href)=\"(?!data:|#)", page)
    assert page.count("<svg") == 3  # of the three probes with layers
    assert page.count("data:image/png;base64,") == 2 * 2 * 2  # occurrences and words, trained and not, by two ways
    lines = [json.loads(line) for line in (tmp_path / "runs/probed/results.jsonl").read_text().splitlines()]
    ours = [line for line in lines if line["task"] == "occurrences/bank" and line["label"] == "first"]
    values = [line["headline"]["value"] for line in ours]
    assert f"{values[0]:.3f}<small>coverage 100 %</small>" in page
    spread = f"{np.mean(values[1:]):.3f} ({min(values[1:]):.3f} to {max(values[1:]):.3f}, 2 seeds)"
    assert f"<small>untrained {spread}</small>" in page
    assert "<small>coverage 75 %</small>" in page
    assert "<strong>bank</strong>" in page
    again = launch_program(main, tmp_path, "recipe.yaml", "--model", "runs/first")
    assert again.said.count("done before") == 5 * 3
    assert (tmp_path / "runs/probed/report.html").read_text() == page


def test_analogies_of_a_model_that_reads_texts_are_refused_in_one_line(runs, tmp_path, launch_program):
    (tmp_path / "four.txt").write_text("a b c d\n")
    (tmp_path / "recipe.yaml").write_text(
        f"name: probed\nprobes:\n  - {{name: analogies, path: {tmp_path / 'four.txt'}}}\n"
    )
    ended = launch_program(main, tmp_path, "recipe.yaml", "--model", str(runs / "bert"))
    assert ended.status == 2
    assert "is a bert model, whose vector of a word depends on the text around it" in ended.said
    assert ended.said.count("\n") == 1
