"""Does a paragraph fall into its sentences, and is nothing lost?"""

import pytest

from corpus.text.document import Tally
from corpus.text.readers import documents
from corpus.text.sentences import sentences
from corpus.text.source import Source


def test_a_sentence_ends_where_a_reader_would_end_it():
    paragraph = 'Dr. Smith of the U.S. arrived at 3.15 p.m. on Monday. "Who is it?" he asked. It was I! Nobody else...'
    assert [sentence.strip() for sentence in sentences(paragraph)] == [
        "Dr. Smith of the U.S. arrived at 3.15 p.m. on Monday.",
        '"Who is it?" he asked.',
        "It was I!",
        "Nobody else...",
    ]


@pytest.mark.parametrize(
    "paragraph",
    [
        "",
        " ",
        ".",
        "No end",
        "One.  Two blanks.",
        " Edges. ",
        "Wait . . . Here? ! Now.",
        "He said 'Go.'Then (he went.)Back.",
        "\nA new paragraph. With two.",
        "مرحبا. كيف حالك؟ شكرا.",
        "日本語です。次の文です。",
    ],
)
def test_joined_sentences_are_the_paragraph(paragraph):
    assert "".join(sentences(paragraph)) == paragraph
    assert all(sentences(paragraph))


@pytest.mark.parametrize(("kind", "folder"), [("wikipedia", "wikipedia"), ("books", "books")])
def test_no_character_of_the_real_corpora_is_lost(data, kind, folder):
    paragraphs = num_sentences = 0
    for number, document in enumerate(documents(Source(kind, str(data / folder)), Tally())):
        if number % 40:
            continue
        for paragraph in document.paragraphs:
            found = sentences(paragraph)
            assert "".join(found) == paragraph
            assert all(sentence.strip() for sentence in found)
            paragraphs, num_sentences = paragraphs + 1, num_sentences + len(found)
    assert 1.5 < num_sentences / paragraphs < 5
