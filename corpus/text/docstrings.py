"""What English is there on every machine that can run this?  The docstrings of the packages it runs on.

The default corpus, so that a first model can be pretrained without a download: real prose by thousands of authors,
read from the installed packages' source with `ast`. Nothing is imported, nothing is committed; `stamp` says which text
it was. A module is a document, and what stands in two modules is kept in one of them only.
"""

import ast
import gc
import gzip
import importlib.metadata
import importlib.util
import json
import multiprocessing
import re
import signal
import sys
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import cache
from hashlib import md5, sha256
from pathlib import Path

from corpus.text import numpydoc
from corpus.text.document import Document, draw
from corpus.text.numpydoc import Parameter, plain
from corpus.text.sentences import sentences
from engine.run.disk import whole_file

PACKAGES = {  # name in an import: name of the distribution
    "accelerate": "accelerate",
    "datasets": "datasets",
    "evaluate": "evaluate",
    "huggingface_hub": "huggingface_hub",
    "matplotlib": "matplotlib",
    "networkx": "networkx",
    "numpy": "numpy",
    "pandas": "pandas",
    "scipy": "scipy",
    "sklearn": "scikit-learn",
    "sympy": "sympy",
    "torch": "torch",
    "transformers": "transformers",
}
LEFT_OUT = {"tests", "test", "testing", "_testing", "conftest"}  # parts of a path
SKIPPED = (
    "test_",
    "modular_",
)  # beginnings of a file's name; transformers writes its modeling_ files from modular_ ones
CACHE = Path("runs/.cache")
PROCESSES = 2

Definition = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Docstring:
    qualname: str  # "" for the module's own
    signature: tuple[str, ...]  # names of the parameters, without self and cls; a class has those of its __init__
    blocks: tuple[str | Parameter, ...]  # in the author's order; a paragraph is marked (see numpydoc.plain)


@dataclass(frozen=True)
class Module:
    name: str  # "numpy.linalg"
    classes: tuple[str, ...]  # names of all that it defines, with or without a docstring
    functions: tuple[str, ...]
    docstrings: tuple[Docstring, ...]

    @property
    def package(self) -> str:
        return self.name.partition(".")[0]

    @property
    def document_id(self) -> str:
        return f"docstrings:{self.name}"


@dataclass(frozen=True)
class Harvest:
    modules: tuple[Module, ...]  # in the order of their names
    stamp: str  # sha256 of all of the above


def documents() -> Iterator[Document]:
    """Yield the pretraining documents: a module's paragraphs, and its parameters as in a definition list.

    A parameter is two paragraphs, the term (`axis : int, optional`) and its description.
    """
    for module in read().modules:
        paragraphs: list[str] = []
        for docstring in module.docstrings:
            for block in docstring.blocks:
                paragraphs += as_text(block)
        if paragraphs:
            yield Document(module.document_id, tuple(paragraphs))


def as_text(block: str | Parameter) -> list[str]:
    if isinstance(block, Parameter):
        return [term(block), plain(block.description)]
    return [plain(block)]


def term(parameter: Parameter) -> str:
    """`axis : int, optional`, as numpydoc writes it; the name alone if the author gave no type."""
    return f"{parameter.name} : {parameter.type}" if parameter.type else parameter.name


@cache
def read() -> Harvest:
    """Read the docstrings of PACKAGES, or what an earlier process wrote down of them.

    About 10 s the first time. The cache's name is a hash of the packages' versions and of this reader's own code.
    ValueError: a package is not installed.
    """
    file = CACHE / f"docstrings-{origin()[:16]}.jsonl.gz"
    if not file.exists():
        lines = [to_json(module) for module in without_repeats(harvest())]
        whole_file(file, gzip.compress("\n".join(lines).encode(), compresslevel=3))
    text = gzip.decompress(file.read_bytes())
    modules = tuple(from_json(line) for line in text.decode().split("\n"))
    return Harvest(modules, sha256(text).hexdigest())


def harvest() -> list[Module]:
    """Read every module of PACKAGES, in the order of their names."""
    files = sorted(file for package in PACKAGES for file in module_files(package))
    with multiprocessing.Pool(PROCESSES, initializer=become_worker) as pool:
        return pool.starmap(read_module, files, chunksize=32)


