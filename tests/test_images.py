"""Images as people have them: what `read_image` makes of each kind, and what it refuses in one line."""

import io
import os
import struct
import subprocess
import sys
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from distill.datasets.images import FLAT_IMAGES, PIXEL_LIMIT, list_files, read_image, scan, stated_size
from distill.datasets.jpeg import is_torn
from distill.program import UserError
from helpers import SCRIPTS

BLUE_BGR = [200, 40, 10]


def save(path, image, **options):
    image.save(path, **options)
    return path


def wide(mode="RGB"):
    """30 x 20, black, its top left quarter blue: every rotation and mirror image differs."""
    pixels = np.zeros((20, 30, 3), np.uint8)
    pixels[:10, :15] = BLUE_BGR[::-1]
    return Image.fromarray(pixels).convert(mode)


def refused(path, match, size=None):
    with pytest.raises(UserError, match=match) as caught:
        read_image(path, size)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    if size is None:  # what is in the file is wrong, not what is said of it
        assert scan(path).reason is not None


def test_opencv_leaves_the_other_cores_to_others():
    program = "import cv2, distill.datasets.images; print(cv2.getNumThreads())"
    environment = {**os.environ, "PYTHONPATH": str(SCRIPTS)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert done.stdout == "1\n"


def test_colours_come_as_bgr(tmp_path):
    image = read_image(save(tmp_path / "a.png", wide()))
    assert image.shape == (20, 30, 3)
    assert image.dtype == np.uint8
    assert image.flags.c_contiguous
    assert image[0, 0].tolist() == BLUE_BGR
    assert image[15, 0].tolist() == [0, 0, 0]


def test_grey_and_bilevel(tmp_path):
    grey = Image.new("L", (5, 4), 77)
    assert (read_image(save(tmp_path / "a.png", grey)) == 77).all()
    assert (read_image(save(tmp_path / "b.png", Image.new("1", (5, 4), 1))) == 255).all()


def test_cmyk_jpeg(tmp_path):
    image = read_image(save(tmp_path / "a.jpg", Image.new("CMYK", (8, 8), (0, 255, 255, 0)), quality=95))
    assert np.abs(image.astype(int) - [0, 0, 255]).max() < 8  # no cyan, all magenta and yellow: red


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_16_bit_keeps_the_upper_8(tmp_path, suffix):
    values = np.array([[0, 255, 256, 65535]], np.uint16)
    image = read_image(save(tmp_path / f"a.{suffix}", Image.fromarray(values)))
    assert image[0, :, 1].tolist() == [0, 0, 1, 255]


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("shape", [(1, 2), (1, 2, 3), (1, 2, 4)])
@pytest.mark.parametrize(("values", "flat"), [((0, 4095), 1), ((3, 4300), 0), ((7100, 8500), 1)])
def test_few_values_of_sixteen_bits_are_noticed(tmp_path, caplog, suffix, shape, values, flat):
    """Of a camera of 12 bits, or of heat."""
    pixels = np.zeros(shape, np.uint16)
    pixels.reshape(2, -1)[:] = np.array(values)[:, None]
    pixels[..., 3:] = 65535  # opaque
    path = tmp_path / f"a.{suffix}"
    cv2.imwrite(str(path), pixels)
    assert scan(path).flat == flat
    for _ in range(2):
        read_image(path)
    assert caplog.messages == [f"{tmp_path}: {FLAT_IMAGES}"] * flat  # once a folder


def test_16_bit_colour_png(tmp_path):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 1, 1, 16, 2, 0, 0, 0)
    pixel = zlib.compress(b"\0" + struct.pack(">HHH", 0x0A00, 0x28FF, 0xC800))
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixel) + chunk(b"IEND", b"")
    (tmp_path / "a.png").write_bytes(png)
    assert read_image(tmp_path / "a.png")[0, 0].tolist() == BLUE_BGR


