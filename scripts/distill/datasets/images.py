"""Images as people have them → 8-bit BGR arrays; and a fast scan that finds the ones that cannot be read.

Everything that reads pixels goes through `_load`, so that training can read what the scan has accepted.
Pixels are decoded in full: a truncated file is an error, not a picture with a grey lower half.
"""

import functools
import hashlib
import io
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from distill.datasets.coco import Record
from distill.datasets.jpeg import is_torn
from distill.program import UserError, cause, in_threads, log
from distill.strict import is_line

MISSING = "no such file"
FLAT = 4096  # of 16 bits the upper 8 are read: of 12 bits, or of a camera of heat, hardly any are left
FLAT_IMAGES = f"images of 16 bits use so few values that {FLAT >> 8} or so are left: convert them to 8 bits"
PIXEL_LIMIT = 200_000_000  # a header can promise terabytes: a decompression bomb
FORMATS = ("JPEG", "PNG", "BMP", "TIFF", "WEBP", "GIF", "PPM")  # no format that runs programs (EPS)
SUFFIXES = (".jpg", ".jpeg", ".jfif", ".png", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".ppm", ".pgm")
CHANGED = (
    "is not the image that it was when the dataset was made: put that one back, or remove the dataset's JSON "
    "file, to have it and all that follows made again"
)
Image.MAX_IMAGE_PIXELS = PIXEL_LIMIT
cv2.setNumThreads(0)  # jobs, loaders and scans share the cores already; OpenCV would take all for each

_EIGHT_BIT = frozenset({"1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr"})
_SIXTEEN_BIT = frozenset({"I;16", "I;16B", "I;16L", "I;16N", "I"})
_DEEP = "more than 8 bits"  # in `info`: of colours Pillow decodes the upper 8 alone
_ORIENTATION = 0x0112  # the EXIF tag; values 5 to 8 swap width and height
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class _Unreadable(Exception):
    """The message is the reason why an image cannot be read, without its path."""


@dataclass(frozen=True)
class Scan:
    """What a scan found out about one file: sizes are (width, height)."""

    size: tuple[int, int] = (0, 0)  # upright, as EXIF says
    raw_size: tuple[int, int] = (0, 0)  # as stored
    hash: str = ""  # blake2b-16 of the file's bytes
    reason: str | None = None  # why it cannot be read
    flat: bool = False  # of 16 bits a pixel it uses so few values that hardly any are told apart


def read_image(
    path: str | Path, size: tuple[int, int] | None = None, digest: str | None = None
) -> np.ndarray:
    """Reads an image as (H, W, 3) uint8, BGR, contiguous.

    EXIF rotation is applied. Annotation files disagree on whether it should be, so `size` = (width, height),
    as annotated, decides where it can: if only the stored orientation has that size, that one is returned.
    Grey, palette and CMYK become colour, alpha is laid over white, 16 bits lose the lower 8.
    Colour profiles are ignored. Of an animation, the first picture. digest: the file's, as `scan` gave it.

    Raises UserError where the file is missing, damaged, truncated, too large, of another size, or changed.
    """
    try:
        with _regular_file(path) as file:
            if digest is not None and hash_bytes(file) != digest:
                raise _Unreadable(CHANGED)
            file.seek(0)
            image, orientation = _load(file)
        upright, raw = _sizes(image, orientation)
        if size is not None and tuple(size) not in (upright, raw):
            raise _Unreadable(f"is {upright[0]}x{upright[1]} pixels, annotated as {size[0]}x{size[1]}")
        if _is_flat(image):
            _warn_of_flat(Path(path).parent)
        if orientation in _UPRIGHT and (size is None or tuple(size) == upright):
            image = image.transpose(_UPRIGHT[orientation])
        return _bgr(image)
    except _Unreadable as error:
        raise UserError(f"{path}: {error}") from None


def read_record(root: Path, image: Record) -> np.ndarray:
    """As `read_image`, the image of a dataset's record, below the root of its images."""
    return read_image(root / image["file_name"], (image["width"], image["height"]), image.get("hash"))


