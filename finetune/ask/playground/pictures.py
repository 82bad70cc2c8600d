"""How does a picture come to the page, and what do models make of it?  It is read and made smaller by the browser.

So nothing is uploaded (`finetune.ask.playground.guard` refuses that): the box of a picture holds it as a small PNG in a
data: address, whatever the file was.
"""

import base64
import binascii
import importlib.util
import io
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from finetune.ask.playground.gallery import PIXELS, Gallery, Near
from finetune.ask.playground.markup import percent, with_title
from finetune.ask.playground.models import LoadedModel
from networks.lab import Pixels, lab_to_rgb, rgb_to_lab

LONGEST = 512  # pixels of a side, of a picture on the page
PNG = "data:image/png;base64,"
SHOWN = 8  # near pictures
EXAMPLE = ("skimage", "data/chelsea.png")  # a picture that an installed package brings
DROP = """<label class="drop"><input type="file" accept="image/*"><img alt="" src="${value}">
<span>Drop a picture here, or choose one</span></label>"""
TAKE = f"""const take = file => file && createImageBitmap(file).then(picture => {{
  const factor = Math.min(1, {LONGEST} / Math.max(picture.width, picture.height));
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(factor * picture.width));
  canvas.height = Math.max(1, Math.round(factor * picture.height));
  const pen = canvas.getContext("2d");
  pen.fillStyle = "white";
  pen.fillRect(0, 0, canvas.width, canvas.height);
  pen.drawImage(picture, 0, 0, canvas.width, canvas.height);
  return canvas.toDataURL("image/png");
}}).catch(() => "no picture").then(found => {{ props.value = found; trigger("input"); }});
element.addEventListener("change", event => take(event.target.files[0]));
element.addEventListener("dragover", event => event.preventDefault());
element.addEventListener("drop", event => {{ event.preventDefault(); take(event.dataTransfer.files[0]); }});"""

PICK = """element.addEventListener("click", event => {
  const picked = event.target.closest("button[data-pick]");
  if (picked) trigger("click", {picture: picked.querySelector("img").src});
});"""


def read_picture(address: str | None) -> Pixels:
    """The pixels (H, W, 3) of what a box holds. Errors: ValueError for what is no picture."""
    if not address:
        raise ValueError("There is no picture yet: drop one, or choose one")
    try:
        content = base64.b64decode(address.removeprefix(PNG), validate=True)
        with Image.open(io.BytesIO(content), formats=("PNG",)) as picture:
            if max(picture.size) > LONGEST:
                raise OSError("too large")
            return np.array(picture.convert("RGB"))
    except (OSError, binascii.Error, SyntaxError) as error:
        raise ValueError("That is no picture that the browser can read: choose another file") from error


def write_picture(pixels: Pixels) -> str:
    """A picture as a data: address."""
    written = io.BytesIO()
    Image.fromarray(pixels).save(written, "PNG")
    return PNG + base64.b64encode(written.getvalue()).decode()


