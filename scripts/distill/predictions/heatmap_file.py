"""The file of keypoint heatmaps of one shard under one view, HDF5, compact.

Datasets, one row for each of N instances, in the order of boxes/{shard}.json; K keypoints, W × H cells:

- heatmap (N, K, H, W) float16: as the network gives it, in the frame of the *view*, less `peak`
- peak (N, K): the highest value of each map; missing in files of older versions, whose values are whole
- or in their place x (N, K, W), y (N, K, H), peak_x, peak_y (N, K)
- image_id, category_id (N,)
- box (N, 4): x, y, w, h in the *original* image
- score (N,): that of the box
- region (N, 4): x, y, w, h in the *original* image, before the view's turn: the frame of the heatmap, where
  that is not the box

Attributes: view, keypoint_names, flip_pairs (P, 2; 0-based), model, dataset, and

- kind: logits (of Keypoint R-CNN; also where it is missing), whose softmax is a probability; heat, of which a
  value is a score; or simcc: logits of x and of y (SimCC, arXiv 2107.03332)
- codec: of heat and simcc, how keypoints are read off them, JSON of `codecs.Codec`

A file may have no instances.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import msgspec
import numpy as np

from distill.files import open_file
from distill.predictions.codecs import Codec
from distill.predictions.views import View
from distill.program import UserError, cause

# What h5py raises, and what reads on, where a file is another one, or damaged.
DAMAGED = (OSError, LookupError, ValueError, TypeError, AttributeError, msgspec.MsgspecError, UserError)
KINDS = ("logits", "heat", "simcc")
REGION = {"region": ("<f8", (4,))}
COLUMNS = {"image_id": ("<i8", ()), "box": ("<f8", (4,)), "score": ("<f8", ()), "category_id": ("<i8", ())}


@dataclass(frozen=True)
class Layout:
    """What the heatmaps of a file are. cells: W and H; codec: of heat and simcc; kind: see the module."""

    kind: str
    cells: tuple[int, int]
    codec: Codec = field(default_factory=Codec)

    @property
    def maps(self) -> dict[str, tuple[int, ...]]:
        """The datasets of an instance and a keypoint, by name, with their shapes."""
        width, height = self.cells
        return {"x": (width,), "y": (height,)} if self.kind == "simcc" else {"heatmap": (height, width)}

    @property
    def columns(self) -> dict[str, tuple[str, tuple[int, ...]]]:
        """The other ones: their types and the shapes of a row."""
        return COLUMNS if self.kind == "logits" else {**COLUMNS, **REGION}


LOGITS = Layout("logits", (56, 56))


@dataclass(frozen=True)
class Header:
    """What a file says about itself. count: instances N; keypoints K = len(keypoint_names)."""

    view: View
    model: str
    dataset: str
    keypoint_names: tuple[str, ...]
    flip_pairs: tuple[tuple[int, int], ...]
    count: int
    layout: Layout


@dataclass(frozen=True)
class Block:
    """Rows of a file: maps (heatmap (n, K, H, W),), or distributions (x (n, K, 1, W), y (n, K, H, 1)); the
    others as in the module's docstring, region the box where there is none."""

    maps: tuple[np.ndarray, ...]
    image_id: np.ndarray
    box: np.ndarray
    score: np.ndarray
    category_id: np.ndarray
    region: np.ndarray

    @property
    def heatmap(self) -> np.ndarray:
        """(n, K, H, W) of logits or heat."""
        return self.maps[0]


def peak_of(name: str) -> str:
    """The dataset of the peaks of one of the maps."""
    return "peak" if name == "heatmap" else f"peak_{name}"


def read_header(path: str | Path) -> Header:
    """What a file is about. UserError where it is missing, damaged or not such a file."""
    with _opened(path) as file:
        attributes, count = file.attrs, len(file["image_id"])
        names = tuple(attributes["keypoint_names"])
        pairs = tuple((int(a), int(b)) for a, b in attributes["flip_pairs"])
        layout = _layout(file)
        for name, inner in layout.maps.items():
            if file[name].shape != (count, len(names), *inner):
                raise ValueError("its columns are not of one length")
        if any(len(file[name]) != count for name in layout.columns):
            raise ValueError("its columns are not of one length")
        if any(not 0 <= k < len(names) for pair in pairs for k in pair):
            raise ValueError("its pairs are of keypoints that it has not")
        return Header(
            View.parse(attributes["view"]),
            attributes["model"],
            attributes["dataset"],
            names,
            pairs,
            count,
            layout,
        )


def _layout(file: h5py.File) -> Layout:
    kind = file.attrs.get("kind", "logits")
    if kind not in KINDS:
        raise ValueError(f"its kind {kind!r} is none of {', '.join(KINDS)}")
    across, down = ("x", "y") if kind == "simcc" else ("heatmap", "heatmap")
    cells = file[across].shape[-1], file[down].shape[2]
    if kind == "logits":
        return Layout(kind, cells)
    return Layout(kind, cells, msgspec.json.decode(file.attrs["codec"], type=Codec))


def read_scores(path: str | Path) -> np.ndarray:
    """(N,) of the boxes of all instances."""
    with _opened(path) as file:
        return file["score"][:]


def read_block(path: str | Path, start: int, stop: int) -> Block:
    """Rows start … stop − 1 (fewer at the end). UserError as read_header."""
    rows = slice(start, stop)
    with _opened(path) as file:
        maps = tuple(_read_map(file, name, rows) for name in _layout(file).maps)
        region = file["region" if "region" in file else "box"][rows]
        return Block(maps, region=region, **{name: file[name][rows] for name in COLUMNS})


def _read_map(file: h5py.File, name: str, rows: slice) -> np.ndarray:
    """Heatmaps (n, K, H, W), of which x has one row and y one column."""
    values = file[name][rows]
    if name != "heatmap":
        values = np.expand_dims(values, {"x": -2, "y": -1}[name])
    return values + file[peak][rows][..., None, None] if (peak := peak_of(name)) in file else values


@contextmanager
def _opened(path: str | Path) -> Iterator[h5py.File]:
    # No locks: a file never changes under its name, and network file systems often refuse to lock.
    open_file(path).close()  # a pipe, say, would be waited for
    try:
        with h5py.File(path, "r", locking=False) as file:
            yield file
    except DAMAGED as error:
        message = f"{path}: not a readable file of heatmaps ({cause(error)}); delete it to predict it again"
        raise UserError(message) from None
