"""The file of keypoint heatmaps of one shard under one view, HDF5, compact.

Datasets, one row for each of N instances, in the order of boxes/{shard}.json; K keypoints, S × S cells:

- heatmap (N, K, S, S) float16: logits in the frame of the RoI in the *view* (not inverted), less `peak`
- peak (N, K): the highest logit of each map; missing in files of older versions, whose logits are as they
were - image_id (N,)
- box (N, 4): x, y, w, h in the *original* image
- score (N,): that of the box
- category_id (N,)

Attributes: view, keypoint_names, flip_pairs (P, 2; 0-based), model, dataset. A file may have no instances.
"""

import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from distill.datasets.images import workers
from distill.datasets.keypoint_meta import KeypointMeta
from distill.files import open_file, replacing
from distill.predictions.views import View
from distill.program import UserError

# How exactly a logit is kept: up to a distance below the map's peak, in steps. Errors are to matter little
# *as probabilities*, and a cell at distance d has e^-d times the probability of the peak.
STEPS = ((1, 1 / 2048), (2, 1 / 512), (3, 1 / 128), (4, 1 / 32), (6, 1 / 4))
FLOOR = STEPS[-1][0]
LEVEL = 4  # of the compression
MOST_THREADS = 8
COLUMNS = {"image_id": ("<i8", ()), "box": ("<f8", (4,)), "score": ("<f8", ()), "category_id": ("<i8", ())}


@dataclass(frozen=True)
class Header:
    """What a file says about itself. count: instances N; keypoints K = len(keypoint_names)."""

    view: View
    model: str
    dataset: str
    keypoint_names: tuple[str, ...]
    flip_pairs: tuple[tuple[int, int], ...]
    count: int
    size: int


@dataclass(frozen=True)
class Block:
    """Rows of a file: heatmap (n, K, S, S) logits; the others as in the module's docstring."""

    heatmap: np.ndarray
    image_id: np.ndarray
    box: np.ndarray
    score: np.ndarray
    category_id: np.ndarray


_Rows = tuple[dict[str, Any], Iterator[tuple[np.ndarray, bytes]]]  # columns, what `_chunk` makes of heatmaps


