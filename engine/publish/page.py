"""How does a page look?  A template beside the file that fills it, on what all pages share:
`engine/publish/page.html`."""

from pathlib import Path

from jinja2 import ChoiceLoader, Environment, FileSystemLoader, PrefixLoader, StrictUndefined, Template


def template(path: Path) -> Template:
    """The page at `path`, which may build on those here: `{% extends "engine/publish/page.html" %}`. What it is not
    given is an error, and in HTML what it is given is escaped."""
    rooms = ChoiceLoader(
        [FileSystemLoader(path.parent), PrefixLoader({"engine": FileSystemLoader(Path(__file__).parents[1])})]
    )
    escaped = path.suffix == ".html"
    pages = Environment(
        autoescape=escaped, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined, loader=rooms
    )
    return pages.get_template(path.name)