def scan(path: str | Path) -> Scan:
    """Decodes one image for its true size and hashes its bytes. Never raises for a bad file."""
    try:
        with _regular_file(path) as file:
            digest = hash_bytes(file)
            file.seek(0)
            image, orientation = _load(file)
            if image.format in ("JPEG", "MPO"):
                file.seek(0)
                if is_torn(file.read()):
                    raise _Unreadable("is damaged (a part of its pixels is destroyed)")
        return Scan(*_sizes(image, orientation), digest, flat=_is_flat(image))
    except _Unreadable as error:
        return Scan(reason=str(error))


def stated_sizes(path: str | Path) -> tuple[tuple[int, int], ...]:
    """(width, height) that an image's header states, upright and as stored; none of a bad file."""
    try:
        with _regular_file(path) as file, Image.open(file, formats=FORMATS) as image:
            turned = image.format != "TIFF" and image.getexif().get(_ORIENTATION)  # Pillow turns TIFFs itself
            return _sizes(image, turned or 1)
    except Exception:  # as in _load
        return ()


def stated_size(path: str | Path) -> tuple[int, int] | None:
    """(width, height), upright, that an image's header states; None of a bad file."""
    return next(iter(stated_sizes(path)), None)


def check_upright(path: Path, image: Record) -> Path:
    """The path of an annotated image that is to be shown by other programs. Raises UserError where EXIF turns
    it, and it is annotated as it is stored."""
    true = stated_size(path)
    if true and true != (image["width"], image["height"]):
        what = "is annotated as it is stored, while other programs turn it as its EXIF says"
        raise UserError(f"{path}: {what}; turn its pixels, and annotate it anew")
    return path


def scan_all(paths: list[Path], what: str) -> Iterator[Scan]:
    """Scans in parallel, in order. Threads will do: decoding and hashing release the interpreter's lock."""
    return in_threads(scan, paths, what, chunk=8)


