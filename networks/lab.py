"""Which lightness and which colour does a pixel have?  sRGB to CIE Lab and back (D65, 2°), on whole arrays.

L is the lightness, 0 to 100; a goes from green to red and b from blue to yellow, and 0 and 0 are grey. Of what sRGB can
show, a lies between -86 and 98, and b between -108 and 94. The figures are those of `skimage.color`.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]  # (..., 3), sRGB

WHITE = np.array([0.95047, 1.0, 1.08883])
TO_XYZ = np.array([[0.412453, 0.357580, 0.180423], [0.212671, 0.715160, 0.072169], [0.019334, 0.119193, 0.950227]])
KNEE = 0.008856  # below it Lab is a straight line
LINEAR = np.linspace(0, 1, 256)
LINEAR = np.where(LINEAR > 0.04045, ((LINEAR + 0.055) / 1.055) ** 2.4, LINEAR / 12.92).astype(np.float32)


def rgb_to_lab(pixels: Pixels) -> Floats:
    """Pixels (..., 3), red, green and blue, as L, a and b (..., 3)."""
    xyz = LINEAR[pixels] @ (TO_XYZ / WHITE[:, None]).T.astype(np.float32)
    x, y, z = np.moveaxis(np.where(xyz > KNEE, np.cbrt(xyz), 7.787 * xyz + 16 / 116), -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1).astype(np.float32)


def lab_to_rgb(lab: npt.NDArray[Any]) -> Pixels:
    """The pixels (..., 3) nearest to L, a and b (..., 3); a colour that no screen shows loses what is too much."""
    lightness, a, b = np.moveaxis(lab.astype(np.float32), -1, 0)
    y = (lightness + 16) / 116
    f = np.stack([y + a / 500, y, np.maximum(0, y - b / 200)], axis=-1)
    xyz = np.where(f > 0.2068966, f**3, (f - 16 / 116) / 7.787)
    rgb = (xyz * WHITE.astype(np.float32)) @ np.linalg.inv(TO_XYZ).T.astype(np.float32)
    rgb = np.clip(rgb, 0, 1)
    rgb = np.where(rgb > 0.0031308, 1.055 * rgb ** (1 / 2.4) - 0.055, 12.92 * rgb)
    return np.rint(255 * rgb).astype(np.uint8)
