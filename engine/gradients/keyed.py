"""Random numbers fixed by a key: the raw bits of a PCG64 generator seeded by the digest of names and numbers.

The same on any device and in any order of asking, so that a layer is treated alike whatever stands beside it.
"""

import hashlib

import numpy as np


def keyed_generator(*key: object) -> np.random.PCG64:
    """A bit generator whose stream depends on `key` alone."""
    digest = hashlib.sha256("\x1f".join(str(part) for part in key).encode()).digest()
    return np.random.PCG64(int.from_bytes(digest[:16], "big"))


def signs(count: int, *key: object) -> np.ndarray:
    """`count` independent signs, float32 of ±1, fixed by `key`."""
    words = keyed_generator(*key).random_raw(-(-count // 64))
    bits = np.unpackbits(np.atleast_1d(words).astype("<u8").view(np.uint8))[:count]
    return bits.astype(np.float32) * 2 - 1


def coins(count: int, share: float, *key: object) -> np.ndarray:
    """`count` independent booleans, each true with probability `share` (to within 2^-32), fixed by `key`."""
    words = np.atleast_1d(keyed_generator(*key).random_raw(-(-count // 2)))
    return words.astype("<u8").view("<u4")[:count] < np.uint64(round(share * 2**32))
