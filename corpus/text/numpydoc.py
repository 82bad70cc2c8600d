"""What does a docstring say: its prose, and what it tells of each parameter?

Python's authors write three dialects, and all three are read here: numpydoc (an underlined heading, `axis : int` on a
line of its own, its description below it), Google's (`Args:`, then `dim (int): the dimension`) and Hugging Face's
(Google's, with the description below). What is not prose goes: doctests, code, tables, figures, formulas, references.
Of the markup one pair of backticks stays around each word that its author marked as a name, whatever role or link it
was written with; `plain` takes the backticks away too.

https://numpydoc.readthedocs.io/en/latest/format.html
https://google.github.io/styleguide/pyguide.html#383-functions-and-methods
"""

import inspect
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

from corpus.text.sentences import sentences

PARAMETERS = {"parameters", "other parameters", "args", "arguments", "params", "keyword args", "keyword arguments"}
RESULTS = {"returns", "return", "yields", "raises", "warns", "attributes"}
NOT_PROSE = {"references", "reference", "see also", "methods"}
ADMONITIONS = {"note", "warning", "tip", "important", "attention", "caution", "hint"}


@dataclass(frozen=True)
class Parameter:
    """One entry of a parameter section: `axis`, `int, optional`, `Axis along which the sum is taken.`"""

    name: str
    type: str  # as the author wrote it, without markup; "" where none is given
    description: str  # the first paragraph below the name, marked


@dataclass(frozen=True)
class Section:
    title: str  # in lower case; "" before the first heading
    underlined: bool  # numpydoc; else the heading ends in a colon
    lines: list[str]


def read(docstring: str) -> Iterator[str | Parameter]:
    """Yield the paragraphs (marked) and the parameters of `docstring` in the order in which they stand."""
    for section in sections(without_code(inspect.cleandoc(docstring).splitlines())):
        if section.title in PARAMETERS:
            yield from entries(section)
        elif section.title in RESULTS:
            yield from (entry.description if isinstance(entry, Parameter) else entry for entry in entries(section))
        elif section.title not in NOT_PROSE:
            yield from paragraphs(section.lines)


def plain(marked: str) -> str:
    """The text without the backticks around its names."""
    return marked.replace("`", "")


def sections(lines: list[str]) -> Iterator[Section]:
    """Cut at headings. An underlined one holds until the next, one with a colon until the text is as far out."""
    section, margin = Section("", underlined=False, lines=[]), -1
    for line, below in pairwise([*lines, ""]):
        underlined = bool(UNDERLINE.fullmatch(below.strip()))
        if not line.strip() or UNDERLINE.fullmatch(line.strip()):
            section.lines.append("")
        elif underlined or COLON_HEADING.fullmatch(line.strip()):
            yield section
            section, margin = Section(line.strip(" :").lower(), underlined, []), indent(line)
        elif indent(line) <= margin and not section.underlined:
            yield section
            section, margin = Section("", underlined=False, lines=[line]), -1
        else:
            section.lines.append(line)
    yield section


def entries(section: Section) -> Iterator[str | Parameter]:
    """Yield the parameters of a section; what is no entry is yielded as paragraphs."""
    margin = min((indent(line) for line in section.lines if line.strip()), default=0)
    entry = NUMPYDOC_ENTRY if section.underlined else GOOGLE_ENTRY
    for head, *body in split(section.lines, lambda line: bool(line.strip()) and indent(line) == margin):
        term = entry.fullmatch(head.strip())
        if term is None:
            yield from paragraphs([head, *body])
            continue
        hanging = " " * min((indent(line) for line in body if line.strip()), default=0)
        described = list(paragraphs([hanging + (term["rest"] or ""), *body]))
        if described:
            yield Parameter(plain(term["name"]).lstrip("*"), plain(tidy(term["type"] or "")), described[0])
        yield from described[1:]


def paragraphs(lines: list[str]) -> Iterator[str]:
    """Yield the prose in `lines`: a blank line, a bullet or another indent begins a new paragraph."""
    paragraph: list[str] = []
    margin: int | None = None
    for line in [*lines, ""]:
        bullet = BULLET.match(line)
        hangs = margin is None and paragraph and indent(line) > indent(paragraph[0])
        if not line.strip() or bullet or not (hangs or indent(line) == margin):
            if paragraph:
                yield from prose(paragraph)
            paragraph, margin = [], None if bullet else indent(line)
        elif hangs:
            margin = indent(line)
        if line.strip():
            paragraph.append(line)


def prose(lines: list[str]) -> Iterator[str]:
    """The sentences of one paragraph as one string, if there are any."""
    text = tidy(BULLET.sub("", " ".join(map(str.strip, lines)), count=1))
    if kept := "".join(filter(is_sentence, sentences(text))).strip():
        yield kept


