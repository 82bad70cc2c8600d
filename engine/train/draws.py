"""What did chance decide for example `index` of epoch `epoch`?  Random numbers that are a function, not a state.

Every draw is a hash of its key, (seed, epoch, index, ...), so it does not depend on which worker, process or batch
makes it, and a resumed run needs no stored generator. The hash is the finaliser of SplitMix64 (Steele, Lea & Flood
2014, "Fast splittable pseudorandom number generators"), vectorised over NumPy arrays.
"""

import zlib
from functools import lru_cache

import numpy as np
import numpy.typing as npt

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


@lru_cache(maxsize=4096)
def stream(name: str, *numbers: int) -> np.uint64:
    """Return the key of one purpose, such as ("mask", seed, epoch): two purposes never share their draws."""
    return bits(np.uint64(zlib.crc32(name.encode())), *([number] for number in numbers)).reshape(-1)[0]


def bits(key: np.uint64, *coordinates: npt.ArrayLike) -> npt.NDArray[np.uint64]:
    """Draw 64 fair bits at each point of the broadcast integer `coordinates`, such as (B, 1) rows by (T,) columns."""
    state = np.asarray(key, np.uint64)
    with np.errstate(over="ignore"):  # arithmetic modulo 2**64 is the point
        for coordinate in coordinates:
            state = _mix(state, np.asarray(coordinate, np.int64).view(np.uint64))
    return state


def uniform(key: np.uint64, *coordinates: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Draw from [0, 1) at each point of `coordinates`."""
    return (bits(key, *coordinates) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def heads(key: np.uint64, tosses: npt.NDArray[np.int64], *coordinates: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Toss `tosses` (N,) fair coins at each of N points and count the heads."""
    words = -(-tosses // 64)
    row = np.repeat(np.arange(len(tosses)), words)
    word = np.arange(len(row)) - np.repeat(np.cumsum(words) - words, words)
    unused = np.maximum(0, 64 * (word + 1) - tosses[row]).astype(np.uint64)
    lot = bits(key, *(coordinate[row] for coordinate in coordinates), word) >> unused
    return np.bincount(row, np.bitwise_count(lot), len(tosses)).astype(np.int64)


def integers(key: np.uint64, bound: npt.ArrayLike, *coordinates: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """Draw whole numbers from 0 to `bound` - 1 (broadcast) at each point of `coordinates`."""
    return (uniform(key, *coordinates) * np.asarray(bound)).astype(np.int64)


def permutation(key: np.uint64, size: int) -> npt.NDArray[np.int64]:
    """Return the numbers 0 to `size` - 1 in random order."""
    return np.random.Generator(np.random.Philox(key=int(key))).permutation(size)


def scattered(key: np.uint64, index: npt.NDArray[np.int64], size: int) -> npt.NDArray[np.int64]:
    """Return where a random order of the numbers 0 to `size` - 1 has its places `index`, without making the order.

    A Feistel network of six rounds permutes the next larger power of four; what falls outside walks on until it is
    inside (Black & Rogaway 2002, "Ciphers with arbitrary finite domains", section 3).
    """
    half = np.uint64(max(1, (int(size - 1).bit_length() + 1) // 2))
    mask = (np.uint64(1) << half) - np.uint64(1)
    found = np.asarray(index, np.int64).view(np.uint64)
    outside = np.ones(found.shape, bool)
    while outside.any():
        left, right = found[outside] >> half, found[outside] & mask
        for number in range(6):
            left, right = right, left ^ (bits(key, number, right.view(np.int64)) >> np.uint64(32) & mask)
        found = found.copy()
        found[outside] = (left << half) | right
        outside = found >= np.uint64(size)
    return found.view(np.int64)


def _mix(state: npt.NDArray[np.uint64], value: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    mixed = (state ^ value) + _GOLDEN
    mixed ^= mixed >> np.uint64(30)
    mixed *= np.uint64(0xBF58476D1CE4E5B9)
    mixed ^= mixed >> np.uint64(27)
    mixed *= np.uint64(0x94D049BB133111EB)
    mixed ^= mixed >> np.uint64(31)
    return mixed
