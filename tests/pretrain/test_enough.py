"""Is a text that is too small for its recipe named before it is tokenized, and a large one read no further?"""

import gzip

import pytest

from engine.run.recipe import load
from pretrain import enough
from pretrain.enough import check_amount
from pretrain.recipe import PretrainRecipe
from tokenizer.load import load_tokenizer

MANY = {"plan": {"max_steps": 100_000}}


@pytest.fixture
def check(tmp_path, write_recipe, tokenizer_folder):
    """What is said of a text file's corpus; `source` and `changes` differ from the small recipe."""

    def say(text: str, source: dict | None = None, **changes) -> list[str]:
        (tmp_path / "text.txt").write_text(text)
        sources = [{"kind": "text", "path": str(tmp_path / "text.txt"), **(source or {})}]
        path = write_recipe(tmp_path, corpus={"sources": sources, "held_out": 0.15}, **changes)
        recipe = load(PretrainRecipe, path)
        return check_amount(recipe, load_tokenizer(tokenizer_folder).backend_tokenizer)

    return say


def paragraphs(number: int) -> str:
    return "\n\n".join(["rala mo. lebu ro kate. tilu."] * number)


BLANK_LINES = {"documents": "blank_line"}


def test_a_text_that_the_plan_sees_a_hundred_times_and_that_leaves_few_examples_to_evaluate(check):
    seen, held_out = check(paragraphs(400), BLANK_LINES, **MANY)
    assert (
        "about 2,999 tokens of text, and the plan asks for 102,400,000, so it sees the same text 34,145 times" in seen
    )
    assert "lower plan.max_steps" in seen
    assert "about 450 tokens are held out, 14.1 examples" in held_out
    assert "raise corpus.held_out" in held_out


def test_a_text_that_is_large_enough_has_no_remark(check):
    assert check(paragraphs(4_000), BLANK_LINES) == []


def test_the_size_of_what_is_packed_is_not_guessed(check, tmp_path, write_recipe, tokenizer_folder):
    with gzip.open(tmp_path / "text.txt.gz", "wt") as file:
        file.write(paragraphs(20))
    assert check(paragraphs(20), {**BLANK_LINES, "path": str(tmp_path / "text.txt.gz")}, **MANY) == []


def test_one_document_makes_no_sentence_pairs_and_the_remedy_is_one(check):
    with pytest.raises(ValueError, match=r"two documents or more.* and the corpus has 1: say objective\.next_sentence"):
        check(paragraphs(20))
    check(paragraphs(20), objective={"name": "bert", "next_sentence": False})
    check(paragraphs(20), BLANK_LINES)


def test_documents_of_one_sentence_make_none_unless_it_is_used_in_pieces(check, monkeypatch):
    lines = "rala mo.\n" * 20
    with pytest.raises(ValueError, match="each document of the corpus is one"):
        check(lines, {"documents": "line"})
    check(lines + "rala " * 40, {"documents": "line"})  # longer than an example
    monkeypatch.setattr(enough, "LOOKED_AT", 10)
    said, *_ = check(lines, {"documents": "line"})  # what follows may be otherwise
    assert said.startswith("the first 10 documents are one sentence each, of which no sentence pair is made: say")


def test_a_corpus_of_two_whole_documents_is_read_no_further(check, tmp_path, monkeypatch):
    read = []
    documents = enough.documents
    monkeypatch.setattr(enough, "documents", lambda *given: (read.append(one) or one for one in documents(*given)))
    check(paragraphs(4_000), BLANK_LINES)
    assert len(read) == 2
