"""How do a model's answers look on a page?  HTML in the page's own colours, light or dark; every text is escaped."""

import base64
import io
from collections.abc import Iterable, Sequence
from html import escape

import numpy as np
from matplotlib.image import imsave

STYLE = """
.guesses { display: grid; grid-template-columns: max-content 1fr max-content; gap: .3em .8em; align-items: center; }
.guesses .bar { background: var(--color-accent); border-radius: 3px; height: .8em; min-width: 1px; }
.guesses .share { font-variant-numeric: tabular-nums; text-align: right; }
.running { line-height: 1.9; white-space: pre-wrap; overflow-wrap: anywhere; }
.running mark { background: var(--color-accent-soft); border-bottom: 2px solid var(--color-accent); color: inherit;
  border-radius: 3px; padding: .1em .2em; }
.running mark small { font-weight: bold; margin-left: .4em; }
.answer h4 { margin: 1em 0 .4em; }
.tables .scroll { overflow-x: auto; }
.tables .scroll table { border-collapse: collapse; border: 0; font-size: .9em; margin: 0; }
.tables .scroll tr { border: 0; background: none; }
.tables .scroll td, .tables .scroll th { padding: .2em .6em; text-align: left; border: 0;
  border-bottom: 1px solid var(--border-color-primary); }
.tables .scroll td:last-child { white-space: nowrap; }
.answer .scroll .heat td { border: 1px solid var(--border-color-primary); padding: 0; height: 1.5em; min-width: 1.5em;
  background: color-mix(in srgb, var(--color-accent) var(--share), transparent); }
.answer .scroll .heat th { border: 0; font-weight: normal; white-space: nowrap; }
.answer .scroll .heat thead th { writing-mode: vertical-rl; text-align: left; padding: .4em 0; }
.tables .scroll .facts td { white-space: normal; min-width: 8em; vertical-align: top; }
.tables .scroll .facts td:first-child { font-weight: bold; }
@media (max-width: 40rem) {
  .tables .scroll .facts th { display: none; }
  .tables .scroll .facts td { display: block; border: 0; padding: .1em 0; }
  .tables .scroll .facts td:first-child { padding-top: .8em; }
}
.answer .tiles { display: grid; grid-template-columns: max-content repeat(var(--heads), minmax(1.7em, 5em)); gap: 3px;
  align-items: center; justify-items: center; font-size: .85em; }
.answer .tiles > * { margin: 0; }
.answer .tiles > span:first-child, .answer .tiles .row { justify-self: start; padding-right: .5em; }
.answer .tiles button { width: 100%; padding: 0; background: none; border: 1px solid var(--border-color-primary);
  border-radius: 3px; cursor: pointer; }
.answer .tiles button:hover, .answer .tiles button:focus-visible { border-color: var(--color-accent); }
.answer .tiles button.chosen { outline: 2px solid var(--color-accent); }
.drop { display: block; position: relative; padding: .6em; border: 2px dashed var(--border-color-primary);
  border-radius: 6px; text-align: center; cursor: pointer; }
.drop:focus-within, .drop:hover { border-color: var(--color-accent); }
.drop input { position: absolute; inset: 0; opacity: 0; cursor: pointer; }
.drop img { display: block; max-width: 100%; max-height: 16em; margin: 0 auto .4em; }
.drop img[src=""] { display: none; }
.answer .pictures { display: flex; flex-wrap: wrap; gap: .8em; }
.answer .pictures figure { margin: 0; flex: 1 1 10em; max-width: 24em; }
.answer .pictures img { width: 100%; margin: 0; image-rendering: pixelated; }
.answer .pictures.small figure { flex: 0 0 6em; }
.answer .pictures button { width: 100%; padding: 0; background: none; border: 0; cursor: pointer; }
.answer .pictures button:hover, .answer .pictures button:focus-visible { outline: 2px solid var(--color-accent); }
.answer .places td { border: 1px solid var(--border-color-primary); padding: 1em; text-align: center;
  background: color-mix(in srgb, var(--color-accent) var(--share, 0%), transparent); }
.answer .tiles img { display: block; width: 100%; aspect-ratio: 1; image-rendering: pixelated; margin: 0; }
"""
ACCENT = (249, 115, 22)  # the theme's, to be seen on white and on black
Shares = Sequence[tuple[str, float]]  # what is guessed, and how likely the model holds it


