"""Are CoNLL-U files and trees read as their formats say, and is what is damaged named with file and line?"""

import gzip

import pytest

from probe.edges.conllu import read_conllu
from probe.edges.examples import Asked, control_labels, guess_blindly, guess_by_words, list_dependencies, score
from probe.edges.mentions import Mention
from probe.edges.treebank import list_files, read_treebank
from probe.edges.trees import add_constituents


def word(number, form, pos="X", head=0, relation="root", misc="_"):
    return f"{number}\t{form}\t_\t{pos}\t_\t_\t{head}\t{relation}\t_\t{misc}"


HEADED = "# newdoc id = one\n# global.Entity = GRP-infstat-etype\n"
SENTENCE = "\n".join([
    word(1, "We", "PRON", 3, "nsubj", "Entity=(1-new-person)"),
    "2-3\tdon't\t_\t_\t_\t_\t_\t_\t_\t_",
    word(2, "do", "AUX", 3, "aux"), word(3, "n't", "PART", 0, "root"),
    "3.1\tgo\tgo\tVERB\t_\t_\t_\t_\t_\t_",
    word(4, "see", "VERB", 3, "dep"),
    word(5, "our", "PRON", 6, "nmod:poss", "Entity=(2-new-place(1-giv-person)"),
    word(6, "house", "NOUN", 4, "obj", "SpaceAfter=No|Entity=2)"),
    word(7, ".", "PUNCT", 3, "punct"),
])  # fmt: skip


def test_words_text_and_mentions_of_a_sentence(tmp_path):
    path = tmp_path / "a.conllu"
    path.write_text(HEADED + SENTENCE + "\n\n" + word(1, "Yes") + "\n", encoding="utf-8")
    first, second = read_conllu(path)
    assert first.words == ["We", "do", "n't", "see", "our", "house", "."]
    assert first.text == "We don't see our house."
    assert [first.text[begin:end] for begin, end in first.places] == first.words
    assert first.heads == [3, 3, 0, 3, 6, 4, 3]
    assert first.mentions == [Mention(0, 1, "1", "person"), Mention(4, 5, "1", "person"), Mention(4, 6, "2", "place")]
    assert (first.line, second.line, second.words, second.document) == (3, 13, ["Yes"], "one")
    packed = tmp_path / "b.conllu.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert [one.words for one in read_conllu(packed)] == [first.words, second.words]


def test_mentions_begin_and_end_at_empty_nodes(tmp_path):
    path = tmp_path / "a.conllu"
    empty = "{}\t_\t_\t_\t_\t_\t_\t_\t_\tEntity={}"
    lines = [
        "# global.Entity = eid-etype-head-other", empty.format("0.1", "(e1-person-1-"), word(1, "a", misc="Entity=e1)"),
        word(2, "b", misc="Entity=(e2-place-1-"), empty.format("2.1", "e2)(e3-person-1-)(e4-person-1-"),
        word(3, "c"), word(4, "d", misc="Entity=e4)"),
    ]  # fmt: skip
    path.write_text("\n".join(lines))
    (found,) = read_conllu(path)
    assert found.mentions == [
        Mention(0, 1, "e1", "person"),
        Mention(1, 2, "e2", "place"),
        Mention(2, 4, "e4", "person"),
    ]


def test_the_entity_may_be_a_later_field(tmp_path):
    path = tmp_path / "a.conllu"
    lines = [
        "# global.Entity = entity-GRP-infstat", word(1, "a", misc="Entity=(person-1-new"),
        word(2, "b", misc="Entity=person-1)"), word(3, "c", misc="Entity=(person-2-new)"),
    ]  # fmt: skip
    path.write_text("\n".join(lines))
    (found,) = read_conllu(path)
    assert found.mentions == [Mention(0, 2, "1", "person"), Mention(2, 3, "2", "person")]


def test_words_that_are_not_written_have_their_whole_token(tmp_path):
    path = tmp_path / "a.conllu"
    lines = [word(1, "va"), "2-3\tau\t_\t_\t_\t_\t_\t_\t_\tSpaceAfter=No", word(2, "à"), word(3, "le"), word(4, "!")]
    path.write_text("\n".join(lines))
    (found,) = read_conllu(path)
    assert found.text == "va au!"
    assert found.places == [(0, 2), (3, 5), (3, 5), (5, 6)]


