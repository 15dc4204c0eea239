"""Copies of images and videos with what a model has found on them, in their own pixels."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from itertools import groupby
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any

import av
import cv2
import msgspec
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from distill.datasets.images import read_image, workers
from distill.datasets.videos import frame_rate, frames
from distill.files import replacing
from distill.predictions.coco_results import read_lines
from distill.report.drawing import COLOURS, colour_of, sides

SIDES = {"left": "#ff9a1f", "right": "#3ec5ff", "middle": "#ffffff"}
SURE = 0.3  # keypoints of a higher probability are drawn
QUALITY = 92  # of JPEG
Record = Mapping[str, Any]


def mark(pixels: np.ndarray, records: Sequence[Record], categories: Sequence[Record]) -> np.ndarray:
    """An image (H, W, 3; BGR) with boxes, names, scores and skeletons; the best ones on top.

    records: COCO results on it.
    categories: of the model.
    """
    picture = Image.fromarray(pixels[..., ::-1])
    draw = ImageDraw.Draw(picture)
    unit = max(1, round(min(picture.size) / 300))
    known, colours = {c["id"]: c for c in categories}, colour_of(categories)
    for record in sorted(records, key=lambda record: record["score"]):
        category = known.get(record["category_id"], {"name": str(record["category_id"])})
        colour = colours.get(record["category_id"], COLOURS[0])
        x, y, w, h = record["bbox"]
        draw.rectangle((x, y, x + max(w, 1), y + max(h, 1)), outline=colour, width=unit)
        label, font = f"{category['name']:.40} {record['score']:.2f}", _font(8 + 4 * unit)
        right, bottom = draw.textbbox((0, 0), label, font)[2:]
        place = (x, max(0, y - bottom - unit))
        draw.rectangle((*place, place[0] + right, place[1] + bottom + unit), fill=colour)
        draw.text(place, label, "black", font)
        if record.get("keypoints") and category.get("keypoints"):
            _skeleton(draw, record["keypoints"], category, colour, unit)
    return np.ascontiguousarray(np.asarray(picture)[..., ::-1])


@cache
def _font(size: int) -> Any:
    return ImageFont.load_default(size)


def _skeleton(draw: Any, keypoints: Sequence[float], category: Record, colour: str, unit: int) -> None:
    points = np.reshape(keypoints, (-1, 3))
    sure = points[:, 2] > SURE
    for a, b in category.get("skeleton") or ():
        if sure[a - 1] and sure[b - 1]:
            draw.line([*points[a - 1, :2], *points[b - 1, :2]], fill=colour, width=unit)
    for (x, y, _), side, shown in zip(points, sides(category), sure, strict=True):
        if shown:
            r = 1.5 * unit
            draw.ellipse((x - r, y - r, x + r, y + r), fill=SIDES[side], outline="black")


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