def hash_bytes(data: bytes | io.BufferedIOBase) -> str:
    """blake2b, 16 bytes, as hexadecimal digits; a file is streamed."""
    if isinstance(data, bytes):
        data = io.BytesIO(data)
    return hashlib.file_digest(data, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def _walk(root: str | Path, refuse: Callable | None = None) -> Iterator[tuple[str, list[str], list[str]]]:
    """As os.walk, without hidden folders."""
    for folder, subfolders, files in os.walk(root, onerror=refuse):
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        yield folder, subfolders, files


def folders_in(root: str | Path) -> list[str]:
    """The folders below `root` of which `list_files` takes files: what comes into one changes its time."""
    return sorted(folder for folder, _, _ in _walk(root) if folder != str(root))


def _refuse(error: OSError) -> NoReturn:  # its files would be missing without a word
    raise UserError(f"{error.filename}: cannot be listed ({error.strerror})")


def files_in(folder: str | Path, suffixes: Iterable[str]) -> list[str]:
    """Paths of what is in a folder itself with these suffixes, hidden or not; [] where there is no folder."""
    if not os.path.isdir(folder):
        return []
    names = sorted(name for found in next(_walk(folder, _refuse))[1:] for name in found)
    return [os.path.join(folder, name) for name in names if Path(name).suffix.lower() in suffixes]


def list_files(root: str | Path, suffixes: Iterable[str], what: str) -> list[str]:
    """Files below `root` with these suffixes, as names relative to it ("sub/a.jpg"), sorted as people count:
    frame2 before frame10.

    Hidden files are passed over; so are, with a warning, symbolic links to folders (they may be circular).
    Raises UserError where there is no such folder, or nothing of the kind in it.
    """
    root, suffixes = Path(root), frozenset(suffixes)
    if not root.is_dir():
        raise UserError(f"{root}: no such folder of {what}")

    names, others = [], 0
    for folder, subfolders, files in _walk(root, _refuse):
        for name in subfolders:
            if os.path.islink(os.path.join(folder, name)):
                log.warning("%s: symbolic link to a folder, not followed", os.path.join(folder, name))
        for name in files:
            if not name.startswith(".") and Path(name).suffix.lower() in suffixes:
                names.append(Path(folder, name).relative_to(root).as_posix())
            else:
                others += 1
    if others:
        log.info("%s: %d other files are left alone", root, others)
    if not names:
        raise UserError(f"{root}: no {what} in this folder (looked for {', '.join(sorted(suffixes))})")
    for name in names:
        if not is_line(name):  # undecodable bytes would not survive a JSON file, line breaks a log
            raise UserError(f"{root}: the file name {name!r} has unprintable characters: rename it")
    return sorted(names, key=natural_key)


def natural_key(name: str) -> tuple[list[str | int], str]:
    """A key that sorts file names with their numbers as numbers."""
    parts = re.split(r"([0-9]+)", os.path.splitext(name)[0])  # texts and numbers in turn
    return [int(part) if place % 2 else part for place, part in enumerate(parts)], name


def _regular_file(path: str | Path) -> io.BufferedReader:
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # opening a pipe would wait forever
            raise _Unreadable("is not a file")
        if os.path.getsize(path) == 0:
            raise _Unreadable("is empty")
        return open(path, "rb")
    except FileNotFoundError:
        raise _Unreadable(MISSING) from None
    except OSError as error:
        raise _Unreadable(f"cannot be opened ({error.strerror})") from None


def _load(file: io.BufferedReader) -> tuple[Image.Image, int]:
    """The decoded image, not rotated yet, and its EXIF orientation."""
    try:
        image = Image.open(file, formats=FORMATS)
        if image.width * image.height > PIXEL_LIMIT:
            raise Image.DecompressionBombError
        if image.mode not in _EIGHT_BIT | _SIXTEEN_BIT:
            raise _Unreadable(f"has pixels of the unsupported kind {image.mode}: convert it to 8-bit RGB")
        image.info[_DEEP] = any(";16" in str(tile[3]) for tile in image.tile)
        image.load()
        darkest, brightest = np.ravel(image.getextrema()) if image.mode == "I" else (0, 0)
        if darkest < 0 or brightest > 65535:
            raise _Unreadable("has pixels beyond 16 bits: convert it to 8-bit RGB")
    except (_Unreadable, MemoryError):
        raise
    except Image.DecompressionBombError:
        raise _Unreadable(f"has more than {PIXEL_LIMIT // 1_000_000} million pixels") from None
    except UnidentifiedImageError:
        raise _Unreadable("is not an image of a known format") from None
    except Exception as error:  # decoders of damaged bytes raise almost anything
        raise _Unreadable(f"is damaged ({cause(error)})") from None
    try:
        return image, image.getexif().get(_ORIENTATION, 1)
    except Exception:  # a broken EXIF block does not spoil the picture
        return image, 1


def _is_flat(image: Image.Image) -> bool:
    if image.mode in _SIXTEEN_BIT:
        return int(np.ptp(np.asarray(image))) < FLAT
    return image.info.get(_DEEP, False) and int(np.ptp(np.asarray(image.convert("RGB")))) < FLAT >> 8


@functools.cache  # once a folder
def _warn_of_flat(folder: Path) -> None:
    log.warning("%s: %s", folder, FLAT_IMAGES)


def _sizes(image: Image.Image, orientation: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """(width, height) of the upright and of the stored image."""
    raw = image.size
    return (raw[::-1] if orientation in (5, 6, 7, 8) else raw), raw


def _bgr(image: Image.Image) -> np.ndarray:
    if image.mode in _SIXTEEN_BIT:
        grey = (np.asarray(image).astype(np.uint32) >> 8).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, axis=2)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return cv2.cvtColor(np.asarray(image.convert("RGB")), cv2.COLOR_RGB2BGR)
