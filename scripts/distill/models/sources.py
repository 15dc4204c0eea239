"""Images as they come to a model: of a dataset, of any folder, of a video.

Images of similar shape follow each other, so that those of a batch are padded to one size. An image's padding
does not depend on its batch, nor therefore on the number of shards.
"""

from collections import Counter
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count, islice
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any, ClassVar

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset

from distill.datasets.images import SUFFIXES, list_files, read_record, scan, stated_size
from distill.datasets.videos import SUFFIXES as VIDEO_SUFFIXES
from distill.datasets.videos import count_frames, frames
from distill.predictions.crops import Crop
from distill.predictions.views import View
from distill.program import UserError, processors
from distill.strict import is_line

DIVISOR = 32  # networks pad to their coarsest stride
Image = dict[str, Any]


class ViewedImages(Dataset):
    """Images (3, H, W) uint8 of a dataset, resized and turned as in a view, but not mirrored, which the
    device does faster. `images` are records of the dataset JSON."""

    def __init__(self, root: Path, images: list[Image], view: View) -> None:
        self.root, self.images, self.view = root, images, view

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Image, torch.Tensor]:
        image = self.images[index]
        return image, seen(read_record(self.root, image), self.view)


class CroppedImages(Dataset):
    """The crops (n, 3, h, w) uint8 of the boxes of each image under a view."""

    def __init__(
        self, root: Path, images: list[Image], regions: dict[int, np.ndarray], crop: Crop, view: View
    ) -> None:
        self.root, self.images, self.regions, self.crop, self.view = root, images, regions, crop, view

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> torch.Tensor:
        image = self.images[index]
        return cut(read_record(self.root, image), self.regions[image["id"]], self.crop, self.view)


def cut(pixels: np.ndarray, boxes: np.ndarray, crop: Crop, view: View) -> torch.Tensor:
    """The crops (n, 3, h, w) of an image (H, W, 3) under a view. boxes: (n, 4) x1, y1, x2, y2."""
    matrices = crop.matrices(boxes, view)
    crops = [cv2.warpAffine(pixels, one, crop.size, flags=cv2.INTER_LINEAR) for one in matrices]
    return torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2)


def in_order_of_shape(images: Sequence[Image]) -> list[Image]:
    """By aspect ratio, then size, then id: then similar shapes are next to each other under every view."""
    return sorted(images, key=lambda i: (i["width"] / i["height"], i["width"], i["id"]))


