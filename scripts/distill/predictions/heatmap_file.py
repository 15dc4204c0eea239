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

import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import msgspec
import numpy as np

from distill.datasets.keypoint_meta import KeypointMeta
from distill.files import open_file, remove_abandoned, replacing
from distill.predictions.codecs import Codec
from distill.predictions.compact import compact, compact_heat
from distill.predictions.views import View
from distill.program import UserError, processors

LEVEL = 4  # of the compression
MOST_THREADS = 8
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


# Columns, and what `_chunk` makes of each of the maps, row by row.
_Rows = tuple[dict[str, Any], list[Iterator[tuple[np.ndarray, bytes]]]]


class HeatmapWriter:
    """Writes a file, block by block; it appears under its name only when complete.

        with HeatmapWriter(path, view, model, dataset, meta) as writer:
            writer.append(heatmap, image_id, box, score, category_id)

    view: View or its name.
    model, dataset: names.
    meta: the keypoints of the model.
    layout: of the heatmaps; by default those of Keypoint R-CNN.
    """

    def __init__(
        self,
        path: Path | str,
        view: View | str,
        model: str,
        dataset: str,
        meta: KeypointMeta,
        layout: Layout = LOGITS,
    ):
        self.path, self.layout, self.keypoints = Path(path), layout, len(meta.names)
        self._attributes = {
            "view": view.name if isinstance(view, View) else View.parse(view).name,
            "model": model,
            "dataset": dataset,
            "keypoint_names": np.array(list(meta.names), dtype=h5py.string_dtype()),
            "flip_pairs": np.array(meta.flip_pairs, dtype="<i8").reshape(-1, 2),
            "kind": layout.kind,
        }
        if layout.kind != "logits":
            self._attributes["codec"] = msgspec.json.encode(layout.codec).decode()

    def __enter__(self) -> "HeatmapWriter":
        remove_abandoned(self.path)
        with ExitStack() as stack:
            temporary = stack.enter_context(replacing(self.path))
            self._file = stack.enter_context(h5py.File(temporary, "w", locking=False))
            self._file.attrs.update(self._attributes)
            for name, inner in self.layout.maps.items():
                shape = (self.keypoints, *inner)
                self._file.create_dataset(
                    name, (0, *shape), "<f2", maxshape=(None, *shape), chunks=(1, *shape),
                    compression="gzip", compression_opts=LEVEL,
                )  # fmt: skip
            peaks = {_peak(name): ("<f4", (self.keypoints,)) for name in self.layout.maps}
            for name, (dtype, inner) in {**peaks, **self.layout.columns}.items():
                limits = {"maxshape": (None, *inner), "chunks": (1024, *inner), "compression": "gzip"}
                self._file.create_dataset(name, (0, *inner), dtype, **limits)
            self._threads = stack.enter_context(ThreadPoolExecutor(min(MOST_THREADS, processors())))
            self._pending: _Rows | None = None
            stack.push(self._finish)
            self._stack = stack.pop_all()
        return self

    def append(
        self, maps: Any, image_id: Any, box: Any, score: Any, category_id: Any, region: Any = None
    ) -> None:
        """Adds n rows.

        maps: heatmaps (n, K, H, W), or a pair of x (n, K, W) and y (n, K, H); arrays, or tensors anywhere.
        image_id, score, category_id: (n,).
        box, region: (n, 4) x, y, w, h; region where the kind has one.

        Raises UserError for heatmaps that are not finite, but not before the next call, or the end: threads
        compress them while the caller computes the next ones.
        """
        maps = maps if isinstance(maps, tuple) else (maps,)
        arrays = [
            (values.detach().float().cpu().numpy() if hasattr(values, "detach") else np.asarray(values))
            for values in maps
        ]
        shapes = [(-1, self.keypoints, *inner) for inner in self.layout.maps.values()]
        arrays = [values.reshape(shape) for values, shape in zip(arrays, shapes, strict=True)]
        self._write_pending()
        given = (image_id, box, score, category_id, region)
        columns = dict(zip(self.layout.columns, given, strict=False))
        self._pending = columns, [self._threads.map(self._chunk, values) for values in arrays]

    def _chunk(self, maps: np.ndarray) -> tuple[np.ndarray, bytes]:
        """The peaks (K,) of a row (K, H, W) or (K, W), and the rest compressed as HDF5's gzip filter does it;
        the filter itself would hold the interpreter's lock."""
        if not np.isfinite(maps).all():
            raise UserError(f"{self.path}: the model's heatmaps are not finite; its training has diverged")
        compacted = compact_heat if self.layout.kind == "heat" else compact
        maps, peaks = compacted(maps if maps.ndim == 3 else maps[:, None])
        return peaks, zlib.compress(maps.astype("<f2").tobytes(), LEVEL)

    def _write_pending(self) -> None:
        if self._pending is None:
            return
        (columns, chunks), self._pending = self._pending, None
        start, columns = len(self._file["image_id"]), dict(columns)
        for name, made in zip(self.layout.maps, chunks, strict=True):
            data, rows = self._file[name], list(made)
            data.resize(start + len(rows), axis=0)
            for row, (_, chunk) in enumerate(rows, start):
                data.id.write_direct_chunk((row, *[0] * (data.ndim - 1)), chunk)
            columns[_peak(name)] = [peaks for peaks, _ in rows]
        for name, values in columns.items():
            data = self._file[name]
            data.resize(start + len(rows), axis=0)
            data[start:] = np.asarray(values, data.dtype).reshape(len(rows), *data.shape[1:])

    def _finish(self, error: type[BaseException] | None, *_: Any) -> None:
        if error is None:
            self._write_pending()

    def __exit__(self, *error: Any) -> None:
        self._stack.__exit__(*error)


def _peak(name: str) -> str:
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
    if kind == "logits":
        return Layout(kind, file["heatmap"].shape[:1:-1])
    codec = msgspec.json.decode(file.attrs["codec"], type=Codec)
    names = ("x", "y") if kind == "simcc" else ("heatmap",)
    width, height = file[names[0]].shape[-1], file[names[-1]].shape[2]
    return Layout(kind, (width, height), codec)


def read_scores(path: str | Path) -> np.ndarray:
    """(N,) of the boxes of all instances."""
    with _opened(path) as file:
        return file["score"][:]


def read_blocks(path: str | Path, start: int, stop: int) -> Block:
    """Rows start … stop − 1 (fewer at the end). UserError as read_header."""
    with _opened(path) as file:
        maps = []
        for name in _layout(file).maps:
            values = file[name][start:stop]
            if (peak := _peak(name)) in file:
                values = values + file[peak][start:stop].reshape(*values.shape[:2], *[1] * (values.ndim - 2))
            maps.append({"x": values[..., None, :], "y": values[..., None]}.get(name, values))
        region = file["region" if "region" in file else "box"][start:stop]
        columns = {name: file[name][start:stop] for name in COLUMNS}
        return Block(maps=tuple(maps), region=region, **columns)


@contextmanager
def _opened(path: str | Path) -> Iterator[h5py.File]:
    # No locks: a file never changes under its name, and network file systems often refuse to lock.
    open_file(path).close()  # a pipe, say, would be waited for
    try:
        with h5py.File(path, "r", locking=False) as file:
            yield file
    except (
        OSError,
        KeyError,
        ValueError,
        TypeError,
        IndexError,
        AttributeError,
        msgspec.MsgspecError,
        UserError,
    ) as error:
        reason = str(error).strip().splitlines()[0] if str(error) else type(error).__name__
        message = f"{path}: not a readable file of heatmaps ({reason}); delete it to predict it again"
        raise UserError(message) from None
