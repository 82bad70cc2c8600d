"""Do the probes of word vectors say what gensim says, and are finished ones skipped?"""

import gzip
import json
import re
from collections import Counter
from pathlib import Path
from shutil import copytree

import numpy as np
import pytest
import torch
from gensim.models import KeyedVectors

from corpus.text.vocabulary import Vocabulary
from networks.word_vectors import WordVectors, WordVectorsConfig
from pretrain.word_vectors import TokenizerAndVectors
from probe.pairs import read_pairs
from probe.probe import Found
from probe.run import main, name_models
from probe.similarity import Analogies, Similarity, read_analogies
from probe.vectors import read_vectors
from tokenizer.learn import WholeWords

NAMES = [f"w{number}" for number in range(60)]


@pytest.fixture
def model(tmp_path) -> Path:
    """Word vectors in a model folder: each word is as frequent as its number says."""
    text = [" ".join(name for rank, name in enumerate(NAMES) for _ in range(80 - rank))]
    tokenizer = WholeWords(name="words", min_frequency=1).learn(iter([text]), Counter(), 512)
    torch.manual_seed(0)
    vectors = WordVectors(WordVectorsConfig(vocab_size=len(tokenizer), hidden_size=12))
    folder = tmp_path / "runs/mine/model"
    vectors.save_pretrained(folder)
    TokenizerAndVectors(tokenizer, vectors).save_pretrained(str(folder))
    return folder


@pytest.fixture
def pairs(tmp_path) -> Path:
    drawn = np.random.default_rng(0)
    lines = [f"{NAMES[one]}\t{NAMES[other].upper()}\t{score:.2f}" for one, other, score in
             zip(drawn.permutation(60), drawn.permutation(60), drawn.uniform(0, 10, 60), strict=True)]  # fmt: skip
    path = tmp_path / "pairs.txt"
    path.write_text("\n".join([*lines, "w1\tnowhere\t3.0"]) + "\n")
    return path


@pytest.fixture
def analogies(tmp_path, model) -> Path:
    """Random ones, and in a second section those that 3CosAdd answers rightly, of which one is not known."""
    drawn = np.random.default_rng(1)
    vectors = KeyedVectors.load_word2vec_format(str(model / "vectors.txt"))
    easy = []
    for a, b, c in drawn.choice(NAMES, (20, 3)):
        if len({a, b, c}) == 3:
            easy.append((a, b, c, vectors.most_similar(positive=[b, c], negative=[a], topn=1)[0][0]))
    lines = [": random", *(" ".join(four) for four in drawn.choice(NAMES, (30, 4)))]
    lines += [": easy", *(" ".join(four) for four in easy), "w1 w2 w3 nowhere"]
    path = tmp_path / "analogies.txt"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_gensim_opens_the_vectors_and_they_are_the_models(model):
    theirs = KeyedVectors.load_word2vec_format(str(model / "vectors.txt"))
    assert theirs.index_to_key == NAMES
    ours = torch.tensor(theirs.vectors)
    saved = WordVectors.from_pretrained(model).vectors()
    assert torch.equal(ours, saved[-60:])


def test_similarity_and_coverage_are_gensims(model, pairs):
    theirs = KeyedVectors.load_word2vec_format(str(model / "vectors.txt")).evaluate_word_pairs(str(pairs))
    for name in (model, model / "vectors.txt"):
        found = Similarity(name="similarity", path=str(pairs)).ask(str(name), False, 0).metrics["all"]
        assert found["spearmanr"] == pytest.approx(theirs[1][0], abs=1e-6)
        assert 100 * (1 - found["coverage"]) == pytest.approx(theirs[2])


@pytest.mark.parametrize("restrict", [40, 300_000])
def test_analogies_are_gensims_section_by_section(model, analogies, restrict):
    theirs = KeyedVectors.load_word2vec_format(str(model / "vectors.txt"))
    _, sections = theirs.evaluate_word_analogies(str(analogies), restrict_vocab=restrict)
    found: Found = Analogies(name="analogies", path=str(analogies), restrict_vocab=restrict).ask(str(model), False, 0)
    scores, lines = found.metrics["all"], analogies.read_text().splitlines()
    sizes = {"random": lines.index(": easy") - 1, "easy": len(lines) - lines.index(": easy") - 1}
    for section in sections[:-1]:
        name, asked = section["section"], len(section["correct"]) + len(section["incorrect"])
        assert scores[f"{name}_coverage"] == pytest.approx(asked / sizes[name])
        assert scores[name] == pytest.approx(len(section["correct"]) / max(1, asked))
    assert scores["easy"] == 1.0 or restrict == 40
    total = sections[-1]
    asked = len(total["correct"]) + len(total["incorrect"])
    assert scores["accuracy"] == pytest.approx(len(total["correct"]) / asked)
    assert scores["coverage"] == pytest.approx(asked / sum(sizes.values()))


