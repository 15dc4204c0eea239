"""What images show, whatever file they are in: copies that were saved anew, made smaller or cut a little."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Annotated

import cv2
import imagehash
import msgspec
import numpy as np
from PIL import Image

from distill.datasets.coco import Coco, Record
from distill.datasets.images import hash_bytes, read_record
from distill.files import read_json
from distill.program import in_threads

SIDE = 16  # of the perceptual hash: so many bits, squared


class Fingerprint(msgspec.Struct):
    """Of an image: a digest of its decoded pixels, and its perceptual hash, both hexadecimal."""

    id: int
    pixels: str
    look: Annotated[str, msgspec.Meta(pattern=f"^[0-9a-f]{{{SIDE**2 // 4}}}$")]


class _File(msgspec.Struct):
    images: list[Fingerprint]


def fingerprints(dataset: Coco, root: Path) -> Iterator[Fingerprint]:
    """Of all images of a dataset, in its order. Raises UserError as `read_record`."""
    return in_threads(partial(_fingerprint, root), dataset["images"], f"fingerprints of {root}", chunk=8)


def read_fingerprints(path: str | Path) -> list[Fingerprint]:
    """Raises UserError where the file is damaged."""
    return msgspec.convert(read_json(path, like=_File), _File).images


def _fingerprint(root: Path, image: Record) -> Fingerprint:
    pixels = read_record(root, image)
    digest = hash_bytes(np.array(pixels.shape, "<i4").tobytes() + pixels.tobytes())
    grey = cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY)
    small = cv2.resize(grey, (4 * SIDE, 4 * SIDE), interpolation=cv2.INTER_AREA)
    return Fingerprint(image["id"], digest, str(imagehash.phash(Image.fromarray(small), SIDE)))


def distances(some: np.ndarray, others: np.ndarray, block: int = 512) -> Iterator[tuple[int, np.ndarray]]:
    """For blocks of `some` looks (n, words), the first row and the numbers of bits (≤ block, m) in which they
    differ from `others` (m, words)."""
    for start in range(0, len(some), block):
        rows = some[start : start + block, None]
        parts = (others[at : at + 8 * block] for at in range(0, len(others), 8 * block))
        bits = [np.bitwise_count(rows ^ part).sum(axis=-1, dtype=np.uint16) for part in parts]
        yield start, np.concatenate(bits, axis=1) if bits else np.empty((len(rows), 0), np.uint16)


def looks(found: list[Fingerprint]) -> np.ndarray:
    """(n, words) uint64."""
    data = b"".join(bytes.fromhex(one.look) for one in found)
    return np.frombuffer(data, ">u8").reshape(len(found), SIDE**2 // 64).astype(np.uint64)
