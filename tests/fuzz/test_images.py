"""Image files: each kind of damage to each format. What passes must show what the whole file shows; where it does
not, the format has nothing by which anybody could tell, and the table says so."""

import io
import os
import unicodedata

import cv2
import numpy as np
import pytest
from PIL import Image

from distill.datasets.images import read_image, scan
from fuzz.harness import judge, limited, no_file, outcome
from helpers.options import build

RNG = np.random.default_rng(0)


def photograph(size=(320, 240)):
    """Something like a photograph: soft shapes, and grain."""
    rng = np.random.default_rng(1)
    soft = cv2.resize(rng.integers(0, 255, (12, 16, 3), np.uint8), size, interpolation=cv2.INTER_CUBIC)
    grain = rng.normal(0, 12, (*size[::-1], 3))
    return Image.fromarray(np.clip(soft + grain, 0, 255).astype(np.uint8))


def saved(kind, **options):
    file = io.BytesIO()
    photograph().save(file, kind, **options)
    return file.getvalue()


FORMATS = {
    "jpg": saved("JPEG", quality=90),
    "progressive": saved("JPEG", quality=90, progressive=True),
    "restarts": saved("JPEG", quality=90, restart_marker_rows=1),
    "grey": (lambda f: (photograph().convert("L").save(f, "JPEG"), f.getvalue())[1])(io.BytesIO()),
    "png": saved("PNG"),
    "webp": saved("WEBP", quality=90),
    "lossless webp": saved("WEBP", lossless=True),
    "deflated tif": saved("TIFF", compression="tiff_deflate"),
    "tif": saved("TIFF"),
    "gif": saved("GIF"),
    "bmp": saved("BMP"),
    "ppm": saved("PPM"),
}


def pixels_at(data):
    """Where the pixels begin: behind the headers."""
    return data.index(b"\xff\xda") + 20 if data.startswith(b"\xff\xd8") else 200


def overwritten(data, share, with_):
    start = pixels_at(data)
    length = int((len(data) - start) * share)
    at = start + (len(data) - start - length) // 2
    return data[:at] + with_(length) + data[at + length :]


def removed(data, share):
    start = pixels_at(data)
    length = int((len(data) - start) * share)
    at = start + (len(data) - start - length) // 2
    return data[:at] + data[at + length :]


