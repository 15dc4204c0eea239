"""Copies of images and videos with what a model has found on them, in their own pixels."""

from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import groupby
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any

import av
import cv2
import msgspec
import numpy as np

from distill.datasets.coco import Record, by_image
from distill.datasets.images import read_record
from distill.datasets.videos import frame_rate, frames
from distill.files import replacing
from distill.models.sources import Source
from distill.predictions.coco_results import read_lines
from distill.program import UserError, log, processors
from distill.report.marking import mark

QUALITY = 92  # of JPEG
LARGEST = 65500  # pixels, of a JPEG's side
TICK = Fraction(1, 90000)  # seconds


def check_copies(source: Source, folder: Path) -> None:
    """Raises UserError where the copy of an image, or of the video, would take the place of an original or of
    another copy, or would itself be one of the images the next time.

    folder: of the copies; it need not be there.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder}: --draw names a folder")
    copies = {name: folder.resolve() / copy_of(name, source.video) for name in source.names}
    if source.whole:
        root = source.root.resolve()
        if any(copy.is_relative_to(root) for copy in copies.values()):
            what = f"drawings in it would be among the images of {source.root} the next time"
            raise UserError(f"{folder}: {what}; give --draw a folder outside")
        return
    originals = {place for name in source.names for place in (_real(Path(name)), Path(name).resolve())}
    drawn: dict[Path, str] = {}
    for name, copy in copies.items():
        if _real(copy) in originals:
            raise UserError(f"{copy}: a drawing would replace what is to be read; give --draw another folder")
        if (other := drawn.setdefault(copy, name)) != name:
            raise UserError(f"{name}: its drawing would replace that of {other}; draw them in two runs")


def _real(path: Path) -> Path:
    """Without links but for its own: what would be replaced by a file that is written there."""
    return path.parent.resolve() / path.name


def copy_of(name: str, video: bool = False) -> Path:
    """Where the copy of an image or a video is in its folder. What leads out of that, of files that are named
    one by one, is cut."""
    if video:
        return Path(f"{Path(name).name}.mp4")
    return Path(*(part for part in Path(f"{name}.jpg").parts if part not in ("/", "..")))


def draw_images(
    root: Path,
    images: Sequence[Record],
    records: Sequence[Record],
    categories: Sequence[Record],
    folder: Path,
    least: float,
) -> None:
    """Writes a JPEG for each image, under its name, into a folder.

    root: of the images.
    images, records: of a dataset's JSON; COCO results on them.
    least: the score from which on results are drawn.
    """
    found = by_image(record for record in records if record["score"] >= least)

    def one(image: Record) -> None:
        if max(image["width"], image["height"]) > LARGEST:
            log.warning("%s: is too large for a JPEG, and not drawn", image["file_name"])
            return
        pixels = read_record(root, image)
        marked = mark(pixels, found.get(image["id"], ()), categories)
        data = cv2.imencode(".jpg", marked, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1]
        with replacing(folder / copy_of(image["file_name"])) as temporary:
            temporary.write_bytes(data.tobytes())

    with ThreadPool(min(processors(), 16)) as pool:
        for _ in pool.imap_unordered(one, images):
            pass


def draw_video(video: Path, results: Path, categories: Sequence[Record], output: Path, least: float) -> None:
    """Writes a video with what was found on each frame; without sound.

    results: JSON of COCO results, image_id being the number of the frame, in their order.
    output: the file, .mp4.
    least: the score from which on results are drawn.
    """
    found = _by_frame(results)
    rate, last = frame_rate(video), None
    frame_id, records = next(found, (-1, []))
    with replacing(output) as temporary, av.open(str(temporary), "w", format="mp4") as container:
        stream: Any = None
        for frame in frames(video):
            mine: list[Record] = []
            if frame.number == frame_id:
                mine = records
                frame_id, records = next(found, (-1, []))
            marked = mark(frame.pixels, [one for one in mine if one["score"] >= least], categories)
            height, width = (side - side % 2 for side in marked.shape[:2])  # as H.264 has it
            if stream is None:
                stream = container.add_stream("libx264", rate=rate)
                stream.codec_context.time_base = TICK
                stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            picture = av.VideoFrame.from_ndarray(
                np.ascontiguousarray(marked[: stream.height, : stream.width]), format="bgr24"
            )
            at = round(frame.seconds / TICK)
            if last is not None and at <= last:  # a stream without times, or files that were joined
                at = last + round(1 / rate / TICK)
            picture.time_base, picture.pts = TICK, at
            last = at
            container.mux(stream.encode(picture))
        container.mux(stream.encode())


def _by_frame(results: Path) -> Iterator[tuple[int, list[Record]]]:
    records = (
        record for block in read_lines(results)[1] for record in msgspec.json.decode(b"[" + block + b"]")
    )
    for frame, group in groupby(records, key=lambda record: record["image_id"]):
        yield frame, list(group)
