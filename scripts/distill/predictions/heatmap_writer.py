"""Writes a file of heatmaps, block by block: `heatmap_file` says what is in it.

HDF5's gzip filter would hold the interpreter's lock. So threads compress the rows of a block as the filter
does, while the network computes the next one, and the chunks are written as they are.
"""

import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import msgspec
import numpy as np

from distill.datasets.keypoint_meta import KeypointMeta
from distill.files import remove_abandoned, replacing
from distill.predictions.compact import compact, compact_heat
from distill.predictions.heatmap_file import LOGITS, Layout, peak_of
from distill.predictions.views import View
from distill.program import UserError, processors

LEVEL = 4  # of the compression
MOST_THREADS = 8


@contextmanager
def writing(
    path: Path | str,
    view: View,
    model: str,
    dataset: str,
    meta: KeypointMeta,
    layout: Layout = LOGITS,
) -> Iterator["HeatmapWriter"]:
    """A writer of a file, which appears under its name only when complete.

    model, dataset: names.
    meta: the keypoints of the model.
    layout: of the heatmaps; by default those of Keypoint R-CNN.
    """
    remove_abandoned(path)
    with (
        replacing(path) as temporary,
        h5py.File(temporary, "w", locking=False) as file,
        ThreadPoolExecutor(min(MOST_THREADS, processors())) as threads,
    ):
        file.attrs.update(_attributes(view, model, dataset, meta, layout))
        writer = HeatmapWriter(Path(path), file, threads, layout, len(meta.names))
        yield writer
        writer.flush()


def _attributes(view: View, model: str, dataset: str, meta: KeypointMeta, layout: Layout) -> dict[str, Any]:
    attributes = {
        "view": view.name,
        "model": model,
        "dataset": dataset,
        "keypoint_names": np.array(list(meta.names), dtype=h5py.string_dtype()),
        "flip_pairs": np.array(meta.flip_pairs, dtype="<i8").reshape(-1, 2),
        "kind": layout.kind,
    }
    codec = {} if layout.kind == "logits" else {"codec": msgspec.json.encode(layout.codec).decode()}
    return attributes | codec


class HeatmapWriter:
    """Of `writing`. path: for messages. keypoints: K."""

    def __init__(
        self, path: Path, file: h5py.File, threads: ThreadPoolExecutor, layout: Layout, keypoints: int
    ) -> None:
        self.path, self.file, self.threads = path, file, threads
        self.layout, self.keypoints = layout, keypoints
        # Columns, and for each of the maps what `_compressed` makes of its rows.
        self._waiting: tuple[dict[str, Any], dict[str, Iterator[tuple[np.ndarray, bytes]]]] = ({}, {})
        for name, inner in layout.maps.items():
            row = (keypoints, *inner)
            file.create_dataset(
                name, (0, *row), "<f2", maxshape=(None, *row), chunks=(1, *row),
                compression="gzip", compression_opts=LEVEL,
            )  # fmt: skip
        peaks = {peak_of(name): ("<f4", (keypoints,)) for name in layout.maps}
        for name, (dtype, inner) in {**peaks, **layout.columns}.items():
            limits = {"maxshape": (None, *inner), "chunks": (1024, *inner), "compression": "gzip"}
            file.create_dataset(name, (0, *inner), dtype, **limits)

    def append(
        self, maps: Any, image_id: Any, box: Any, score: Any, category_id: Any, region: Any = None
    ) -> None:
        """Adds n rows.

        maps: heatmaps (n, K, H, W), or a pair of x (n, K, W) and y (n, K, H); arrays, or tensors anywhere.
        image_id, score, category_id: (n,).
        box, region: (n, 4) x, y, w, h; region where the kind has one.

        Raises UserError for heatmaps that are not finite, but not before the next call, or the end.
        """
        maps = maps if isinstance(maps, tuple) else (maps,)
        shapes = {name: (-1, self.keypoints, *inner) for name, inner in self.layout.maps.items()}
        arrays = {
            name: _array(values).reshape(shape)
            for (name, shape), values in zip(shapes.items(), maps, strict=True)
        }
        self.flush()
        columns = {"image_id": image_id, "box": box, "score": score, "category_id": category_id}
        if "region" in self.layout.columns:
            columns["region"] = region
        chunks = {name: self.threads.map(self._compressed, rows) for name, rows in arrays.items()}
        self._waiting = columns, chunks

    def flush(self) -> None:
        """Writes the rows that wait for their compression."""
        (columns, chunks), self._waiting = self._waiting, ({}, {})
        for name, compressed in chunks.items():
            rows = list(compressed)
            data = self.file[name]
            start = _extend(data, len(rows))
            for row, (_, chunk) in enumerate(rows, start):
                data.id.write_direct_chunk((row, *[0] * (data.ndim - 1)), chunk)
            columns[peak_of(name)] = [peaks for peaks, _ in rows]
        for name, values in columns.items():
            data = self.file[name]
            values = np.asarray(values, data.dtype).reshape(len(rows), *data.shape[1:])
            data[_extend(data, len(values)) :] = values

    def _compressed(self, maps: np.ndarray) -> tuple[np.ndarray, bytes]:
        """The peaks (K,) of a row (K, H, W) or (K, W), and the rest as HDF5's gzip filter has it."""
        if not np.isfinite(maps).all():
            raise UserError(f"{self.path}: the model's heatmaps are not finite; its training has diverged")
        compacted = compact_heat if self.layout.kind == "heat" else compact
        maps, peaks = compacted(maps if maps.ndim == 3 else maps[:, None])
        return peaks, zlib.compress(maps.astype("<f2").tobytes(), LEVEL)


def _array(values: Any) -> np.ndarray:
    return values.detach().float().cpu().numpy() if hasattr(values, "detach") else np.asarray(values)


def _extend(data: h5py.Dataset, rows: int) -> int:
    """Makes room for more rows; returns the first of them."""
    start = len(data)
    data.resize(start + rows, axis=0)
    return start
