"""Which words form a phrase?  Trees in brackets (Penn Treebank), one for each sentence of a CoNLL-U file."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from probe.edges.conllu import Sentence
from probe.lines import read_text

TOKEN = re.compile(r"[()]|[^\s()]+")
ESCAPED = {"-LRB-": "(", "-RRB-": ")", "-LSB-": "[", "-RSB-": "]", "-LCB-": "{", "-RCB-": "}", "``": '"', "''": '"',
           "\\/": "/", "\\*": "*"}  # fmt: skip
ROOTS = ("", "ROOT", "TOP")  # what stands around a sentence and is no phrase
TRACE = "-NONE-"  # the label of a word that is not written


@dataclass
class Tree:
    """The written words of a tree, and its phrases: (first word, word after the last, label)."""

    line: int
    words: list[str] = field(default_factory=list)
    phrases: list[tuple[int, int, str]] = field(default_factory=list)


@dataclass
class Bracket:
    """One that is open."""

    line: int
    begin: int  # its first word
    label: str | None = None
    holds_word: bool = False


def add_constituents(sentences: list[Sentence], path: Path) -> None:
    """Give each sentence the phrases of its tree. Errors: ValueError that names file and line."""
    trees = list(read_trees(path))
    for sentence, tree in zip(sentences, trees, strict=False):
        if tree.words != sentence.words and list(map(plain, tree.words)) != list(map(plain, sentence.words)):
            raise ValueError(f"{path}, line {tree.line}: this tree has the words {shorten(tree.words)!r}, and the "
                             f"sentence in line {sentence.line} of {sentence.file} has {shorten(sentence.words)!r}; "
                             "there must be one tree for each sentence, in the same order")  # fmt: skip
        sentence.constituents = tree.phrases
    if len(trees) != len(sentences):
        raise ValueError(f"{path} has {len(trees)} trees, and {sentences[0].file} has {len(sentences)} sentences; "
                         "there must be one tree for each sentence")  # fmt: skip


def plain(word: str) -> str:
    """A word as both files have it: trees spell brackets and some signs otherwise."""
    for escaped, sign in ESCAPED.items():
        word = word.replace(escaped, sign)
    return word


def shorten(words: list[str]) -> str:
    return " ".join(words[:12]) + " ..." * (len(words) > 12)


def read_trees(path: Path) -> Iterator[Tree]:
    """Read trees one after another, on one line or several. Errors: ValueError that names file and line."""
    tree, stack = Tree(0), list[Bracket]()
    for number, token in tokens(path):
        if token == "(":
            if not stack:
                tree = Tree(number)
            elif stack[-1].label is None:
                stack[-1].label = ""
            stack.append(Bracket(number, len(tree.words)))
        elif not stack:
            raise ValueError(f"{path}, line {number}: {token!r} stands outside of all brackets")
        elif token == ")":
            close(tree, stack.pop())
            if not stack:
                yield tree
        elif stack[-1].label is None:
            stack[-1].label = token
        else:
            stack[-1].holds_word = True
            if stack[-1].label != TRACE:
                tree.words.append(token)
    if stack:
        raise ValueError(f"{path}, line {stack[-1].line}: the bracket ({stack[-1].label or ''} does not end")


def close(tree: Tree, bracket: Bracket) -> None:
    """Note the phrase that ends here, unless it is a word with its part of speech, a root, or holds no word."""
    label = re.split("[-=|]", bracket.label or "")[0]  # NP of NP-SBJ=2
    if len(tree.words) > bracket.begin and not bracket.holds_word and label not in ROOTS:
        tree.phrases.append((bracket.begin, len(tree.words), label))


def tokens(path: Path) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        for token in TOKEN.findall(line):
            yield number, token