def test_examples_of_each_task(tmp_path):
    path = tmp_path / "a.conllu"
    path.write_text(HEADED + SENTENCE)
    (tmp_path / "a.ptb").write_text(
        "(ROOT (S (NP-SBJ (PRP We))\n (VP (VBP do) (RB n't) (VP (VB see) (NP=1 (PRP$ our) (NN house))"
        " (S (NP (-NONE- *T*)))))\n (. .)))"
    )
    found = read_conllu(path)
    add_constituents(found, tmp_path / "a.ptb")

    def asked(task):
        return [(one.spans, set(one.labels)) for one in Asked.of(task, found).examples[0]]

    assert asked("pos")[:2] == [(((0, 1),), {"PRON"}), (((1, 2),), {"AUX"})]
    assert asked("dependencies")[2] == (((2, 3), (2, 3)), {"root"})  # a root is its own head
    assert asked("dependencies")[4] == (((4, 5), (5, 6)), {"nmod:poss"})
    assert sorted((*span, *labels) for (span,), labels in asked("constituents")) == [
        (0, 1, "NP"), (0, 7, "S"), (1, 6, "VP"), (3, 6, "VP"), (4, 6, "NP"),
    ]  # fmt: skip
    assert asked("entities") == [(((0, 1),), {"person"}), (((4, 5),), {"person"}), (((4, 6),), {"place"})]
    assert asked("coreference") == [
        (((0, 1), (4, 5)), {"coreferent"}), (((0, 1), (4, 6)), set()), (((4, 5), (4, 6)), set()),
    ]  # fmt: skip


def test_a_word_without_annotation_is_no_example(tmp_path):
    path = tmp_path / "a.conllu"
    path.write_text("\n".join([word(1, "one", "_"), word(2, "two", "NUM", "_", "_"), word(3, "three", "X", 1, "_")]))
    assert [one.spans for one in Asked.of("pos", read_conllu(path)).examples[0]] == [((1, 2),), ((2, 3),)]
    assert [one.labels for one in list_dependencies(read_conllu(path)[0])] == [{"root"}]


def test_tags_with_an_underscore_stay_as_they_are(tmp_path):
    path = tmp_path / "a.conllu"
    path.write_text("\n".join([word(1, "one", "N_N"), word(2, "two", "NN"), word(3, "three", "_")]))
    assert read_conllu(path)[0].pos == ["N_N", "NN", ""]


DAMAGED = {
    "line 2: 9 columns; CoNLL-U has 10": word(1, "one") + "\n" + word(2, "two").rsplit("\t", 1)[0],
    "line 2: the word 2 is expected, and 3 stands": word(1, "one") + "\n" + word(3, "three"),
    "line 1: the ID is 'x'": word("x", "one"),
    "line 1: the HEAD is '7'": word(1, "one", head=7),
    "line 1: the HEAD is '1'": word(1, "one", head=1),
    "line 1: the multiword token 3-2": "3-2\tx\t_\t_\t_\t_\t_\t_\t_\t_\n" + word(1, "one"),
    "line 3: the multiword token 2-3 begins within another one, which ends at the word 3": "\n".join(
        [
            "1-3\tx\t_\t_\t_\t_\t_\t_\t_\t_",
            word(1, "one"),
            "2-3\ty\t_\t_\t_\t_\t_\t_\t_\t_",
            word(2, "two"),
            word(3, "y"),
        ]
    ),
    "this sentence has 1 words; a HEAD or a multiword token speaks of word 3": "1-3\tx\t_\t_\t_\t_\t_\t_\t_\t_\n"
    + word(1, "one"),
    "line 1: Entity=(1-person-2 is no row of brackets": word(1, "one", misc="Entity=(1-person-2)(x)("),
    "line 1: Entity has 5) here, which ends a mention that did not begin": word(1, "one", misc="Entity=5)"),
    "line 1: Entity has (5- here, which begins a mention, and no 5)": word(1, "one", misc="Entity=(5-person"),
    "holds no sentence": "# nothing\n",
}


@pytest.mark.parametrize("said", [*DAMAGED])
def test_damaged_lines_are_named(tmp_path, said):
    path = tmp_path / "a.conllu"
    path.write_text(DAMAGED[said])
    with pytest.raises(ValueError, match=r"a\.conllu") as caught:
        read_conllu(path)
    said = said.replace("(1-person-2 ", "(1-person-2)(x)( ")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("trees", "said"),
    [
        ("(S (X one)\n (X two)", "line 1: the bracket (S does not end"),
        ("one", "line 1: 'one' stands outside"),
        ("(S (X one) (X too))", "line 1: this tree has the words 'one too', and the sentence in line 1"),
        ("(S (X one) (X two)) (S (X three))", "has 2 trees"),
    ],
)
def test_damaged_trees_are_named(tmp_path, trees, said):
    (tmp_path / "a.conllu").write_text(word(1, "one") + "\n" + word(2, "two"))
    (tmp_path / "a.ptb").write_text(trees)
    with pytest.raises(ValueError, match=r"a\.ptb") as caught:
        add_constituents(read_conllu(tmp_path / "a.conllu"), tmp_path / "a.ptb")
    assert said in str(caught.value)


def test_a_gzip_file_that_is_cut_off_is_named(tmp_path):
    path = tmp_path / "a.conllu.gz"
    path.write_bytes(gzip.compress(word(1, "one").encode())[:-9])
    with pytest.raises(ValueError, match=r"a\.conllu\.gz is no whole gzip file"):
        read_conllu(path)