def compact(logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(…, S, S) logits → float16 logits less the map's peak, which compress well and give (nearly) the same
    probabilities, and the peaks (…) float32.

    Logits are rounded to `STEPS`; all cells below the floor get one value, the logarithm of their mean
    exponential, so that the sum that the softmax divides by stays the same.
    """
    logits = np.asarray(logits, dtype=np.float32)
    peak = logits.max(axis=(-2, -1), keepdims=True)
    depth = peak - logits
    low = depth > FLOOR
    mass = np.exp(-depth, where=low, out=np.zeros_like(depth)).sum(axis=(-2, -1), keepdims=True)
    fill = -np.log(np.maximum(mass, 1e-12) / np.maximum(low.sum(axis=(-2, -1), keepdims=True), 1))
    step = np.select([depth <= limit for limit, _ in STEPS], [np.float32(step) for _, step in STEPS], 1)
    depth = np.where(low, np.round(fill * 8) / 8, np.round(depth / step) * step)
    return -depth.astype(np.float16), peak[..., 0, 0]


class HeatmapWriter:
    """Writes a file, block by block; it appears under its name only when complete.

        with HeatmapWriter(path, view, model, dataset, meta) as writer:
            writer.append(heatmap, image_id, box, score, category_id)

    view: View or its name.
    model, dataset: names.
    meta: the keypoints of the model.
    size: S.
    """

    def __init__(
        self, path: Path | str, view: View | str, model: str, dataset: str, meta: KeypointMeta, size=56
    ):
        self.path, self.size, self.keypoints = Path(path), size, len(meta.names)
        self._attributes = {
            "view": view.name if isinstance(view, View) else View.parse(view).name,
            "model": model,
            "dataset": dataset,
            "keypoint_names": np.array(list(meta.names), dtype=h5py.string_dtype()),
            "flip_pairs": np.array(meta.flip_pairs, dtype="<i8").reshape(-1, 2),
        }

    def __enter__(self) -> "HeatmapWriter":
        with ExitStack() as stack:
            temporary = stack.enter_context(replacing(self.path))
            self._file = stack.enter_context(h5py.File(temporary, "w", locking=False))
            self._file.attrs.update(self._attributes)
            shape = (self.keypoints, self.size, self.size)
            self._file.create_dataset(
                "heatmap", (0, *shape), "<f2", maxshape=(None, *shape), chunks=(1, *shape),
                compression="gzip", compression_opts=LEVEL,
            )  # fmt: skip
            for name, (dtype, inner) in {"peak": ("<f4", (self.keypoints,)), **COLUMNS}.items():
                limits = {"maxshape": (None, *inner), "chunks": (1024, *inner), "compression": "gzip"}
                self._file.create_dataset(name, (0, *inner), dtype, **limits)
            self._threads = stack.enter_context(ThreadPoolExecutor(min(MOST_THREADS, workers())))
            self._pending: _Rows | None = None
            stack.push(self._finish)
            self._stack = stack.pop_all()
        return self

    def append(self, heatmap: Any, image_id: Any, box: Any, score: Any, category_id: Any) -> None:
        """Adds n rows.

        heatmap: (n, K, S, S) logits, an array or a tensor on any device.
        image_id, score, category_id: (n,).
        box: (n, 4) x, y, w, h.

        Raises UserError for heatmaps that are not finite, but not before the next call, or the end: threads
        compress them while the caller computes the next ones.
        """
        if hasattr(heatmap, "detach"):
            heatmap = heatmap.detach().float().cpu().numpy()
        heatmap = np.asarray(heatmap).reshape(-1, self.keypoints, self.size, self.size)
        self._write_pending()
        columns = zip(COLUMNS, (image_id, box, score, category_id), strict=True)
        self._pending = dict(columns), self._threads.map(self._chunk, heatmap)

    def _chunk(self, heatmap: np.ndarray) -> tuple[np.ndarray, bytes]:
        """The peaks (K,) of a row (K, S, S), and the rest compressed as HDF5's gzip filter does it; the
        filter itself would hold the interpreter's lock."""
        if not np.isfinite(heatmap).all():
            raise UserError(f"{self.path}: the model's heatmaps are not finite; its training has diverged")
        maps, peaks = compact(heatmap)
        return peaks, zlib.compress(maps.astype("<f2").tobytes(), LEVEL)

    def _write_pending(self) -> None:
        if self._pending is None:
            return
        (columns, chunks), self._pending = self._pending, None
        heatmap, start = self._file["heatmap"], len(self._file["image_id"])
        rows = list(chunks)
        heatmap.resize(start + len(rows), axis=0)
        for row, (_, chunk) in enumerate(rows, start):
            heatmap.id.write_direct_chunk((row, 0, 0, 0), chunk)
        for name, values in {"peak": [peaks for peaks, _ in rows], **columns}.items():
            data = self._file[name]
            data.resize(start + len(rows), axis=0)
            data[start:] = np.asarray(values, data.dtype).reshape(len(rows), *data.shape[1:])

    def _finish(self, error: type[BaseException] | None, *_: Any) -> None:
        if error is None:
            self._write_pending()

    def __exit__(self, *error: Any) -> None:
        self._stack.__exit__(*error)


def read_header(path: str | Path) -> Header:
    """What a file is about. UserError where it is missing, damaged or not such a file."""
    with _opened(path) as file:
        attributes, count, shape = file.attrs, len(file["image_id"]), file["heatmap"].shape
        names = tuple(attributes["keypoint_names"])
        pairs = tuple((int(a), int(b)) for a, b in attributes["flip_pairs"])
        if shape != (count, len(names), *shape[-1:] * 2) or any(len(file[name]) != count for name in COLUMNS):
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
            shape[-1],
        )


def read_blocks(path: str | Path, start: int, stop: int) -> Block:
    """Rows start … stop − 1 (fewer at the end). UserError as read_header."""
    with _opened(path) as file:
        heatmap = file["heatmap"][start:stop]
        if "peak" in file:
            heatmap = heatmap + file["peak"][start:stop][..., None, None]
        return Block(heatmap, *(file[name][start:stop] for name in COLUMNS))


@contextmanager
def _opened(path: str | Path) -> Iterator[h5py.File]:
    # No locks: a file never changes under its name, and network file systems often refuse to lock.
    open_file(path).close()  # a pipe, say, would be waited for
    try:
        with h5py.File(path, "r", locking=False) as file:
            yield file
    except (OSError, KeyError, ValueError, TypeError, IndexError, UserError) as error:
        reason = str(error).strip().splitlines()[0] if str(error) else type(error).__name__
        message = f"{path}: not a readable file of heatmaps ({reason}); delete it to predict it again"
        raise UserError(message) from None
