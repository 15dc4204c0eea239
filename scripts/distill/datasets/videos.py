"""Frames of the videos in a folder (of the paper's s1m-180 one each, at random), whatever their state."""

import errno
import hashlib
import io
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path

import av
import numpy as np
from PIL import Image

from distill.datasets.images import hash_bytes, list_files, natural_key
from distill.files import replacing
from distill.program import UserError, cause, in_threads, log

SUFFIXES = (
    ".mp4", ".m4v", ".avi", ".mkv", ".mov", ".webm", ".mpg", ".mpeg", ".flv", ".wmv", ".ts", ".mts",
    ".m2ts", ".ogv", ".3gp",
)  # fmt: skip


def extract_frames(
    root: str, seed: int, images_dir: Path, frames: int, at: str, count: int | None = None
) -> Iterator[list[dict]]:
    """Takes frames of each video and writes them as JPEGs of quality 95. Which ones depends on nothing but
    the video, the seed and the video's name. One frame is in memory for each processor.

    root: the videos are below this folder.
    seed: of the draw.
    images_dir: where the frames are put, as {video}.jpg, or {video}.{number}.jpg if there are several.
    frames: how many of each video; of a video that has fewer, all.
    at: "random" or "even"; see `moments`.
    count: how many videos are drawn at random; None: all are taken.

    Yields for each video, in the order of their names, its frames {"file_name", "width", "height", "hash"}
    or, where none can be decoded, one {"file_name", "reason"}.
    Raises UserError where there is no such folder, or no video or too few in it.
    """
    names = list_files(root, SUFFIXES, "videos")
    if count is not None:
        if count > len(names):
            raise UserError(f"{root}: {count} videos are to be drawn, there are {len(names)}")
        names = sorted(sorted(names, key=partial(_digest, "video", seed))[:count], key=natural_key)
    draw = partial(_extract, Path(root), seed, Path(images_dir), frames, at)
    yield from in_threads(draw, names, f"frames of {root}")


def _extract(root: Path, seed: int, images_dir: Path, frames: int, at: str, name: str) -> list[dict]:
    if not os.path.isfile(root / name):  # opening a pipe would wait forever
        return [{"file_name": name, "reason": "is not a file"}]
    rng = np.random.default_rng(int.from_bytes(_digest(seed, name)))
    # The suffix stays: a.mp4 and a.avi are two videos.
    names = (
        [f"{name}.jpg"]
        if frames == 1
        else [f"{name}.{i:0{len(str(frames))}d}.jpg" for i in range(1, frames + 1)]
    )
    try:
        taken = random_frame(root / name, rng) if (frames, at) == (1, "random") else None
        pictures = iter([taken]) if taken else frames_at(root / name, moments(frames, at, rng))
        return [
            _save(picture, images_dir, file_name) for file_name, picture in zip(names, pictures, strict=False)
        ]
    except (av.FFmpegError, ValueError) as error:
        return [{"file_name": name, "reason": f"has no readable frame ({cause(error)})"}]
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        return [{"file_name": name, "reason": "has too long a name for a file of its frame; shorten it"}]


def _save(image: Image.Image, images_dir: Path, file_name: str) -> dict:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=95)
    with replacing(images_dir / file_name) as temporary:
        temporary.write_bytes(buffer.getvalue())
    size = {"width": image.width, "height": image.height}
    return {"file_name": file_name, **size, "hash": hash_bytes(buffer.getvalue())}


def _digest(*key: str | int) -> bytes:
    """Bytes that decide a random choice: they depend on the key alone, not on how many videos there are."""
    return hashlib.blake2b(":".join(map(str, key)).encode(), digest_size=16).digest()


def moments(count: int, at: str, rng: np.random.Generator) -> np.ndarray:
    """(count,) moments from 0 to 1, rising: one in each of as many equal parts of a video, at random or in
    the middle. Any moment is as likely to be drawn as any other."""
    within = rng.random(count) if at == "random" else np.full(count, 0.5)
    return (np.arange(count) + within) / count


def frames_at(path: Path, at: np.ndarray) -> Iterator[Image.Image]:
    """The different frames of a video that are shown at moments (rising fractions of the duration), upright.

    Where one of these does not decode, or the duration is unknown, the moments are those of the frames that
    do decode, which one pass counts and another takes. Raises ValueError or av.FFmpegError if there are none.
    """
    try:
        stamps = [frame and frame.pts for frame in (_frame_at(path, moment) for moment in at)]
    except av.FFmpegError:
        stamps = [None]
    if None in stamps:
        wanted = np.unique((at * max(1, _count(path))).astype(int)).tolist()
        yield from (_upright(frame) for i, frame in enumerate(_all_frames(path)) if i in wanted)
        return
    seen = set()
    for moment, stamp in zip(at, stamps, strict=True):
        if stamp not in seen:
            seen.add(stamp)
            if frame := _frame_at(path, moment):
                yield _upright(frame)


def _count(path: Path) -> int:
    """The number of frames that decode. Raises ValueError if there is none."""
    if not (count := sum(1 for _ in _all_frames(path))):
        raise ValueError("nothing decodes")
    return count


def _all_frames(path: Path) -> Iterator[av.VideoFrame]:
    with av.open(str(path)) as container:
        yield from _frames(container, _stream(container))


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
    return _upright(frame or _reservoir(path, rng))


def _upright(frame: av.VideoFrame) -> Image.Image:
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
            raise UserError(f"{path}: is not a readable video ({cause(error)})") from None
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
        raise UserError(f"{path}: is not a readable video ({cause(error)})") from None


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
    for i, frame in enumerate(_all_frames(path), 1):
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