@pytest.fixture
def recipe(pairs, analogies, model, tmp_path) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(
        f"name: probed\nprobes:\n  - {{name: similarity, path: {pairs}}}\n  - {{name: analogies, path: {analogies}}}\n"
        "  - {name: neighbours, words: [w3, nowhere], number: 4}\n"
    )
    return path


def test_a_recipe_is_probed_once_beside_the_untrained_network_and_stands_in_the_table(recipe, model, launch_program):
    from finetune.table.__main__ import main as table

    folder = recipe.parent
    first = launch_program(main, folder, "recipe.yaml", "--model", "runs/mine", "--seeds", "0", "1")
    assert first.status == 0, first.said
    lines = [json.loads(line) for line in (folder / "runs/probed/results.jsonl").read_text().splitlines()]
    assert {(line["task"], line["init"], line["seed"]) for line in lines} == {
        (task, *which)
        for task in ("similarity/pairs", "analogies/analogies")
        for which in (("pretrained", 0), ("random", 0), ("random", 1))
    }
    page = next((folder / "runs/probed/neighbours").glob("mine-*/seed-0/page.md")).read_text()
    assert "**w3**: w" in page
    assert "Not in its vocabulary of 60 words: nowhere." in page
    again = launch_program(main, folder, "recipe.yaml", "--model", "runs/mine", "--seeds", "0", "1")
    assert again.said.count("done before") == 9
    shown = launch_program(table, folder, "runs/probed")
    assert shown.status == 0, shown.said
    assert "similarity/pairs" in shown.said
    assert "mine, random init" in shown.said


def test_another_file_is_asked_anew(recipe, pairs, launch_program):
    launch_program(main, recipe.parent, "recipe.yaml", "--model", "runs/mine")
    pairs.write_text(pairs.read_text() + "w5\tw6\t1.0\n")
    again = launch_program(main, recipe.parent, "recipe.yaml", "--model", "runs/mine")
    assert again.said.count("done before") == 4  # all but the similarity and its untrained network


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ([], "no model is named: give --model"),
        (["--model", "runs/nowhere"], "runs/nowhere"),
        (["--model", "words.bin"], "words.bin, line 2: a word and its numbers are expected"),
    ],
)
def test_mistakes_are_told_in_one_line(recipe, launch_program, argv, said):
    (recipe.parent / "words.bin").write_text("2 3\nking queen\n")
    ended = launch_program(main, recipe.parent, "recipe.yaml", *argv)
    assert ended.status == 2
    assert said in ended.said
    assert ended.said.count("\n") == 1


def test_a_bad_line_of_a_file_is_named(model, tmp_path):
    path = tmp_path / "bad.txt"
    path.write_text("w1\tw2\t3\nw1 w2\n")
    with pytest.raises(ValueError, match=r"bad.txt, line 2: two words and a number are expected"):
        Similarity(name="similarity", path=str(path)).ask(str(model), False, 0)


ROWS = [("w1", "w2", 7.0), ("w3", "w4", 6.5)]


