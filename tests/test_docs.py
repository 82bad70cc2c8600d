"""Does every command that the pages, the recipes and the launch configs show have a program that takes it?

Each is parsed by the program's own parser, and the program stops there.
"""

import ast
import importlib
import re
import shlex
import shutil
import subprocess
import sys
import threading
from functools import partial
from html import unescape
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import tyro
from accelerate.commands.launch import launch_command_parser

from cloze.command import COMMANDS
from engine.run.recipe import read
from engine.run.recipe_help import list_sections

ROOT = Path(__file__).parents[1]
PACKAGES = ("benchmarks", "compare", "corpus", "demo", "engine", "finetune", "pretrain", "probe", "tokenizer")
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^```(\w*)(?: title=\"([^\"]+)\")?\n(.*?)^```", re.MULTILINE | re.DOTALL)
STARTS = "python -m|accelerate launch|cloze"
PYTHON = re.compile(rf"(?:\w+=\S+ )*({STARTS}) .*")
OTHERS = re.compile(
    r"make [a-z./ =0-9]+|export CLOZE_DATA=\S+|source \.venv/bin/activate|pip install (-r \S+|\.|\"\.\[\w+\]\")"
)
STANDS_FOR = {"K": "0", "HOST": "10.0.0.1", "N": "4", "local|ray|slurm": "ray"}
RECIPES = {"probe": "recipes/probe/words.yaml", "compare": "recipes/table-1/table-1.yaml",
           "tokenizer": "recipes/tokenizer/bert-wordpiece.yaml", "finetune": "recipes/finetune/glue.yaml",
           **dict.fromkeys(("plan", "prepare", "pretrain"), "recipes/pretrain/bert-mini.yaml")}  # fmt: skip
SHOWN = ("--help", "--version", "recipes")  # what cloze answers itself
SEARCHED = {"resume": "resume", "checkpoint": "continue", "distributed": "many-machines", "generate": "evaluate",
            "license": "share", "notebook": "python", "learning+rate": "recipes"}  # fmt: skip
MODULES = {command.name: command.module for command in COMMANDS}


class Parsed(Exception):
    """The program has understood its command."""


def of_pages():
    """(page, command) for each line of each page's command blocks."""
    for page in PAGES:
        for language, _, block in FENCE.findall(page.read_text(encoding="utf-8")):
            if language in ("", "bash"):
                yield from ((page.name, line.partition("  #")[0].strip()) for line in block.splitlines() if line)


def in_words():
    """(page, command) for each whole command that stands within a sentence."""
    for page in PAGES:
        text = FENCE.sub("", page.read_text(encoding="utf-8"))
        for command in re.findall(r"`((?:python -m|accelerate launch[^`]* -m|cloze) [^`]+)`", text):
            yield page.name, " ".join(command.split())


def of_headers():
    """(file, command) for each command in the head of a recipe or a launch config."""
    for path in sorted([*(ROOT / "recipes").rglob("*.yaml"), *(ROOT / "accelerate_configs").glob("*.yaml")]):
        head = re.sub(r"\\\n# *", "", path.read_text(encoding="utf-8"))
        for line in re.findall(rf"^# +((?:\w+=\S+ )?(?:{STARTS}) .*)$", head, re.MULTILINE):
            yield path.name, line


def of_docstrings():
    """(file, command) for each command in the head of a program's file, as the reference shows it."""
    for path in sorted(path for folder in PACKAGES for path in (ROOT / folder).rglob("*.py")):
        source = path.read_text(encoding="utf-8")
        if "@program\n" in source:
            head = ast.get_docstring(ast.parse(source)) or ""
            for line in re.findall(rf"^    ((?:{STARTS}) .*)$", head, re.MULTILINE):
                yield str(path.relative_to(ROOT)), line.partition("   ")[0]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with the recipes and configs of the repository, and with the recipes that the pages write."""
    folder = tmp_path_factory.mktemp("place")
    for name in ("recipes", "accelerate_configs"):
        shutil.copytree(ROOT / name, folder / name)
    for page in PAGES:
        for language, title, block in FENCE.findall(page.read_text(encoding="utf-8")):
            if title:
                assert language == "yaml"
                (folder / title).write_text(block)
    return folder


def parse(module_name, argv, monkeypatch):
    """Let the program parse its command. Errors: what its parser raises."""
    name = f"{module_name}.__main__" if hasattr(importlib.import_module(module_name), "__path__") else module_name
    # The program that goes by this name may live in a room of its own.
    module = importlib.import_module(importlib.import_module(name).main.__module__)

    def stopping(parser):
        def parse_and_stop(*arguments, **options):
            parser(*arguments, **options)
            raise Parsed

        return parse_and_stop

    if getattr(module, "read", None) is read:
        monkeypatch.setattr(module, "read", stopping(read))
    else:
        monkeypatch.setattr(tyro, "cli", stopping(tyro.cli))
    with pytest.raises(Parsed):
        module.main.__wrapped__(argv)


def words_of(command):
    """The command's words, with what stands for something said; alternatives and options in brackets are left out."""
    words = shlex.split(re.sub(r"\[[^\]]*\]", "", command))
    recipe = RECIPES.get(re.search(r"(?:-m|cloze) ([\w-]+)", command)[1])
    words = [recipe if re.fullmatch(r"RECIPE(\.yaml)?|\S*/NAME\.yaml", word) else word for word in words]
    return [STANDS_FOR.get(word, word) for word in words if "=" not in word or word.startswith("-")]


