"""Copies of images and videos with what a model has found on them, in their own pixels."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any

import av
import cv2
import msgspec
import numpy as np

from distill.datasets.images import read_image, workers
from distill.datasets.videos import frame_rate, frames
from distill.files import replacing
from distill.predictions.coco_results import read_lines
from distill.report.marking import mark

QUALITY = 92  # of JPEG
Record = Mapping[str, Any]


def draw_images(
    root: Path,
    images: Sequence[Record],
    records: Sequence[Record],
    categories: Sequence[Record],
    folder: Path,
) -> None:
    """Writes a JPEG for each image, under its name, into a folder.

    root: of the images.
    images, records: of a dataset's JSON; COCO results on them.
    """
    found: dict[int, list[Record]] = {image["id"]: [] for image in images}
    for record in records:
        found[record["image_id"]].append(record)

    def one(image: Record) -> None:
        pixels = read_image(root / image["file_name"], (image["width"], image["height"]))
        marked = mark(pixels, found[image["id"]], categories)
        data = cv2.imencode(".jpg", marked, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1]
        with replacing(folder / f"{_inside(image['file_name'])}.jpg") as temporary:
            temporary.write_bytes(data.tobytes())

    with ThreadPool(min(workers(), 16)) as pool:
        for _ in pool.imap_unordered(one, images):
            pass


def _inside(name: str) -> Path:
    """A file name below another folder: what leads out of it, of files that are named one by one, is cut."""
    return Path(*(part for part in Path(name).parts if part not in ("/", "..")))


def draw_video(video: Path, results: Path, categories: Sequence[Record], output: Path) -> None:
    """Writes a video with what was found on each frame; without sound.

    results: JSON of COCO results, image_id being the number of the frame, in their order.
    output: the file, .mp4.
    """
    found = _by_frame(results)
    frame_id, records = next(found, (-1, []))
    with replacing(output) as temporary, av.open(str(temporary), "w", format="mp4") as container:
        stream: Any = None
        for frame in frames(video):
            mine: list[Record] = []
            if frame.number == frame_id:
                mine = records
                frame_id, records = next(found, (-1, []))
            marked = mark(frame.pixels, mine, categories)
            height, width = (side - side % 2 for side in marked.shape[:2])  # as H.264 has it
            if stream is None:
                stream = container.add_stream("libx264", rate=frame_rate(video))
                stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            picture = av.VideoFrame.from_ndarray(
                np.ascontiguousarray(marked[: stream.height, : stream.width]), format="bgr24"
            )
            container.mux(stream.encode(picture))
        container.mux(stream.encode())


def _by_frame(results: Path) -> Iterator[tuple[int, list[Record]]]:
    records = (
        record for block in read_lines(results)[1] for record in msgspec.json.decode(b"[" + block + b"]")
    )
    for frame, group in groupby(records, key=lambda record: record["image_id"]):
        yield frame, list(group)
