"""One random frame of each video in a folder (the paper's s1m-180), whatever state the videos are in."""

import hashlib
import io
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from multiprocessing.pool import ThreadPool
from pathlib import Path

import av
import numpy as np
from PIL import Image

from distill.datasets.images import hash_bytes, list_files, workers
from distill.files import replacing
from distill.program import UserError, log, progress

SUFFIXES = (
    ".mp4", ".m4v", ".avi", ".mkv", ".mov", ".webm", ".mpg", ".mpeg", ".flv", ".wmv", ".ts", ".ogv", ".3gp",
)  # fmt: skip


def extract_frames(root: str, seed: int, images_dir: Path, count: int | None = None) -> Iterator[dict]:
    """Draws a random frame of each video and writes it as a JPEG of quality 95. Which one it is depends on
    nothing but the video, the seed and the video's name. One frame is in memory for each processor.

    root: the videos are below this folder.
    seed: of the draw.
    images_dir: where the frames are put, as {video}.jpg.
    count: how many videos are drawn at random; None: all are taken.

    Yields, in the order of the videos' names, {"file_name", "width", "height", "hash"} or, for a video of
    which no frame can be decoded, {"file_name", "reason"}.
    Raises UserError where there is no such folder, or no video or too few in it.
    """
    names = list_files(root, SUFFIXES, "videos")
    if count is not None:
        if count > len(names):
            raise UserError(f"{root}: {count} videos are to be drawn, there are {len(names)}")
        names = sorted(sorted(names, key=partial(_digest, "video", seed))[:count])
    with ThreadPool(min(workers(), len(names))) as pool:
        draw = partial(_extract, Path(root), seed, Path(images_dir))
        yield from progress(pool.imap(draw, names), len(names), f"frames of {root}")


def _extract(root: Path, seed: int, images_dir: Path, name: str) -> dict:
    if not os.path.isfile(root / name):  # opening a pipe would wait forever
        return {"file_name": name, "reason": "is not a file"}
    try:
        image = random_frame(root / name, np.random.default_rng(int.from_bytes(_digest(seed, name))))
    except (av.FFmpegError, ValueError) as error:
        return {"file_name": name, "reason": f"has no readable frame ({' '.join(str(error).split())})"}
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=95)
    file_name = f"{name}.jpg"  # the suffix stays: a.mp4 and a.avi are two videos
    with replacing(images_dir / file_name) as temporary:
        temporary.write_bytes(buffer.getvalue())
    size = {"width": image.width, "height": image.height}
    return {"file_name": file_name, **size, "hash": hash_bytes(buffer.getvalue())}


def _digest(*key: str | int) -> bytes:
    """Bytes that decide a random choice: they depend on the key alone, not on how many videos there are."""
    return hashlib.blake2b(":".join(map(str, key)).encode(), digest_size=16).digest()


def random_frame(path: Path, rng: np.random.Generator) -> Image.Image:
    """A frame of a video drawn uniformly, upright, as an RGB image.

    A moment of the declared duration is drawn and sought, so that long videos cost no more than short ones.
    Where there is no duration, or nothing decodes there (a truncated or damaged file), one pass over the
    frames that do decode draws among them. Raises ValueError or av.FFmpegError if there are none.
    """
    moment = rng.random()
    try:
        frame = _frame_at(path, moment)
    except av.FFmpegError:  # also where the format does not allow seeking
        frame = None
    frame = frame or _reservoir(path, rng)
    image = frame.to_image()
    return image.rotate(frame.rotation, expand=True) if frame.rotation % 360 else image


@dataclass(frozen=True)
class Frame:
    """One frame, upright. number: from 0, of those that decode. seconds: when it is shown. pixels: (H, W, 3)
    uint8, BGR."""

    number: int
    seconds: float
    pixels: np.ndarray


def frames(path: Path) -> Iterator[Frame]:
    """All frames of a video that decode, one after the other. Raises UserError where none does."""
    number = -1
    try:
        with av.open(str(path)) as container:
            stream = _stream(container)
            stream.thread_type = "SLICE"  # one video at a time; frame threads would lose frames
            for number, frame in enumerate(_frames(container, stream)):
                pixels = frame.to_ndarray(format="bgr24")
                turned = np.rot90(pixels, round(frame.rotation / 90) % 4)
                yield Frame(number, frame.time or 0.0, np.ascontiguousarray(turned))
    except (av.FFmpegError, ValueError) as error:
        if number < 0:
            raise UserError(f"{path}: is not a readable video ({' '.join(str(error).split())})") from None
        log.warning("%s: breaks off after %d frames", path, number + 1)
    if number < 0:
        raise UserError(f"{path}: no frame of it can be decoded")


def count_frames(path: Path) -> int | None:
    """How many frames a video says that it has; None where it does not. Raises UserError where it is none."""
    try:
        with av.open(str(path)) as container:
            stream = _stream(container)
            if stream.frames:
                return stream.frames
            duration, rate = _duration(container, stream), stream.average_rate
            base = stream.time_base
            return round(duration * base * rate) if duration and base and rate else None
    except (av.FFmpegError, ValueError) as error:
        raise UserError(f"{path}: is not a readable video ({' '.join(str(error).split())})") from None


def frame_rate(path: Path) -> Fraction:
    """Frames a second."""
    with av.open(str(path)) as container:
        rate = _stream(container).average_rate
    return (rate or Fraction(25)).limit_denominator(60000)


def _frame_at(path: Path, moment: float) -> av.VideoFrame | None:
    """The frame shown at a fraction of the duration; None where that is unknown or does not decode."""
    with av.open(str(path)) as container:
        stream = _stream(container)
        duration = _duration(container, stream)
        if not duration:
            return None
        target = int((stream.start_time or 0) + moment * duration)
        container.seek(target, stream=stream)  # to the key frame at or before it
        previous, until = None, 0
        for frame in _frames(container, stream):
            if frame.pts is None:
                return None
            if frame.pts > target:  # the one before was still on display
                return previous or frame
            previous, until = frame, frame.pts + frame.duration
        # Nothing comes after the target: the last frame is shown until then, or the file is cut short.
        return previous if until > target else None


def _duration(container: av.container.InputContainer, stream: av.VideoStream) -> float | None:
    """In units of the stream's time base; None where nothing says it."""
    if stream.duration:
        return float(stream.duration)
    if container.duration and stream.time_base:  # Matroska knows it for the whole file only
        return float(container.duration / av.time_base / stream.time_base)
    return None


def _reservoir(path: Path, rng: np.random.Generator) -> av.VideoFrame:
    """One of all decodable frames, uniformly, without knowing how many there are: the i-th replaces the
    choice with probability 1/i."""
    chosen = None
    with av.open(str(path)) as container:
        for i, frame in enumerate(_frames(container, _stream(container)), 1):
            if rng.random() * i < 1:
                chosen = frame
    if chosen is None:
        raise ValueError("nothing decodes")
    return chosen


def _stream(container: av.container.InputContainer) -> av.VideoStream:
    if not container.streams.video:
        raise ValueError("no video stream")
    stream = container.streams.video[0]
    stream.thread_type = "NONE"  # videos run in parallel; and frame threads lose frames before a damaged one
    return stream


def _frames(container: av.container.InputContainer, stream: av.VideoStream) -> Iterator[av.VideoFrame]:
    """The frames that decode; damaged packets are passed over, a file that breaks off just ends."""
    with suppress(av.FFmpegError):
        for packet in container.demux(stream):
            with suppress(av.FFmpegError):
                yield from packet.decode()
