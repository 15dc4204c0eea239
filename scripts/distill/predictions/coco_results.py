"""Files of COCO results, which hold millions of records: read a block at a time, gathered, selected from.

Blocks are lines as `files.write_json` writes them, one record each. A file in another layout is read whole.
"""

import itertools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
import numpy as np

from distill.datasets.checks import MAX_ID, Id, Number
from distill.datasets.coco import Coco
from distill.files import open_file, parse_json, read_json, reason
from distill.program import UserError

T = TypeVar("T")
BLOCK = 1 << 18  # bytes


class Prediction(msgspec.Struct, gc=False):
    """One record. bbox: x, y, w, h; keypoints: x, y, score triplets, flat; id: of the fixed box, or −1."""

    image_id: Id
    category_id: Id
    bbox: tuple[Number, Number, Number, Number]
    score: Number
    keypoints: tuple[Number, ...] | None = None
    id: Annotated[int, msgspec.Meta(ge=-1, le=MAX_ID)] = -1


class Agreement(msgspec.Struct, gc=False):
    """How far the views agree, as `agreement` measures it. views, overlap, score: of a box; spread, entropy:
    of each keypoint."""

    views: Number | None = None
    overlap: Number | None = None
    score: Number | None = None
    spread: tuple[Number, ...] = ()
    entropy: tuple[Number, ...] = ()


class Agreed(Prediction, gc=False):
    """A merged one with what is known of the views' agreement; results of other versions and programs lack
    it."""

    agreement: Agreement | None = None


class Scored(msgspec.Struct, gc=False):
    """All that a threshold needs of a record."""

    category_id: int
    score: float


class _OnImage(msgspec.Struct, gc=False):
    """All that gathering and selecting need of a record."""

    image_id: int


def read_lines(path: str | Path, key: str | None = None) -> tuple[dict[str, Any], Iterator[bytes]]:
    """Reads the records of a JSON file a block at a time.

    key: the last key of the file's object, under which the records are; None: the file is a list of records.

    Returns the rest of the object ({} for a list), and the blocks: lines of one record each, joined by ",\n".
    Raises UserError where the file is missing, cut off or something else; also while the blocks are taken.
    """
    opening, closing = (b"[\n", b"\n]\n") if key is None else (f'"{key}": [\n'.encode(), b"\n]\n}\n")
    blocks = _stream(path, opening, closing)
    head = next(blocks, None)
    if head is None:  # another layout
        content = read_json(path)
        records = content if key is None else content.pop(key, None) if isinstance(content, dict) else None
        if not isinstance(records, list):
            raise UserError(f"{path}: expected a list of predictions (COCO results)")
        lines = ",\n".join(json.dumps(record, ensure_ascii=False) for record in records).encode()
        return content if key else {}, iter([lines] if lines else [])
    lines_of = (block for block in blocks if block is not None)
    return parse_json(path, head.rstrip(b",\n") + b"}") if key else {}, lines_of


def _stream(path: str | Path, opening: bytes, closing: bytes) -> Iterator[bytes | None]:
    """What stands before the line `opening`, or None if there is no such line; then blocks of the lines up to
    `closing`."""
    with open_file(path) as file:
        head = list(itertools.takewhile(lambda line: line != opening, file))
        file.seek(start := sum(map(len, head)))
        first = [file.readline(), file.readline()]
        if (
            first[0] != opening
            or first[1].rstrip(b",\n")[-1:] != b"}"
            or bool(head) != closing.endswith(b"}\n")
        ):
            return
        yield b"".join(head)
        file.seek(start + len(opening))
        rest = b""
        while chunk := file.read(BLOCK):
            block, _, rest = (rest + chunk).rpartition(b",\n")
            if block:
                yield block
        if not (rest := rest.rstrip()).endswith(closing.rstrip()):
            raise UserError(f"{path}: not a JSON file: its end is missing; is the file cut off?")
        yield rest.removesuffix(closing.rstrip())


def decode(path: str | Path, block: bytes, kind: type[T]) -> list[T]:
    """The records of a block of `path`. UserError where one is no record of this kind."""
    try:
        return msgspec.json.decode(b"[" + block + b"]", type=list[kind])  # type: ignore[valid-type] # at run time
    except msgspec.ValidationError as error:
        raise UserError(f"{path}: not a file of predictions ({error})") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        found = reason(b"[" + block + b"]", error)
        raise UserError(f"{path}: not a JSON file ({found}); is the file cut off?") from None


def scoring(path: str | Path, blocks: Iterator[bytes], least: dict[int, float]) -> Iterator[bytes]:
    """Blocks with the records that can matter, unparsed.

    path: of the file, for messages.
    blocks: of `read_lines`.
    least: category id → the least score that is kept; records of other categories all are.
    """
    for lines, records in _by_line(path, blocks, Scored):
        keep = [record.score >= least.get(record.category_id, -np.inf) for record in records]
        if any(keep):
            yield b",\n".join(itertools.compress(lines, keep))


def columns(found: Sequence[Prediction]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The columns image_id, category_id, score, each (n,), and bbox (n, 4; x, y, w, h)."""
    n = len(found)
    return (
        np.fromiter([p.image_id for p in found], np.int64, n),
        np.fromiter([p.category_id for p in found], np.int64, n),
        np.fromiter([p.score for p in found], np.float64, n),
        np.fromiter(itertools.chain.from_iterable([p.bbox for p in found]), np.float64, 4 * n).reshape(n, 4),
    )


def gather(paths: Sequence[str | Path]) -> Iterator[msgspec.Raw]:
    """The records of merged shards one after the other, as they are.

    Raises UserError where a file is missing or damaged, or an image is in two shards.
    """
    seen: dict[int, str | Path] = {}
    for path in paths:
        for lines, images in _by_image(path):
            for image_id in set(images):
                if seen.setdefault(image_id, path) is not path:
                    raise UserError(f"{path}: image {image_id} is in {seen[image_id]} too")
            yield from map(msgspec.Raw, lines)


def select(merged: str | Path, dataset: Coco) -> Iterator[msgspec.Raw]:
    """The merged records on the images of a subset, as they are. Raises UserError as `read_lines`."""
    wanted = {image["id"] for image in dataset["images"]}
    for lines, images in _by_image(merged):
        yield from map(msgspec.Raw, itertools.compress(lines, map(wanted.__contains__, images)))


def _by_image(path: str | Path) -> Iterator[tuple[list[bytes], list[int]]]:
    """Blocks of lines, and each line's image."""
    for lines, records in _by_line(path, read_lines(path)[1], _OnImage):
        yield lines, [record.image_id for record in records]


def _by_line(
    path: str | Path, blocks: Iterator[bytes], kind: type[T]
) -> Iterator[tuple[list[bytes], list[T]]]:
    """Blocks of lines, and each line's record."""
    for block in blocks:
        yield block.split(b",\n"), decode(path, block, kind)