def batches(images: list[Image], view: View | None, most: int, divisor: int = DIVISOR) -> list[list[int]]:
    """Runs of at most `most` consecutive images whose views are padded to the same size, by `divisor`.
    view: None: as they are."""
    runs: list[list[int]] = []
    last = None
    for index, image in enumerate(images):
        size = image["width"], image["height"]
        width, height = view.size(*size) if view else size
        shape = (-(-width // divisor), -(-height // divisor))
        if shape != last or len(runs[-1]) == most:
            runs.append([])
        runs[-1].append(index)
        last = shape
    return runs


@dataclass(frozen=True)
class Part:
    """A batch of a source under one view.

    shard: which stretch of the source it is of.
    number: of the view, among those of `Source.parts`.
    images: records.
    ends: whether all views of these images are done with it; "shard": of all images of the shard.
    unreadable: {"file_name", "reason"} of images of the shard whose size cannot even be read.
    """

    shard: int
    number: int = 0
    images: tuple[Image, ...] = ()
    ends: str = ""
    unreadable: tuple[dict[str, str], ...] = ()


Views = Sequence[View | None]  # None: the image as it is
Pixels = torch.Tensor | str  # of an image under a view, (3, H, W) uint8; or why it cannot be read


def seen(pixels: np.ndarray, view: View | None) -> torch.Tensor:
    """An image (H, W, 3) as a model takes it, but not mirrored, which the device does faster; without a view
    as it is."""
    if view:
        pixels = replace(view, flip=False).transform_image(pixels)
    return torch.from_numpy(pixels).permute(2, 0, 1)


@dataclass(frozen=True)
class Source:
    """Images or one video, in stretches (shards) of a fixed length: what is in memory does not depend on how
    many there are.

    root: `names` start from it.
    names: of the image files; of a video, the one.
    video: whether it is one.
    whole: whether the names are all images below `root`, whatever they are the next time.
    """

    root: Path
    names: tuple[str, ...]
    video: bool = False
    whole: bool = False
    length: ClassVar[int] = 256  # images, or frames, of a shard: what an interruption can cost

    @classmethod
    def of(cls, paths: Sequence[str | Path]) -> "Source":
        """A folder, image files, or a video. Raises UserError for what is missing, or holds no images."""
        given = [Path(path) for path in paths]
        if len(given) == 1 and given[0].is_dir():
            return cls(given[0], tuple(list_files(given[0], SUFFIXES, "images")), whole=True)
        for path in given:
            if path.is_dir():
                raise UserError(f"{path}: is a folder; give one folder, or files")
            if not path.exists():
                raise UserError(f"{path}: no such file or folder")
            if not is_line(str(path)):
                raise UserError(f"{str(path)!r}: the name has unprintable characters: rename it")
        videos = [path for path in given if path.suffix.lower() in VIDEO_SUFFIXES]
        if videos and len(given) > 1:
            raise UserError(f"{videos[0]}: is a video; give one video, or images")
        if twice := next((path for path, times in Counter(given).items() if times > 1), None):
            raise UserError(f"{twice}: is given twice")
        return cls(Path(), tuple(map(str, given)), bool(videos))

    def count(self) -> int | None:
        """How many images; of a video that does not say it, None."""
        return count_frames(self.root / self.names[0]) if self.video else len(self.names)

    def shard(self, number: int) -> tuple[str, ...]:
        """The names of a stretch of the images."""
        return self.names[number * self.length : (number + 1) * self.length]

    def parts(
        self,
        views: Views,
        most: int,
        divisor: int,
        workers: int,
        pinned: bool,
        done: Container[int],
    ) -> Iterator[tuple[Part, list[Pixels]]]:
        """Every image under every view, in batches, all views of an image before the next ones.

        views: a view may come twice.
        most: images of a batch.
        divisor: that images of a batch are padded to.
        workers: processes that load; a video is read by one.
        pinned: whether the pixels are to be in memory that a GPU reads.
        done: shards that are passed over.
        """
        options: dict[str, Any] = {"batch_size": None, "collate_fn": _as_is, "pin_memory": pinned}
        if self.video:
            loaded = Frames(self.root / self.names[0], views, most, divisor, self.length, done)
            yield from DataLoader(loaded, num_workers=min(1, workers), **options)
        else:
            order = self._order(views, most, divisor, done)
            yield from DataLoader(Files(self.root, views), sampler=order, num_workers=workers, **options)

    def _order(self, views: Views, most: int, divisor: int, done: Container[int]) -> Iterator[Part]:
        with ThreadPool(min(processors(), 16)) as pool:
            for shard, start in enumerate(range(0, len(self.names), self.length)):
                if shard in done:
                    continue
                found = pool.map(self._record, range(start, start + len(self.shard(shard))))
                images = in_order_of_shape([image for image in found if "reason" not in image])
                for rows in batches(images, views[0], most, divisor):
                    yield from _under_all(shard, [images[row] for row in rows], views, most, divisor)
                unreadable = tuple(image for image in found if "reason" in image)
                yield Part(shard, ends="shard", unreadable=unreadable)

    def _record(self, index: int) -> Image:
        name = self.names[index]
        if size := stated_size(self.root / name):
            return {"id": index + 1, "file_name": name, "width": size[0], "height": size[1]}
        return {"file_name": name, "reason": scan(self.root / name).reason or "cannot be read"}


def _as_is(item: Any) -> Any:
    return item


def _under_all(shard: int, images: list[Image], views: Views, most: int, divisor: int) -> Iterator[Part]:
    """A few images under all views: those that one view pads to the same size, another one may not."""
    parts = [
        Part(shard, number, tuple(images[row] for row in rows))
        for number, view in enumerate(views)
        for rows in batches(images, view, most, divisor)
    ]
    yield from parts[:-1]
    yield replace(parts[-1], ends="batch")


class Files(Dataset):
    """Image files, asked for by a part."""

    def __init__(self, root: Path, views: Views) -> None:
        self.root, self.views = root, views

    def __getitem__(self, part: Part) -> tuple[Part, list[Pixels]]:
        return part, [self._read(image, self.views[part.number]) for image in part.images]

    def _read(self, image: Image, view: View | None) -> Pixels:
        try:
            return seen(read_record(self.root, image), view)
        except UserError as error:
            return str(error).removeprefix(f"{self.root / image['file_name']}: ")


class Frames(IterableDataset):
    """The frames of a video, of which each is decoded once."""

    def __init__(
        self, path: Path, views: Views, most: int, divisor: int, length: int, done: Container[int]
    ) -> None:
        self.path, self.views, self.most, self.divisor = path, views, most, divisor
        self.length, self.done = length, done

    def __iter__(self) -> Iterator[tuple[Part, list[Pixels]]]:
        every = frames(self.path)
        for shard in count():
            left, any_left = self.length, False
            while batch := list(islice(every, min(self.most, left))):
                any_left, left = True, left - len(batch)
                if shard not in self.done:
                    yield from self._seen(shard, batch)
            if any_left and shard not in self.done:
                yield Part(shard, ends="shard"), []
            if left:  # the video has ended
                return

    def _seen(self, shard: int, batch: list) -> Iterator[tuple[Part, list[Pixels]]]:
        pixels = {frame.number: frame.pixels for frame in batch}
        images = [
            {
                "id": frame.number,
                "file_name": self.path.name,
                "frame": frame.number,
                "seconds": round(frame.seconds, 6),
                "width": frame.pixels.shape[1],
                "height": frame.pixels.shape[0],
            }
            for frame in batch
        ]
        for part in _under_all(shard, images, self.views, self.most, self.divisor):
            view = self.views[part.number]
            yield part, [seen(pixels[image["id"]], view) for image in part.images]
