"""Which words of a docstring name a thing of Python's, and which kind of thing?

Its author marked the names (with backticks, a role or a link); of which kind one is, the signature and the names that
the packages define say. So the answers are there without a reader's judgement, and the marks can be taken away.
"""

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from corpus.text.docstrings import Docstring, Module
from corpus.text.numpydoc import Parameter

KINDS = ("parameter", "type", "function", "class", "module")
TYPES = {
    *("int", "float", "complex", "str", "bool", "bytes", "list", "dict", "tuple", "set", "object"),
    *("callable", "iterable", "array", "ndarray", "array_like"),
}


@dataclass(frozen=True)
class Namespace:
    """The names that the packages define."""

    modules: frozenset[str]  # dotted: "numpy.linalg"
    classes: frozenset[str]
    functions: dict[str, frozenset[str]]  # package → the functions and methods it defines

    def kind(self, name: str, module: Module, docstring: Docstring) -> str | None:
        """Which of KINDS the word `name` of this docstring is; None if that is not clear.

        The nearest meaning holds: the signature's, then Python's, then the package's.
        """
        owner, _, last = name.rpartition(".")
        if name in parameter_names(docstring):
            return "parameter"
        if name in TYPES:
            return "type"
        if name in self.modules:
            return "module"
        if last in self.classes:
            return "class"
        return "function" if last in self.functions[module.package] and owner != "self" else None


def namespace(modules: Sequence[Module]) -> Namespace:
    functions: dict[str, set[str]] = defaultdict(set)
    for module in modules:
        functions[module.package].update(module.functions)
    return Namespace(
        frozenset(module.name for module in modules),
        frozenset(name for module in modules for name in module.classes),
        {package: frozenset(names) for package, names in functions.items()},
    )


def parameter_names(docstring: Docstring) -> set[str]:
    documented = {block.name for block in docstring.blocks if isinstance(block, Parameter)}
    return documented.union(docstring.signature)


def tag(marked: str, module: Module, docstring: Docstring, names: Namespace) -> tuple[list[str], list[str]] | None:
    """(words, tags in IOB2) of a marked sentence; None if it has a mark, or a word like `n_jobs`, of unknown kind.

    A dotted name is several words: numpy B-module, "." I-module, linalg I-module. A value (None, "auto", 3) is no name.
    """
    words: list[str] = []
    tags: list[str] = []
    for piece in PIECE.findall(marked):
        name = piece.strip("`").removesuffix("()")
        kind = None
        if (piece.startswith("`") or LIKE_A_NAME.fullmatch(piece)) and not VALUE.fullmatch(name):
            kind = names.kind(name, module, docstring)
            if kind is None:
                return None
        parts = WORD.findall(name if kind else piece.strip("`"))
        words += parts
        tags += [f"B-{kind}", *[f"I-{kind}"] * (len(parts) - 1)] if kind else ["O"] * len(parts)
    return words, tags


PIECE = re.compile(r"`[^`]*`|\w+(?:\.\w+)*|[^\w\s]")
LIKE_A_NAME = re.compile(r"[A-Za-z]\w*_\w*|\w*[a-z]\w*[A-Z]\w*|[A-Za-z_]\w+(?:\.[A-Za-z_]\w+)+")
VALUE = re.compile(r"None|True|False|[-+]?[\d.]+(?:e[-+]?\d+)?|[\"'].*[\"']")
WORD = re.compile(r"\w+|[^\w\s]")