def example_picture() -> str:
    """What stands in a box at first; "" where the package is not installed."""
    package, name = EXAMPLE
    found = importlib.util.find_spec(package)
    path = Path(found.origin).parent / name if found and found.origin else Path()
    if not path.is_file():
        return ""
    with Image.open(path) as picture:
        picture.thumbnail((LONGEST // 2, LONGEST // 2))
        return write_picture(np.array(picture.convert("RGB")))


def show_pictures(shown: Sequence[tuple[str, Pixels]], small: bool = False, pick: bool = False) -> str:
    """Pictures beside each other, each with its caption; `pick`: each is a button that puts it into the box."""
    figures = ""
    for caption, pixels in shown:
        picture = f"<img alt='{escape(caption)}' src='{write_picture(pixels)}'>"
        content = f"<button type='button' data-pick title='Ask for this one'>{picture}</button>" if pick else picture
        figures += f"<figure>{content}<figcaption>{escape(caption)}</figcaption></figure>"
    return f"<div class='pictures{' small' * small}'>{figures}</div>"


def color(loaded: LoadedModel, address: str, temperature: float) -> Iterator[str]:
    """A picture without its colours, in the colours of the model, and as it is."""
    model: Any = loaded.model
    pixels = read_picture(address)
    grey = lab_to_rgb(rgb_to_lab(pixels) * np.array([1, 0, 0], np.float32))
    yield show_pictures(
        [("what the model sees", grey), ("its colours", model.color(pixels, temperature)), ("as it is", pixels)]
    )


@torch.inference_mode()
def guess_place(loaded: LoadedModel, address: str, number: float) -> Iterator[str]:
    """Where the model holds that a patch of a picture lies, beside the one in the middle: a share for each place.

    `number`: the patch, 1 to 8, row by row.
    """
    model: Any = loaded.model
    size = int(model.settings["patch_size"])
    grid = cut_patches(read_picture(address), size)  # (9, P, P, 3): row by row, the fifth is the middle
    around = np.delete(grid, 4, 0)
    chosen = int(number) - 1
    patches = torch.from_numpy(np.stack([grid[4], around[chosen]])).to(model.device)
    logits = model(patches, torch.tensor([[0, 1]], device=model.device))["place"][0]
    yield show_pictures([("the middle", grid[4]), (f"patch {chosen + 1}", around[chosen])]) + show_places(
        logits.float().softmax(-1).tolist(), chosen
    )


def cut_patches(pixels: Pixels, size: int) -> Pixels:
    """The 3 x 3 patches in the middle of a picture (9, P, P, 3), half a patch apart; of a picture made so large that
    they take two thirds of its shorter side."""
    step = size + size // 2
    room = 2 * step + size
    factor = 1.5 * room / min(pixels.shape[:2])
    height, width = (max(room, round(length * factor)) for length in pixels.shape[:2])
    scaled = np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.LANCZOS))
    top, left = (height - room) // 2, (width - room) // 2
    corners = [(top + row * step, left + column * step) for row in range(3) for column in range(3)]
    return np.stack([scaled[row : row + size, column : column + size] for row, column in corners])


def show_places(shares: Sequence[float], right: int) -> str:
    """The eight places around the middle, as deep in colour as they are likely; the right one is marked."""
    cells = [
        f"<td style='--share: {100 * share:.0f}%'>{'<strong>✓ ' * (place == right)}{percent(share)}"
        f"{'</strong>' * (place == right)}</td>"
        for place, share in enumerate(shares)
    ]
    cells.insert(4, "<td>the middle</td>")
    rows = "".join(f"<tr>{''.join(cells[first : first + 3])}</tr>" for first in (0, 3, 6))
    return f"<table class='places'>{rows}</table>"


def find_near_pictures(loaded: LoadedModel, address: str, stage: str) -> Iterator[str]:
    """The pictures of a collection that are nearest to one, by a stage of the trunk, and by raw pixels.

    While the collection is looked at for the first time, how far that is.
    """
    pixels, gallery = read_picture(address), loaded.gallery
    if stage not in gallery.trunk.stages:
        raise ValueError(f"{loaded.name} has no {stage} (its stages: {', '.join(gallery.trunk.stages)})")
    for done, number in gallery.look():
        yield f"<p>{loaded.name} looks at the pictures for the first time: {done:,} of {number:,}</p>"
    square = gallery.square_of(pixels)
    yield show_pictures([("what the model sees", square)], small=True) + "".join(
        with_title(f"The nearest by {by}", show_near(gallery.find_near(square, by, SHOWN))) for by in (stage, PIXELS)
    ) + describe_gallery(gallery)  # fmt: skip


def show_near(found: Sequence[Near]) -> str:
    """Near pictures, the nearest one first, each with its class and the cosine."""
    captions = [f"{near.label} {near.cosine:.3f}".strip() for near in found]
    return show_pictures(list(zip(captions, (near.square for near in found), strict=True)), small=True, pick=True)


def describe_gallery(gallery: Gallery) -> str:
    """Among which pictures it was looked, and how."""
    number, there = len(gallery.squares), len(gallery.pictures)
    among = f"{number:,} pictures" if number == there else f"{number:,} of {there:,} pictures, drawn by chance"
    return (
        f"<p>Among {among}, each with its class, if it has one, and the cosine of its features, which are means over "
        "all places. A click on a picture asks for those that are near to it.</p>"
    )