def bars(shares: Shares) -> str:
    """Guesses with a bar each, as long as they are likely."""
    rows = "".join(
        f"<span>{escape(name)}</span><span class='bar' style='width: {100 * share:.2f}%'></span>"
        f"<span class='share'>{percent(share)}</span>"
        for name, share in shares
    )
    return f"<div class='guesses'>{rows}</div>"


def highlight(text: str, marks: Iterable[tuple[int, int, str]] = ()) -> str:
    """A text with pieces of it marked: (start, end, what it is called), in order and apart from each other."""
    pieces, done = [], 0
    for start, end, name in marks:
        called = f"<small>{escape(name)}</small>" if name else ""
        pieces.append(f"{escape(text[done:start])}<mark>{escape(text[start:end])}{called}</mark>")
        done = end
    return f"<div class='running'>{''.join(pieces)}{escape(text[done:])}</div>"


def table(head: Sequence[str], rows: Iterable[Sequence[str]], style: str = "") -> str:
    """Rows under a head; `style` is the name of a rule in STYLE."""
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    names = "".join(f"<th>{escape(name)}</th>" for name in head)
    return f"<div class='scroll'><table class='{style}'><tr>{names}</tr>{body}</table></div>"


def heat(names: Sequence[str], shares: Sequence[Sequence[float]]) -> str:
    """A square of shares, one row for each who looks, one column for each who is looked at.

    The largest has the full colour; the figures are the cells' titles.
    """
    most = max(map(max, shares))
    columns = "".join(f"<th>{escape(name)}</th>" for name in names)
    rows = "".join(
        f"<tr><th>{escape(name)}</th>"
        + "".join(
            f"<td style='--share: {100 * share / most:.0f}%' "
            f"title='{escape(name)} → {escape(other)}: {percent(share)}'></td>"
            for other, share in zip(names, row, strict=True)
        )
        + "</tr>"
        for name, row in zip(names, shares, strict=True)
    )
    return f"<div class='scroll'><table class='heat'><thead><tr><th></th>{columns}</tr></thead>{rows}</table></div>"


def heat_tiles(
    names: Sequence[str], rows: Sequence[tuple[str, Sequence[tuple[str, Sequence[Sequence[float]]]]]],
    chosen: tuple[int, int],
) -> str:  # fmt: skip
    """Squares of shares as small pictures under the `names` of their columns, each a button that says its place in
    data-row and data-column. `rows`: the row's name, and (what it is, the square) of each."""
    head = "".join(f"<span>{escape(name)}</span>" for name in names)
    body = "".join(
        f"<span class='row'>{escape(name)}</span>"
        + "".join(
            f"<button type='button' data-row='{row}' data-column='{column}' title='{escape(what)}' "
            f"aria-label='{escape(what)}' class='{'chosen' * ((row, column) == chosen)}'>"
            f"<img alt='' src='data:image/png;base64,{draw_tile(shares)}'></button>"
            for column, (what, shares) in enumerate(tiles)
        )
        for row, (name, tiles) in enumerate(rows)
    )
    return f"<div class='scroll'><div class='tiles' style='--heads: {len(names)}'><span></span>{head}{body}</div></div>"


def draw_tile(shares: Sequence[Sequence[float]]) -> str:
    """A PNG in base64, a pixel for each share; the largest has the full colour, 0 is transparent."""
    found = np.asarray(shares, float)  # (T, T)
    pixels = np.empty((*found.shape, 4), np.uint8)
    pixels[..., :3] = ACCENT
    pixels[..., 3] = (255 * found / found.max()).round()
    drawn = io.BytesIO()
    imsave(drawn, pixels, format="png")
    return base64.b64encode(drawn.getvalue()).decode()


def with_title(title: str, content: str) -> str:
    return f"<h4>{escape(title)}</h4>{content}"


def percent(share: float) -> str:
    return f"{100 * share:.1f} %"