@pytest.mark.parametrize(
    "content",
    [
        "# people's scores\n\nWord 1\tWord 2\tHuman\nw1\tw2\t7\nw3\tw4\t6.5\n",
        "word1\tword2\tPOS\tSimLex999\tconc(w1)\nw1\tw2\tN\t7\t1.5\nw3\tw4\tA\t6.5\t2\n",
        'Word 1,Word 2,Human (mean),1,2\n"w1","w2","7",8,6\nw3,w4,6.5,7,6\n',
        "\ufeffw1;w2;7,0\r\nw3;w4;6,5\r\n",
        "w1 w2 7\nw3  w4  6.5",
        "w1 w2 7\rw3 w4 6.5\r",
        "w1 w2 7,0\nw3 w4 6,5\n",
        "w1\tw2\tV\t7\tSYNONYMS\nw3\tw4\tV\t6.5\tNONE\n",  # SimVerb
        "w1\tw2\t7\t9\t5\t\nw3\tw4\t6.5\t7\t6\t6\t7\n",  # RareWord
        "id\tword1\tword2\tscore\n1\tw1\tw2\t7\n2\tw3\tw4\t6.5\n",
        ",word1,word2,score\n0,w1,w2,7\n1,w3,w4,6.5\n",  # pandas
        "1\tw1\tw2\t7\n2\tw3\tw4\t6.5\n",
        "score;word_2;word_1\n7;w2;w1\n6,5;w4;w3\n",
        '"word1" "word2" "score"\n"1" "w1" "w2" 7\n"2" "w3" "w4" 6.5\n',  # R
        '"w1"\t"w2"\t7\n"w3"\t"w4"\t6.5\n',
        "Word 1,Word 2,1,2,Mean\nw1,w2,9,5,7\nw3,w4,6,7,6.5\n",
        "Wort 1,Wort 2,1,2,Mittel\nw1,w2,9,5,7\nw3,w4,6,7,6.5\n",
        "nr,word1,pos1,word2,pos2,relatedness\n1,w1,NN,w2,NN,7\n2,w3,NN,w4,VB,6.5\n",
    ],
)
def test_pairs_of_any_table(tmp_path, content):
    path = tmp_path / "pairs.csv"
    path.write_bytes(content.encode())
    assert read_pairs(path) == ROWS


def test_pairs_of_phrases_and_numbers(tmp_path):
    path = tmp_path / "pairs.txt"
    for content in ('"ice cream" don\'t 8\nking "queen" 3\n', 'ice cream\tdon\'t\t8\nking\t"queen"\t3\n'):
        path.write_text(content)
        assert read_pairs(path) == [("ice cream", "don't", 8.0), ("king", "queen", 3.0)]
    path.write_text("word1,word2,score\none,1,9\ntwo,2,8\n")
    assert read_pairs(path) == [("one", "1", 9.0), ("two", "2", 8.0)]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"w1 w2\nw3 w4 6\n", "bad.txt, line 1: two words and a number are expected"),
        (b"w1\tw2\t7\nw3\tw4\tnan\nw5\tw6\t6", "bad.txt, line 2: two words and a number are expected"),
        (b"new york city 7\nw3 w4 6\nw5 w6 7\n", "bad.txt, line 1: two words and a number are expected"),
        (b"w1\tw2\t7\nw3\tw4\t7\n", "all have the score 7; two different ones are the fewest that can be ranked"),
        ("stra\u00dfe\tw2\t7\n".encode("latin1"), "bad.txt is not UTF-8 (byte 4); save it as UTF-8"),
        (b"", "bad.txt holds no pairs of words with a score"),
        (b"word1 word2 score\n", "bad.txt holds no pairs of words with a score"),
        (
            b"word1\tword2\tPOS\tscore\tconc\nw1\tw2\tN\t7\t1\nw3\tw4\tN\tNA\t2\n",
            "1, 2, 4 as in the other lines, but 'NA'",
        ),
        (b"w1\tw2\tA\t7\t1\nw3\tw4\tA\tNA\t2\n", "line 2: two words and a number are expected, in the columns 1, 2, 4"),
        (b"w1 w2 nan\nw3 w4 6\n", "1, 2, 3 as in the other lines, but 'nan' is no number; found 'w1 w2 nan'"),
        (b"w1 w2 inf\nw3 w4 6\n", "line 1: two words and a number"),
        (b"w1;w2;1.234,5\nw3;w4;3,0\n", "line 1: two words and a number"),
        (b"w1 w2 3_0\nw3 w4 6\n", "line 1: two words and a number"),
        (b",w2,7\nw3,w4,6\n", "1, 2, 3 as in the other lines, but '' is no word; found ',w2,7'"),
        (b"w1 w2 7\nw3 -- 6\n", "1, 2, 3 as in the other lines, but '--' is no word; found 'w3 -- 6'"),
        (b"ice cream dessert 8\nnew york town 7\n", "line 1: two words and a number are expected, and which columns"),
        (b"w1 w2 7\nw3 w4 6\nproduct windows 95 8\n", "in 3 fields parted by blanks as in the other lines"),
        (b"w1 : w2 : 7\nw3 : w4 : 6\n", "line 1: two words and a number are expected, and which columns"),
        (b"1 2 7\n3 4 6\n", "or name them in a first line: word1, word2, score"),
        (b"7\tw1\tw2\n6\tw3\tw4\n", "line 1: two words and a number are expected, and which columns"),
        (b"1\tw1\tn\tw2\tn\tsome text\t7\n2\tw3\tn\tw4\tv\ta text\t6\n", "and which columns these are cannot"),
        (b"word1,word2,score,mean\nw1,w2,7,6\nw3,w4,6,5\n", "and which columns these are cannot be told"),
    ],
)
def test_pairs_that_cannot_be_ranked_are_refused(model, tmp_path, content, said):
    path = tmp_path / "bad.txt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=re.escape(said)):
        Similarity(name="similarity", path=str(path)).ask(str(model), False, 0)