def is_sentence(text: str) -> bool:
    """Three words at least, mostly letters, and nothing that looks like a formula, an address or code."""
    letters = sum(map(str.isalpha, text))
    return len(WORD.findall(text)) >= 3 and letters >= 0.75 * len(text.replace(" ", "")) and not CODE.search(text)


def without_code(lines: list[str]) -> list[str]:
    """Blank the lines of doctests, fenced and indented code, tables and directives; an admonition keeps its text."""
    kept: list[str] = []
    fenced = until_blank = False
    margin: int | None = None  # of the line whose deeper lines are code
    for line in lines:
        blank = not line.strip()
        fence = bool(FENCE.match(line))
        margin = margin if margin is not None and (blank or indent(line) > margin) else None
        until_blank = not blank and (until_blank or bool(CODE_BLOCK.match(line)))
        directive = DIRECTIVE.match(line)
        if fence or fenced or until_blank or margin is not None:
            kept.append("")
        elif directive and directive["name"] in ADMONITIONS:
            kept.append(" " * indent(line) + directive["rest"])
        elif directive:
            kept.append("")
            margin = indent(line)
        elif line.rstrip().endswith("::"):
            kept.append(line.rstrip()[:-1])
            margin = indent(line)
        else:
            kept.append(line)
        fenced = fenced is not fence
    return kept


def tidy(text: str) -> str:
    """Leave, of all the markup of reST and Markdown, one pair of backticks around a name."""
    if MARKS.search(text):
        for pattern, replacement in MARKUP:
            text = pattern.sub(replacement, text)
    return " ".join(text.split())


def split(lines: list[str], begins: Callable[[str], bool]) -> Iterator[list[str]]:
    """Cut `lines` before each line that begins a piece."""
    starts = [position for position, line in enumerate(lines) if begins(line)]
    for start, end in pairwise([*starts, len(lines)]):
        yield lines[start:end]


def indent(line: str) -> int:
    return len(line) - len(line.lstrip())


UNDERLINE = re.compile(r"[-=~^]{3,}")
COLON_HEADING = re.compile(r"[A-Z]\w*( \w+){0,2}:")
NUMPYDOC_ENTRY = re.compile(r"(?P<name>[`*]*\w[`*\w., ]*?)(?:\s*:\s*(?P<type>.*))?(?P<rest>)")
GOOGLE_ENTRY = re.compile(
    r"(?:[-*] )?(?P<name>[`*]*\w[`*\w.]*)\s*(?:\((?P<type>.*?)\))?\s*(?::|--)(?:\s+(?P<rest>.*))?"
)
BULLET = re.compile(r"^\s*(?:[-*+•]|\(?\d{1,2}[.)])\s+")
FENCE = re.compile(r"\s*```(?!.*```)")
CODE_BLOCK = re.compile(r"\s*(?:>>>|In \[\d|\$ |\|.*\||\+[-=]+\+|={2,}\s+=|-{2,}\s+-)")
DIRECTIVE = re.compile(r"\s*\.\. (?:(?P<name>[\w-]+)::)?\s*(?P<rest>.*)")
WORD = re.compile(r"[A-Za-z][a-z]+")
CODE = re.compile(
    r"[\\{}<>$^|~@\ud800-\udfff]|://|www\.|==|::|\(\)\.|__|\):$| [,.;]|\( *\)|\*\*|\b(?:by|from|in|of|see)[,.;]"
)
MARKS = re.compile(r"[`*\[<]")
MARKUP = [
    (re.compile(r"</?\w+/?>"), ""),
    (re.compile(r"\s*\[#?\w+\]_"), ""),  # a footnote
    (re.compile(r":[\w:+-]+:(?=`)"), ""),  # a role
    (re.compile(r"\[(`[^`]*`)\](?:\([^)\s]*\))?"), r"\1"),  # Hugging Face's link to a name
    (re.compile(r"\[([^\]]+)\]\([^)\s]*\)"), r"\1"),  # Markdown's link
    (re.compile(r"`([^`<]+?)\s*<[^>`]*>`_*"), r"\1"),  # reST's link
    (re.compile(r"`([^`]+)`__?(?!\w)"), r"\1"),
    (re.compile(r"``+"), "`"),
    (re.compile(r"(?<=`)[~!](?:\w+\.)*(?=\w+`)"), ""),  # `~a.b.C` is shown as C
    (re.compile(r"(?<![\w*])(\*{1,2})(?=[^\s*])([^*]+?)(?<=\S)\1(?![\w*])"), r"\2"),  # emphasis
]