def understand(command, monkeypatch):
    """A command as its shell, its launcher and its program read it."""
    if PYTHON.fullmatch(command):
        words = words_of(command)
        if words[:2] == ["accelerate", "launch"]:
            asked = launch_command_parser().parse_args(words[2:])
            assert Path(asked.config_file).is_file(), f"no {asked.config_file}"
            assert asked.module
            words = ["python", "-m", asked.training_script, *asked.training_script_args]
        if words[0] == "cloze":
            words = ["python", "-m", *words] if words[1] in SHOWN else ["python", "-m", MODULES[words[1]], *words[2:]]
        if words[2] != "cloze" and words[3:] != ["--help"]:
            parse(words[2], words[3:], monkeypatch)
    elif command.startswith("make"):
        subprocess.run(["make", "--dry-run", *command.split()[1:]], cwd=ROOT, check=True, capture_output=True)
    else:
        assert OTHERS.fullmatch(command), f"no such command is known: {command}"
        for name in re.findall(r"requirements\S*", command):
            assert (ROOT / name).is_file()


@pytest.mark.parametrize(("where", "command"), sorted({*of_pages(), *of_headers(), *of_docstrings()}))
def test_a_command_is_understood(where, command, place, monkeypatch):
    monkeypatch.chdir(place)
    understand(command, monkeypatch)


@pytest.mark.parametrize(("where", "command"), sorted(set(in_words())))
def test_a_command_in_a_sentence_names_a_program(where, command):
    if command.startswith("cloze "):
        assert command.split()[1] in (*MODULES, *SHOWN, "COMMAND")
        return
    name = re.search(r"-m (\S+)", command)[1]
    module = importlib.import_module(name)
    assert hasattr(module, "main") or importlib.util.find_spec(f"{name}.__main__")


def test_the_blocks_hold_commands():
    """Otherwise the tests above would have nothing to try."""
    found = [command for _, command in of_pages()]
    assert sum(command.startswith("accelerate launch") for command in found) > 8
    assert sum(command.startswith("cloze ") for command in found) > 25


def named_tests(path):
    """The names of a file's tests, as pytest calls them."""
    found = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        inside = node.body if isinstance(node, ast.ClassDef) else [node]
        where = f"{node.name}::" if isinstance(node, ast.ClassDef) else ""
        found |= {where + one.name for one in inside if isinstance(one, ast.FunctionDef)}
    return found


def test_every_test_that_a_page_names_is_there():
    named = [test for page in PAGES for test in re.findall(r"(tests/[\w/]+\.py)(?:::([\w:]+))?", page.read_text())]
    assert sum(bool(test) for _, test in named) > 100
    assert not [f"{file}::{test}" for file, test in named if not (ROOT / file).is_file()]
    assert not [f"{file}::{test}" for file, test in named if test and test not in named_tests(ROOT / file)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_page_links_to_is_there(page):
    """Also the README's pictures and links, which the site's own check does not see."""
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    for link in re.findall(r"\]\((?!https?:|#)([^)#\s]+)", text):
        made = "reference/" in link and not (ROOT / "docs/reference").exists()  # when the site is built
        assert made or (page.parent / link).exists(), link


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The built site's folder."""
    pytest.importorskip("mkdocs")
    folder = tmp_path_factory.mktemp("docs") / "site"
    build = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", str(folder)]
    done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.slow
def test_the_site_is_built_without_a_warning(site):
    reference = (site / "reference/pretrain/index.html").read_text(encoding="utf-8")
    assert "pretrain.objectives.bert" in reference
    for page in site.rglob("*.html"):
        linked = re.findall(r'(?:src|href)="(https?://[^"/]+)', page.read_text(encoding="utf-8"))
        scripts = re.findall(r'<(?:script|img)[^>]+src="https?:|<link[^>]+stylesheet[^>]+"https?:', page.read_text())
        assert not scripts, (page, linked)


@pytest.mark.slow
def test_the_reference_has_every_option_with_its_meaning(site):
    _, *parts = (site / "reference/commands/index.html").read_text(encoding="utf-8").split('<h2 id="cloze-')
    said = {part.partition('"')[0]: unescape(re.sub(r"<[^>]+>", "", part)) for part in parts}
    for command in COMMANDS:
        program = importlib.import_module(importlib.import_module(command.module).main.__module__)
        for section in list_sections(program.Options) if hasattr(program, "Options") else ():
            for key in section.keys:
                assert key.meaning, f"cloze {command.name}: {key.name} says nothing"
                assert key.meaning in said[command.name]


@pytest.mark.slow
def test_a_search_finds_what_people_look_for(site, browser):
    """The page that answers comes first."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=site))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        page = browser.new_page()
        for words, answer in SEARCHED.items():
            page.goto(f"http://127.0.0.1:{server.server_port}/?q={words}")
            page.locator(".md-search-result__item").first.wait_for()
            found = page.locator(".md-search-result__item > .md-search-result__link").first.get_attribute("href")
            assert f"/how-to/{answer}/" in found, words
    finally:
        server.shutdown()
        server.server_close()
