"""Is the default corpus the same everywhere, read without importing, and without a sentence in two modules?"""

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from corpus.text import docstrings, names
from corpus.text.docstrings import Docstring, Module
from corpus.text.document import draw
from corpus.text.numpydoc import Parameter
from corpus.text.sentences import sentences

ROOT = Path(docstrings.__file__).parents[2]

IN_A_FRESH_PROCESS = """
import sys
from corpus.text import docstrings
docstrings.PACKAGES = {"evaluate": "evaluate", "accelerate": "accelerate", "torch.fx": "torch"}
del docstrings.PACKAGES["torch.fx"]
print(docstrings.fingerprint())
print([name for name in ("numpy", "torch", "transformers", "pandas", *docstrings.PACKAGES) if name in sys.modules])
"""


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package that cannot be imported; returns a function that writes a file of it."""
    home = tmp_path / "unlikely"
    home.mkdir()
    (home / "__init__.py").write_text('"""The front door of an unlikely package."""\nraise RuntimeError("imported")\n')
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(docstrings, "PACKAGES", {"unlikely": "numpy"})  # any distribution that has a version
    docstrings.read.cache_clear()
    yield lambda name, text: (home / name).parent.mkdir(exist_ok=True) or (home / name).write_text(text)
    docstrings.read.cache_clear()


def test_a_module_is_a_document(package):
    package("sums.py", '"""What all sums share."""\ndef add(a, b):\n    """Add two numbers.\n\n    Args:\n'
            '        a (int): the first of the numbers\n    """\n')  # fmt: skip
    assert [(document.id, document.paragraphs) for document in docstrings.documents()] == [
        ("docstrings:unlikely", ("The front door of an unlikely package.",)),
        (
            "docstrings:unlikely.sums",
            ("What all sums share.", "Add two numbers.", "a : int", "the first of the numbers"),
        ),
    ]


def test_definitions_are_found_with_their_signatures(package):
    package("things.py", '''
class Thing:
    """A thing with two parts."""
    def __init__(self, left, *, right=None): pass
    @classmethod
    def make(cls, **options):
        """Make a thing out of nothing."""
        def hidden():
            """This is nobody's business at all."""
if True:
    class Field:
        """A row of two columns."""
        name: str
        size: int = 0
''')  # fmt: skip
    module = docstrings.read().modules[1]
    assert module.classes == ("Thing", "Field")
    assert module.functions == ("__init__", "make")
    assert {found.qualname: found.signature for found in module.docstrings} == {
        "Thing": ("left", "right"),
        "Thing.make": ("options",),
        "Field": ("name", "size"),
    }


def test_tests_and_broken_files_are_left_out(package):
    package("tests/helpers.py", '"""Helpers of the tests."""')
    package("test_sums.py", '"""Tests of the sums."""')
    package("template.py", '"""A template for code."""\nclass {{ name }}:\n')
    assert [document.id for document in docstrings.documents()] == ["docstrings:unlikely"]


def test_of_copies_the_one_stays_that_is_held_out_last(package):
    for name in "abcdef":
        package(f"{name}.py", f'"""This stands in every file. And only in {name}{name}{name}."""\ndef f():\n'
                f'    """A line of its own for {name}{name}{name}."""\n')  # fmt: skip
    copies = [document for document in docstrings.documents() if "every file" in " ".join(document.paragraphs)]
    assert len(copies) == 1
    assert draw(copies[0].id) == max(draw(f"docstrings:unlikely.{name}") for name in "abcdef")


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setattr(docstrings, "PACKAGES", {"unlikely": "an-unlikely-distribution"})
    with pytest.raises(ValueError, match=r"an-unlikely-distribution.*pip install"):
        docstrings.origin()


def test_the_cache_gives_back_what_was_read(package):
    package(
        "sums.py",
        '"""What all sums share."""\ndef add(a):\n    """Add.\n\n    Args:\n        a (int): one of them all\n    """',
    )
    first = docstrings.read()
    docstrings.read.cache_clear()
    assert docstrings.read() == first
    assert len(list(docstrings.CACHE.iterdir())) == 1


def test_two_processes_read_the_same_and_import_nothing(tmp_path):
    seen = set()
    for number in range(2):
        folder = tmp_path / str(number)
        folder.mkdir()
        env = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": str(number)}
        done = subprocess.run(
            [sys.executable, "-c", IN_A_FRESH_PROCESS], cwd=folder, env=env, capture_output=True, text=True, check=True
        )
        seen.add(done.stdout)
    (only,) = seen
    stamp, imported = only.split("\n", 1)
    assert len(stamp) == 64
    assert imported.strip() == "[]"


@pytest.mark.slow
def test_no_sentence_of_the_default_corpus_stands_in_two_documents(monkeypatch):
    monkeypatch.chdir(ROOT)  # where the cache is
    homes: Counter[bytes] = Counter()
    for module in docstrings.read().modules:
        found = set()
        for docstring in module.docstrings:
            for block in docstring.blocks:
                text = block.description if isinstance(block, Parameter) else block
                found |= {docstrings.wording(sentence) for sentence in sentences(text)}
        homes.update(found)
    assert len(homes) > 100_000
    assert max(homes.values()) == 1


def test_a_name_has_its_nearest_meaning():
    docstring = Docstring("f", ("axis", "dict"), ())
    module = Module("numpy.linalg", ("Solver",), ("norm", "axis"), (docstring,))
    known = names.namespace([module, Module("torch", (), ("relu",), ())])
    asked = ("axis", "dict", "int", "numpy.linalg", "linalg.Solver", "np.norm", "relu", "self.norm", "nothing")
    assert [known.kind(name, module, docstring) for name in asked] == [
        *("parameter", "parameter", "type", "module", "class", "function", None, None, None)
    ]
    assert names.tag("Use `np.norm` or `None` with `axis`.", module, docstring, known) == (
        ["Use", "np", ".", "norm", "or", "None", "with", "axis", "."],
        ["O", "B-function", "I-function", "I-function", "O", "O", "O", "B-parameter", "O"],
    )
    assert names.tag("Use `nothing` here.", module, docstring, known) is None
    assert names.tag("Use n_jobs here.", module, docstring, known) is None