def documents(number, begin=0):
    return "\n".join(f"# newdoc id = d{n}\n{word(1, f'w{n}')}\n" for n in range(begin, begin + number))


def test_splits_are_those_of_the_files_or_parts_of_the_documents(tmp_path):
    (tmp_path / "x-ud-train.conllu").write_text(documents(30))
    (tmp_path / "x-ud-dev.conllu").write_text(documents(5, 30))
    (tmp_path / "x-ud-test.conllu").write_text(documents(5, 35))
    bank = read_treebank(str(tmp_path), False)
    assert [len(bank.train), len(bank.validation), len(bank.dev)] == [27, 3, 5]
    few = read_treebank(str(tmp_path), False, 10, 2)
    assert [len(few.train), len(few.validation), len(few.dev), few.drawn_from] == [9, 1, 2, (30, 5)]
    alone = read_treebank(str(tmp_path / "x-ud-train.conllu"), False)
    parts = [{one.document for one in part} for part in (alone.train, alone.validation, alone.dev)]
    assert list(map(len, parts)) == [22, 2, 6]
    assert len(set.union(*parts)) == 30
    with pytest.raises(ValueError, match=r"constituents need trees beside .*: x-ud-train\.ptb or x-ud-train\.ptb\.gz"):
        read_treebank(str(tmp_path), True)


@pytest.mark.parametrize(
    ("train", "dev", "unread", "together"),
    [
        ("x-ud-train", "x-ud-dev", "x-ud-test", ""),
        ("X-UD-TRAIN", "X-UD-DEV", "", ""),
        ("traindata", "devdata", "", ""),
        ("train", "valid", "notes", ""),
        ("my-train1 my-train2", "validation_set", "", ""),
        ("", "", "", "only-dev"),  # UD English EWT as we have it
        ("", "", "", "x-train-a x-train-b"),
        ("", "", "", "GUM_academic_art GUM_whow_training GUM_news_device GUM_bio_testament"),
    ],
)
def test_the_names_of_files_say_how_they_are_divided(tmp_path, train, dev, unread, together):
    expected = [[f"{tmp_path}/{name}.conllu" for name in sorted(names.split())]
                for names in (train, dev, unread, together)]  # fmt: skip
    for name in f"{train} {dev} {unread} {together}".split():
        (tmp_path / f"{name}.conllu").write_text(documents(8))
    found = list_files(str(tmp_path))
    assert [found.train, found.dev, found.unread, found.together] == expected
    assert read_treebank(str(tmp_path), False).division == found


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ("x-train x-test", r"x-test.conllu \(test\), x-train.conllu \(train\)\. Write `train` into the names"),
        ("x-dev y", r"x-dev.conllu \(dev\), y.conllu \(no split\)"),
        ("x-train x-dev dev-of-train", r"dev-of-train.conllu \(dev and train\), x-dev.conllu"),
        ("a b c d e f-train", r"f-train.conllu \(train\), a.conllu \(no split\), .*, \.\.\.\. Write"),
    ],
)
def test_files_whose_names_leave_their_splits_open_are_refused(tmp_path, names, said):
    for name in names.split():
        (tmp_path / f"{name}.conllu").write_text(documents(8))
    with pytest.raises(ValueError, match=f"do not say which of them are trained on and which are judged: .*{said}"):
        read_treebank(str(tmp_path), False)


def test_guesses_without_an_encoder(tmp_path):
    path = tmp_path / "a.conllu"
    path.write_text("\n".join(f"{word(1, form, pos)}\n" for form, pos in
                              [("a", "D"), ("a", "D"), ("a", "N"), ("b", "N"), ("c", "N"), ("d", "V")]))  # fmt: skip
    asked = Asked.of("pos", read_conllu(path))
    blind = guess_blindly(asked)
    assert blind == {"N", "D"}  # F1 .59 against .5 for N alone, and .5 for all three
    assert score([blind] * 6, asked.labels) == pytest.approx(2 * 5 / (6 + 12))
    assert [set(one) for one in guess_by_words(asked, asked)] == [{"D"}, {"D"}, {"D"}, {"N"}, {"N"}, {"V"}]
    control = control_labels(asked, asked, 0)
    assert control[0] == control[1] == control[2]
    assert any(control_labels(asked, asked, seed) != control for seed in range(1, 5))


def test_gum_has_the_numbers_that_its_authors_tell(data):
    path = data / "probing" / "gum" / "gum-dev.conllu.gz"
    if not path.is_file():
        pytest.skip(f"{path} is not there: this test reads GUM")
    found = read_conllu(path)
    add_constituents(found, path.with_name("gum-dev.ptb.gz"))
    assert (len({one.document for one in found}), sum(len(one.words) for one in found)) == (30, 28_119)
    assert all(one.constituents or len(one.words) < 3 for one in found)
    assert len({mention.kind for one in found for mention in one.mentions}) == 10