DAMAGES = {
    "a third zeros": lambda d: overwritten(d, 1 / 3, bytes),
    "a third ones": lambda d: overwritten(d, 1 / 3, lambda n: b"\xff" * n),
    "a third noise": lambda d: overwritten(d, 1 / 3, RNG.bytes),
    "a third noise, no markers": lambda d: overwritten(
        d, 1 / 3, lambda n: RNG.integers(0, 255, n, np.uint8).tobytes()
    ),
    "a twentieth zeros": lambda d: overwritten(d, 1 / 20, bytes),
    "a third missing": lambda d: removed(d, 1 / 3),
    "a tenth missing": lambda d: removed(d, 1 / 10),
    "the end missing": lambda d: d[: len(d) * 2 // 3],
    "the last bytes missing": lambda d: d[:-40],
    "the header only": lambda d: d[:100],
    "the magic number only": lambda d: d[:8],
    "a first byte that is wrong": lambda d: bytes([d[0] ^ 255]) + d[1:],
    "the first kilobyte zeros": lambda d: bytes(1000) + d[1000:],
    "line ends of Windows": lambda d: d.replace(b"\n", b"\r\n"),
    "as text": lambda d: d.decode("latin-1").encode(),
    "twice": lambda d: d + d,
    "bytes behind it": lambda d: d + b"left over" * 100,
}
# (format, damage) that nothing in the file tells: no checksum, and any bytes are pixels.
SILENT = {
    ("jpg", "a twentieth zeros"), ("restarts", "a twentieth zeros"),  # a code that decodes, here
    ("webp", "a third zeros"), ("webp", "a third noise"), ("webp", "a third noise, no markers"),
    ("webp", "a twentieth zeros"), ("webp", "line ends of Windows"),
    ("lossless webp", "a third zeros"), ("lossless webp", "a third noise"),
    ("lossless webp", "a third noise, no markers"), ("lossless webp", "a twentieth zeros"),
    ("bmp", "line ends of Windows"), ("ppm", "line ends of Windows"), ("ppm", "as text"),
    ("tif", "a third zeros"), ("tif", "a third ones"), ("tif", "a third noise"),
    ("tif", "a third noise, no markers"), ("tif", "a twentieth zeros"),
    ("bmp", "a third zeros"), ("bmp", "a third ones"), ("bmp", "a third noise"),
    ("bmp", "a third noise, no markers"), ("bmp", "a twentieth zeros"),
    ("ppm", "a third zeros"), ("ppm", "a third ones"), ("ppm", "a third noise"),
    ("ppm", "a third noise, no markers"), ("ppm", "a twentieth zeros"),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", FORMATS)
def test_damage_is_found_or_does_not_matter(tmp_path, name, damage):
    whole, path = tmp_path / "whole.img", tmp_path / "damaged.img"
    whole.write_bytes(FORMATS[name])
    path.write_bytes(DAMAGES[damage](FORMATS[name]))
    with limited():
        found = scan(path)
    if found.reason is not None:
        assert "\n" not in found.reason
        return
    same = np.array_equal(read_image(path), read_image(whole))
    assert same != ((name, damage) in SILENT)


@pytest.mark.parametrize("name", FORMATS)
def test_whole_files_pass(tmp_path, name):
    (tmp_path / "a.img").write_bytes(FORMATS[name])
    assert scan(tmp_path / "a.img").size == (320, 240)


@pytest.mark.parametrize("seed", range(30))
def test_bytes_at_random_end_in_a_reason(tmp_path, seed):
    """Behind the first bytes of each format, too."""
    rng = np.random.default_rng(seed)
    head = list(FORMATS.values())[seed % len(FORMATS)][: seed * 3]
    (tmp_path / "a.img").write_bytes(head + rng.bytes(2000))
    with limited():
        found = scan(tmp_path / "a.img")
    assert found.reason
    message, _ = outcome(lambda: read_image(tmp_path / "a.img"))
    assert "a.img" in message


def test_one_bad_bit_in_each_of_many_places_of_a_header(tmp_path):
    """A reason, or a picture: of the size that was scanned."""
    for name in ("jpg", "png", "gif", "bmp", "webp", "deflated tif"):
        for at in range(0, 120, 3):
            data = bytearray(FORMATS[name])
            data[at] ^= 1 << (at % 8)
            path = tmp_path / f"{name}{at}"
            path.write_bytes(data)
            with limited():
                found = scan(path)
            if found.reason is None:
                assert read_image(path).shape == (*found.size[::-1], 3)


NAMES = {  # of files in a folder → whether the folder is taken
    "no\u00a0break.jpg": True,
    "full\u3000width.jpg": True,
    "right\u202eto left.jpg": True,
    "zero\u200bwidth.jpg": True,
    "decomposed " + unicodedata.normalize("NFD", "ü") + ".jpg": True,
    "\U0001f600.jpg": True,
    "a;b&c|d $(x) `y` 'z' \"q\" {w} %s #.jpg": True,
    "-rf.jpg": True,
    "~.jpg": True,
    "a\\b.jpg": True,
    " spaces .jpg": True,
    "two\nlines.jpg": False,
    "tab\t.jpg": False,
    "bell\a.jpg": False,
    "escape\x1b[31m.jpg": False,
    "paragraph\u2029.jpg": False,
    b"latin-1 \xe9.jpg": False,
}


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_names_of_files(tmp_path, name):
    file = os.path.join(os.fsencode(tmp_path), name if isinstance(name, bytes) else name.encode())
    for path in (file, os.fsencode(tmp_path / "usual.jpg")):
        with open(path, "wb") as target:
            target.write(FORMATS["jpg"])
    spec = {"kind": "folder", "images": str(tmp_path)}
    if NAMES[name]:
        judge(
            f"ok {{i['file_name'] for i in it['images']}} == {{{name!r}, 'usual.jpg'}}",
            lambda: build("x", spec, {}),
        )
    else:
        judge("has unprintable characters: rename it", lambda: build("x", spec, {}))


@pytest.mark.parametrize("kind", ["folder", "videos"])
@pytest.mark.parametrize("what", ["pipe", "socket", "folder", "device", "loop", "empty", "text"])
def test_what_is_no_file_is_left_out(tmp_path, kind, what):
    """Of a folder of images, or of videos, with one that is sound."""
    suffix, root = {"folder": "jpg", "videos": "gif.mp4"}[kind], tmp_path / "root"
    root.mkdir()
    path = root / f"odd.{suffix}"
    (root / f"sound.{suffix}").write_bytes(FORMATS["jpg" if kind == "folder" else "gif"])
    if what in ("empty", "text"):
        path.write_text("no picture" * (what == "text"))
    no_file(path, what)
    key = {"folder": "images", "videos": "videos"}[kind]
    spec = {"kind": kind, key: str(root), "unreadable": 0.5}
    skipped = [] if what == "folder" else [f"odd.{suffix}"]
    rule = f"len(it['images']) == 1 and [s['file_name'] for s in it['info']['skipped']] == {skipped}"
    judge(f"ok {rule}", lambda: build("x", spec, {}, tmp_path / "frames"))


def test_a_changed_image_is_noticed(tmp_path):
    (tmp_path / "a.png").write_bytes(FORMATS["png"])
    digest = scan(tmp_path / "a.png").hash
    assert read_image(tmp_path / "a.png", (320, 240), digest).shape == (240, 320, 3)
    photograph().rotate(180).save(tmp_path / "a.png")
    judge("is not the image that it was", lambda: read_image(tmp_path / "a.png", (320, 240), digest), "a.png")