def test_analogies_have_comments_and_are_refused_where_none_can_be_asked(model, tmp_path):
    path = tmp_path / "analogies.txt"
    path.write_bytes(b"# four words a line\r\n : some\r\nw1 w2 w3 w59\r\n:\r\nw1\tw2\tw3\tw4\r\n")
    assert read_analogies(path) == {"some": [["W1", "W2", "W3", "W59"], ["W1", "W2", "W3", "W4"]]}
    path.write_text("w1 w2 w3 w59\n")
    with pytest.raises(ValueError, match=r"none of its 1 analogies can be asked.*0 takes all words"):
        Analogies(name="analogies", path=str(path), restrict_vocab=50).ask(str(model), False, 0)
    found = Analogies(name="analogies", path=str(path), restrict_vocab=0).ask(str(model), False, 0)
    assert found.metrics["all"]["coverage"] == 1.0


def test_sections_that_are_called_as_the_scores_of_all_are_do_not_hide_them(model, tmp_path):
    path = tmp_path / "analogies.txt"
    path.write_text(
        ": accuracy\nw1 w2 w3 nowhere\n: coverage\nw1 w2 w3 w4\n: family\nw5 w6 w7 w8\n: family_coverage\nw1 w2 w3 w9\n"
    )
    found = Analogies(name="analogies", path=str(path)).ask(str(model), False, 0).metrics["all"]
    assert found["coverage"] == 3 / 4
    assert {name: found[f"{name}_coverage"] for name in
            ("accuracy (section)", "coverage (section)", "family", "family_coverage (section)")} == {
        "accuracy (section)": 0.0, "coverage (section)": 1.0, "family": 1.0, "family_coverage (section)": 1.0,
    }  # fmt: skip
    assert len(found) == 10


def test_words_beside_themselves_are_all_alike(model, tmp_path):
    path = tmp_path / "pairs.txt"
    path.write_text("".join(f"{name} {name} {number}\n" for number, name in enumerate(NAMES)))
    found = Similarity(name="similarity", path=str(path)).ask(str(model), False, 0).metrics["all"]
    assert found["spearmanr"] == found["frequency"] == found["spelling"] == 0.0


def test_vectors_of_words_with_blanks_and_after_empty_lines_are_read(tmp_path):
    path = tmp_path / "vectors.txt"
    path.write_text("\ufeffcat 1 2\n. . . 3 4\n\u00a0 5 6 \na\x1fb 7 8\n\n")
    table = read_vectors(path)
    assert list(table.words) == ["cat", ". . .", "\u00a0", "a\x1fb"]
    assert table.vectors.tolist() == [[1, 2], [3, 4], [5, 6], [7, 8]]
    path.write_text("2\t2\ncat\t1 2\ndog  3\t4\r\n")
    assert list(read_vectors(path).words) == ["cat", "dog"]
    assert read_vectors(path).vectors.tolist() == [[1, 2], [3, 4]]
    for line in ("dog 1 2 3", "dog 1", "dog 1 nan", "dog", "dog,1,2"):
        path.write_text(f"cat 1 2\n{line}\n")
        with pytest.raises(ValueError, match=r"vectors.txt, line 2: a word and its numbers are expected"):
            read_vectors(path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"3237 2\ncat 1 2\ndog 3 4\n", "vectors.txt, line 1: 3,237 words are promised, but 2 follow; if the"),
        (b"1 2\ncat 1 2\ndog 3 4\n", "vectors.txt, line 1: 1 words are promised, but 2 follow"),
        (gzip.compress(b"cat 1 2\n", mtime=0), "vectors.txt is packed; unpack it"),
        ("cat 1 2\n".encode("utf-16"), "vectors.txt is UTF-16; save it as UTF-8"),
        (b"2 2\ncat " + np.array([0.1, 0.2], "<f4").tobytes(), "vectors.txt, line 2: this is no text in UTF-8; "),
    ],
    ids=["fewer", "more", "packed", "utf-16", "binary"],
)
def test_vectors_that_are_cut_off_packed_or_binary_are_refused(tmp_path, content, said):
    path = tmp_path / "vectors.txt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=re.escape(said)):
        read_vectors(path)