def become_worker() -> None:
    """Ctrl-C reaches all processes; the one that waits for us answers, and ends us."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.disable()


def module_files(package: str) -> Iterator[tuple[str, Path]]:
    """Yield (module name, file) of a package, its tests left out, without importing it."""
    spec = importlib.util.find_spec(package)
    for folder in map(Path, spec.submodule_search_locations or () if spec else ()):
        for file in folder.rglob("*.py"):
            parts = file.relative_to(folder.parent).with_suffix("").parts
            if not LEFT_OUT.intersection(parts) and not file.name.startswith(SKIPPED):
                yield ".".join(parts).removesuffix(".__init__"), file


def read_module(name: str, file: Path) -> Module:
    """The definitions and docstrings of one file; a file that this Python cannot parse (a template) has none."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the parser warns of the package's own odd escapes
            tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError):
        return Module(name, (), (), ())
    found = list(definitions(tree, ""))
    docstrings = (read_docstring(node, qualname) for node, qualname in [(tree, ""), *found])
    return Module(
        name,
        classes=tuple(node.name for node, _ in found if isinstance(node, ast.ClassDef)),
        functions=tuple(node.name for node, _ in found if not isinstance(node, ast.ClassDef)),
        docstrings=tuple(docstring for docstring in docstrings if docstring.blocks),
    )


def definitions(node: ast.AST, owner: str) -> Iterator[tuple[Definition, str]]:
    """Yield (node, qualified name) of the classes, functions and methods below `node`, not inside functions."""
    for child in getattr(node, "body", ()):
        if isinstance(child, ast.ClassDef):
            yield child, owner + child.name
            yield from definitions(child, f"{owner}{child.name}.")
        elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield child, owner + child.name
        elif isinstance(child, ast.If | ast.Try | ast.With):
            yield from definitions(child, owner)


def read_docstring(node: ast.Module | Definition, qualname: str) -> Docstring:
    text = ast.get_docstring(node, clean=False) or ""
    return Docstring(qualname, signature(node), tuple(numpydoc.read(text)))


def signature(node: ast.AST) -> tuple[str, ...]:
    """Names of the parameters: a function's own, a class's those of its __init__, or its annotated fields."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        given = node.args
        named = [*given.posonlyargs, *given.args, given.vararg, *given.kwonlyargs, given.kwarg]
        return tuple(argument.arg for argument in named if argument and argument.arg not in ("self", "cls"))
    if isinstance(node, ast.ClassDef):
        for child in node.body:
            if isinstance(child, ast.FunctionDef) and child.name == "__init__":
                return signature(child)
        fields = (child.target for child in node.body if isinstance(child, ast.AnnAssign))
        return tuple(field.id for field in fields if isinstance(field, ast.Name))
    return ()


def without_repeats(modules: list[Module]) -> Iterator[Module]:
    """Drop every block of which a sentence stands in another block already; yield the modules in the same order.

    Of two copies the one stays whose module is the less likely to be held out, whatever the rate: so no sentence that
    is held out also stands in the training part.
    """
    seen: set[bytes] = set()
    kept = {}
    for module in sorted(modules, key=lambda module: draw(module.document_id), reverse=True):
        docstrings = [replace(given, blocks=tuple(unseen(given.blocks, seen))) for given in module.docstrings]
        kept[module.name] = replace(module, docstrings=tuple(filter(lambda docstring: docstring.blocks, docstrings)))
    return (kept[module.name] for module in modules)


def unseen(blocks: Iterable[str | Parameter], seen: set[bytes]) -> Iterator[str | Parameter]:
    """Yield the blocks whose sentences are all new, and note them. Case, digits and punctuation do not count."""
    for block in blocks:
        text = block.description if isinstance(block, Parameter) else block
        keys = {wording(sentence) for sentence in sentences(text)}
        if keys.isdisjoint(seen):
            yield block
        seen |= keys


def wording(sentence: str) -> bytes:
    """16 bytes that are equal for sentences of the same letters."""
    return md5(NOT_LETTERS.sub("", sentence).lower().encode()).digest()


def fingerprint() -> str:
    """sha256 (hex) of the corpus' text, as for every other source."""
    return read().stamp


def origin() -> str:
    """sha256 (hex) of all that the harvest depends on: the versions of Python and the packages, and our code."""
    try:
        versions = [f"{name} {importlib.metadata.version(name)}" for name in ("nupunkt", *PACKAGES.values())]
    except importlib.metadata.PackageNotFoundError as error:
        raise ValueError(
            f"the docstring corpus reads the package {error.name}, which is not installed; "
            "mend it with: pip install -r requirements.txt"
        ) from error
    code = [Path(__file__).with_name(f"{name}.py").read_text() for name in ("docstrings", "numpydoc", "sentences")]
    return sha256("\n".join([sys.version, *versions, *code]).encode()).hexdigest()


def to_json(module: Module) -> str:
    return json.dumps(asdict(module), ensure_ascii=False)


def from_json(line: str) -> Module:
    module = json.loads(line)
    docstrings = tuple(
        Docstring(
            given["qualname"],
            tuple(given["signature"]),
            tuple(Parameter(**block) if isinstance(block, dict) else block for block in given["blocks"]),
        )
        for given in module["docstrings"]
    )
    return Module(module["name"], tuple(module["classes"]), tuple(module["functions"]), docstrings)


NOT_LETTERS = re.compile(r"[\W\d_]+")
