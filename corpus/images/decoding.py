"""What does a file hold as a picture?  Pixels in sRGB, whatever it is: CMYK, grey, 16-bit, transparent, turned.

- CMYK and YCCK become red, green and blue without a colour profile. Grey is repeated three times.
- Of 16 bits the upper eight are taken. Pixels of 32 bits, whose range nobody knows, are refused.
- What is transparent lies on white.
- A picture is turned as its EXIF orientation says.
- Of an animation the first frame is taken.
"""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from PIL import ExifTags, Image, JpegImagePlugin, UnidentifiedImageError

from corpus.images.pictures import Pixels

DECODING = 1  # of this file: a store is tied to it
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "PPM", "AVIF")  # EPS and WMF would start programs
SAMPLED = {0: "4:4:4", 1: "4:2:2", 2: "4:2:0"}  # how often colour is there: for each pixel, two, or four
SIXTEEN = ("I;16", "I;16L", "I;16B", "I;16N")
TOO_LARGE = "more pixels than max_megapixels allows"
MOST_MEGAPIXELS = 178  # Pillow itself refuses to open more


class Unreadable(Exception):
    """What is no picture; `reason` is what such files are counted under."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True)
class Header:
    """What a file says of its picture before it is decoded."""

    height: int  # as it will be seen, turned
    width: int
    form: str  # its format, such as "JPEG 4:2:0"
    remarks: tuple[str, ...]  # what becomes of it that is not plain


def read_header(content: bytes) -> Header:
    """Errors: Unreadable."""
    with opened(content) as picture:
        width, height = picture.size
        turned = orientation(picture)
        if turned >= 5:  # it lies on its side
            width, height = height, width
        return Header(height, width, form_of(picture), tuple(remarks(picture, turned)))


def decode(content: bytes, least: int = 0) -> Pixels:
    """The pixels (H, W, 3). `least`: a JPEG is decoded as small as its shorter side still has so many; 0: whole.

    Errors: Unreadable.
    """
    with opened(content) as picture:
        if least and picture.format in ("JPEG", "MPO"):
            picture.draft(None, (least, least))
        return in_colour(picture)


@cache
def known_formats() -> list[str]:
    """Those of FORMATS that this Pillow opens."""
    Image.init()
    return [name for name in FORMATS if name in Image.OPEN]


@contextmanager
def opened(content: bytes) -> Iterator[Any]:
    """The picture of a file, not decoded yet. What Pillow raises while it is looked at is Unreadable."""
    if not content:
        raise Unreadable("empty")
    try:
        with (
            warnings.catch_warnings(action="ignore"),  # on odd tags
            Image.open(io.BytesIO(content), formats=known_formats()) as picture,
        ):
            yield picture
    except Unreadable:
        raise
    except Image.DecompressionBombError as error:
        raise Unreadable(TOO_LARGE) from error
    except UnidentifiedImageError as error:
        raise Unreadable("no picture of a known format") from error
    except Exception as error:  # Pillow raises what its decoders meet: struct.error, SyntaxError, EOFError ...
        raise Unreadable("truncated or damaged") from error


def in_colour(picture: Any) -> Pixels:
    """Decode an opened picture as the head of this file says."""
    turned = orientation(picture)
    if picture.mode in ("I", "F"):
        raise Unreadable("pixels of 32 bits")
    if picture.mode in SIXTEEN:
        grey = (np.asarray(picture).astype(np.uint16) >> 8).astype(np.uint8)
        picture = Image.fromarray(grey)
    elif picture.has_transparency_data:
        seen = picture.convert("RGBA")
        picture = Image.new("RGB", seen.size, "white")
        picture.paste(seen, mask=seen.getchannel("A"))
    if picture.mode != "RGB":
        picture = picture.convert("RGB")
    if turned != 1:
        picture = picture.transpose(TURNS[turned])
    return np.array(picture)


TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def orientation(picture: Any) -> int:
    """How EXIF says a picture is turned, 1 to 8; 1 where it says nothing, or nonsense."""
    try:
        said = picture.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # damaged EXIF, as a picture without it
        return 1
    return said if said in TURNS else 1


def form_of(picture: Any) -> str:
    if picture.format == "JPEG" and picture.mode == "YCbCr":
        return "JPEG"
    if picture.format in ("JPEG", "MPO") and picture.mode == "RGB":
        return f"JPEG {SAMPLED.get(JpegImagePlugin.get_sampling(picture), 'of another sampling')}"
    return f"{picture.format}"


def remarks(picture: Any, turned: int) -> Iterator[str]:
    if picture.mode in ("L", "LA", "1", *SIXTEEN):
        yield "grey"
    if picture.mode in SIXTEEN:
        yield "of 16 bits, of which the upper eight are taken"
    if picture.mode == "CMYK":
        yield "CMYK, made RGB without a colour profile"
    if picture.has_transparency_data:
        yield "transparent, laid on white"
    if turned != 1:
        yield "turned as EXIF says"
    if getattr(picture, "n_frames", 1) > 1 and picture.format != "MPO":
        yield "animated or of several pages, of which the first is taken"


def shrunk(pixels: Pixels, shorter: int) -> Pixels:
    """The picture in less pixels, `shorter` of them on its shorter side."""
    height, width = pixels.shape[:2]
    scale = shorter / min(height, width)
    size = max(shorter, round(width * scale)), max(shorter, round(height * scale))
    return np.array(Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC))


def encode(pixels: Pixels) -> bytes:
    """The pixels as a PNG."""
    written = io.BytesIO()
    Image.fromarray(pixels).save(written, "PNG")
    return written.getvalue()