def test_of_a_model_that_was_trained_further_the_last_probe_counts(recipe, model, launch_program):
    from finetune.table.__main__ import main as table

    def similarity():
        lines = map(json.loads, (recipe.parent / "runs/probed/results.jsonl").read_text().splitlines())
        return [line["headline"]["value"] for line in lines
                if line["task"] == "similarity/pairs" and line["init"] == "pretrained"]  # fmt: skip

    argv = ("recipe.yaml", "--model", "runs/mine", "--untrained", "False")
    launch_program(main, recipe.parent, *argv)
    (first,) = similarity()
    vectors = WordVectors.from_pretrained(model)
    torch.nn.init.normal_(vectors.words.weight, generator=torch.Generator().manual_seed(7))
    vectors.save_pretrained(model)
    launch_program(main, recipe.parent, *argv)
    (second,) = similarity()
    assert second != first
    assert launch_program(table, recipe.parent, "runs/probed").status == 0


def test_a_trained_model_counts_once_whichever_seed_comes_first_and_a_namesake_repeats_nothing(
    recipe, model, launch_program
):
    argv = ("recipe.yaml", "--untrained", "False", "--model")
    one, two = "one/small/mine", "two/small/mine"
    for namesake in (one, two):
        copytree(model, recipe.parent / namesake)
    launch_program(main, recipe.parent, *argv, one, "--seeds", "1")
    launch_program(main, recipe.parent, *argv, one, "--seeds", "0")
    ended = launch_program(main, recipe.parent, *argv, one, two, "--seeds", "0")
    assert ended.said.count("done before") == 3, ended.said  # one for each probe
    lines = map(json.loads, (recipe.parent / "runs/probed/results.jsonl").read_text().splitlines())
    assert [(line["label"], line["seed"]) for line in lines if line["task"] == "similarity/pairs"] == [
        (one, 0), (two, 0)
    ]  # fmt: skip


def test_what_was_done_before_a_mistake_stands_in_the_table(recipe, pairs, launch_program):
    folder = recipe.parent
    (folder / "strange.txt").write_text("nowhere nothing 1\nnobody never 2\n")
    recipe.write_text(recipe.read_text() + "  - {name: similarity, path: strange.txt}\n")
    ended = launch_program(main, folder, "recipe.yaml", "--model", "runs/mine", "--untrained", "False")
    assert ended.status == 2
    assert "strange.txt: 0 of 2 pairs are in the vocabulary" in ended.said
    lines = [json.loads(line) for line in (folder / "runs/probed/results.jsonl").read_text().splitlines()]
    assert [line["task"] for line in lines] == ["similarity/pairs", "analogies/analogies"]
    assert (folder / "runs/probed/report.html").is_file()


def test_models_of_one_name_are_told_apart():
    assert name_models(["runs/a/model", "runs/b", "vectors/glove.txt", "alice/bert"]) == {
        "runs/a/model": "a", "runs/b": "b", "vectors/glove.txt": "vectors/glove", "alice/bert": "alice/bert",
    }  # fmt: skip
    assert name_models(["/x/one/mini/model", "/y/one/mini", "runs/b"]) == {
        "/x/one/mini/model": "x/one/mini", "/y/one/mini": "y/one/mini", "runs/b": "b",
    }  # fmt: skip


def test_ids_that_are_no_words_are_not_among_the_vectors(model):
    from tokenizer.load import load_tokenizer

    assert [load_tokenizer(model).convert_ids_to_tokens(int(number)) for number in
            Vocabulary.of(load_tokenizer(model)).ordinary] == NAMES  # fmt: skip