def test_alpha_is_laid_over_white(tmp_path):
    rgba = Image.new("RGBA", (2, 1), (255, 0, 0, 0))  # transparent, the hidden colour is red
    rgba.putpixel((1, 0), (255, 0, 0, 255))
    assert read_image(save(tmp_path / "a.png", rgba))[0].tolist() == [[255, 255, 255], [0, 0, 255]]
    palette = Image.new("P", (2, 1), 0)
    palette.putpalette([255, 0, 0, 10, 40, 200])
    palette.putpixel((1, 0), 1)
    opaque = read_image(save(tmp_path / "b.png", palette))[0].tolist()
    assert opaque == [[0, 0, 255], BLUE_BGR]
    clear = read_image(save(tmp_path / "c.png", palette, transparency=0))[0].tolist()
    assert clear == [[255, 255, 255], BLUE_BGR]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_is_followed_unless_the_annotated_size_is_the_stored_one(tmp_path, orientation):
    upright = wide()
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }  # fmt: skip
    stored = upright.transpose(undo[orientation]) if orientation > 1 else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    for suffix in ("jpg", "png", "tif"):
        path = save(tmp_path / f"a.{suffix}", stored, exif=exif, quality=95)
        expected = np.asarray(upright)[:, :, ::-1].astype(int)
        assert scan(path).size == stated_size(path) == (30, 20)
        for size in (None, (30, 20)):
            assert np.abs(read_image(path, size) - expected).mean() < 5
        if orientation >= 5 and suffix != "tif":  # a TIFF's orientation is part of its pixels, not a hint
            assert scan(path).raw_size == (20, 30)
            raw = read_image(path, (20, 30))
            assert np.abs(raw - np.asarray(stored)[:, :, ::-1].astype(int)).mean() < 5
        refused(path, r"is 30x20 pixels, annotated as 31x20", (31, 20))


def test_of_several_pictures_the_first(tmp_path):
    for suffix in ("mpo", "gif", "tif", "webp"):  # phones call an MPO .jpg
        others = [Image.new("RGB", (30, 20), "red")]
        path = save(tmp_path / f"a.{suffix}", wide(), save_all=True, append_images=others)
        path = path.rename(tmp_path / "a.jpg") if suffix == "mpo" else path
        assert read_image(path)[15, 25].max() < 10


def test_one_pixel(tmp_path):
    path = save(tmp_path / "a.png", Image.new("RGB", (1, 1), tuple(BLUE_BGR[::-1])))
    assert read_image(path, (1, 1)).tolist() == [[BLUE_BGR]]


def test_damaged_files(tmp_path):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8))
    for suffix in ("jpg", "png", "webp", "tif"):
        whole = save(tmp_path / f"whole.{suffix}", noise).read_bytes()
        assert scan(tmp_path / f"whole.{suffix}").reason is None
        for part in (len(whole) * 2 // 3, 30):
            path = tmp_path / f"cut{part}.{suffix}"
            path.write_bytes(whole[:part])
            refused(path, "damaged|not an image")


@pytest.mark.parametrize("progressive", [False, True])
def test_photographs_that_lost_a_third_of_their_pixels(coco_pose, progressive):
    """No whole one is taken for damaged; of damaged baseline files nearly all are found, of others most."""
    rng, found, count = np.random.default_rng(0), 0, 0
    for path in sorted((coco_pose / "images").glob("*.jpg"))[:40]:
        file = io.BytesIO()
        Image.open(path).convert("RGB").save(file, "JPEG", quality=85, progressive=progressive)
        for whole in (path.read_bytes(), file.getvalue()):
            assert not is_torn(whole)
        start = whole.index(b"\xff\xda") + 20
        length = (len(whole) - start) // 3
        at = start + int(rng.integers(length, 2 * length))
        for piece in (bytes(length), rng.integers(0, 255, length, np.uint8).tobytes(), b""):
            found += is_torn(whole[:at] + piece + whole[at + length :])
            count += 1
    assert found / count > (0.5 if progressive else 0.95)


def test_jpegs_of_all_kinds_are_whole(tmp_path):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (67, 101, 3), np.uint8))
    options = [
        {"quality": quality, "subsampling": s}
        for quality in (1, 50, 100)
        for s in ("4:4:4", "4:2:2", "4:2:0")
    ]
    options += [
        {"restart_marker_blocks": 3},
        {"optimize": True},
        {"keep_rgb": True},
        {"comment": b"x" * 60000},
    ]
    options += [{"icc_profile": bytes(200_000)}]
    for mode in ("RGB", "L", "CMYK", "YCbCr"):
        for size in ((1, 1), (8, 8), (101, 67), (1, 500)):
            for more in options if mode == "RGB" else options[:1]:
                for progressive in (False, True):
                    image = noise.convert(mode).resize(size)
                    path = save(tmp_path / "a.jpg", image, progressive=progressive, **more)
                    assert scan(path).reason is None, (mode, size, more, progressive)
                    path.write_bytes(path.read_bytes() + b"left over" * 100)
                    assert scan(path).reason is None


def test_what_is_no_image(tmp_path):
    (tmp_path / "empty.jpg").touch()
    refused(tmp_path / "empty.jpg", "is empty")
    (tmp_path / "text.jpg").write_text("<html>404 not found</html>")
    refused(tmp_path / "text.jpg", "not an image")
    refused(tmp_path / "missing.jpg", "no such file")
    refused(tmp_path, "is not a file")
    os.mkfifo(tmp_path / "pipe.jpg")
    refused(tmp_path / "pipe.jpg", "is not a file")
    refused(save(tmp_path / "float.tif", Image.new("F", (2, 2), 0.5)), "unsupported kind F")
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n"
    (tmp_path / "program.png").write_bytes(eps)
    refused(tmp_path / "program.png", "not an image")


@pytest.mark.parametrize("side", [20_000, 60_000])
def test_a_header_that_promises_too_much_is_refused_before_decoding(tmp_path, side):
    assert side**2 > PIXEL_LIMIT
    data = bytearray(save(tmp_path / "a.png", wide()).read_bytes())
    data[16:24] = struct.pack(">II", side, side)
    data[29:33] = struct.pack(">I", zlib.crc32(bytes(data[12:29])))
    (tmp_path / "a.png").write_bytes(data)
    refused(tmp_path / "a.png", "more than 200 million pixels")


def test_broken_exif_does_not_spoil_the_picture(tmp_path):
    path = save(tmp_path / "a.jpg", wide(), exif=b"Exif\0\0II*\0\xff\xff\xff\xff" + b"\xff" * 20)
    assert read_image(path).shape == (20, 30, 3)


def test_the_hash_is_of_the_bytes(tmp_path):
    one = scan(save(tmp_path / "a.png", wide()))
    assert len(one.hash) == 32
    assert one == scan(save(tmp_path / "b.png", wide()))
    assert one.hash != scan(save(tmp_path / "c.png", wide(), compress_level=1)).hash


def test_numbers_in_names_are_counted(tmp_path):
    names = ["frame2.png", "frame10.png", "frame010.png", "frame10b.png", "take2/1.png", "take10/0.png"]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert list_files(tmp_path, {".png"}, "images") == [*names[:1], names[2], names[1], *names[3:]]


def test_listing(tmp_path, caplog, monkeypatch):
    for name in ("b.JPG", "a.png", ".hidden.png", "notes.txt", "sub/c.jpeg", ".trash/d.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "loop").symlink_to(tmp_path)
    assert list_files(tmp_path, {".jpg", ".jpeg", ".png"}, "images") == ["a.png", "b.JPG", "sub/c.jpeg"]
    assert "loop: symbolic link to a folder, not followed" in caplog.text
    with pytest.raises(UserError, match="no such folder"):
        list_files(tmp_path / "nowhere", {".jpg"}, "images")
    scandir = os.scandir

    def without_rights(path):
        if str(path).endswith("sub"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", without_rights)
    with pytest.raises(UserError, match=r"sub: cannot be listed \(Permission denied\)"):
        list_files(tmp_path, {".jpg", ".png"}, "images")
    monkeypatch.undo()
    with pytest.raises(UserError, match="no images in this folder"):
        list_files(tmp_path / "sub", {".png"}, "images")
    (tmp_path / "line\nbreak.png").touch()
    with pytest.raises(UserError, match="rename"):
        list_files(tmp_path, {".png"}, "images")
