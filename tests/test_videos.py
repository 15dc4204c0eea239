"""One random frame of each video: drawn fairly, by seed and name, from whatever decodes."""

import struct
from collections import Counter

import av
import numpy as np
import pytest

from distill.datasets.images import read_image
from distill.datasets.videos import extract_frames, frames, random_frame
from distill.files import write_json
from distill.inspection.marked import draw_video
from distill.program import UserError
from helpers.films import film
from helpers.options import build


def shown(image, level=20):
    """The number of the frame in the picture."""
    return round(float(np.asarray(image).mean()) / level)


def frames_of(videos, out, seed=0, **options):
    return build("clips", {"kind": "videos", "videos": str(videos), "seed": seed, **options}, {}, out)


def test_a_frame_depends_on_seed_and_name(tmp_path):
    for name in ("a.mp4", "b.mp4", "sub/c.avi", "d.mkv", "a.avi"):
        film(tmp_path / "videos" / name, 10)
    one, two = (frames_of(tmp_path / "videos", tmp_path / name) for name in ("one", "two"))
    names = [f"{name}.jpg" for name in ("a.avi", "a.mp4", "b.mp4", "d.mkv", "sub/c.avi")]
    assert [image["file_name"] for image in one["images"]] == names
    assert one["images"] == two["images"]
    assert one["info"]["image_root"] == str(tmp_path / "one")
    image = read_image(tmp_path / "one" / names[0], (64, 48))
    assert image.shape == (48, 64, 3)
    drawn = [[shown(read_image(tmp_path / "one" / name)) for name in names]]
    for seed in (1, 2):
        frames_of(tmp_path / "videos", tmp_path / "one", seed)
        drawn.append([shown(read_image(tmp_path / "one" / name)) for name in names])
    assert len({tuple(d) for d in drawn}) == 3
    (tmp_path / "videos/a.avi").unlink()  # the others' frames stay what they are
    fewer = frames_of(tmp_path / "videos", tmp_path / "three")
    assert [image["hash"] for image in fewer["images"]] == [image["hash"] for image in one["images"][1:]]


def test_some_videos_are_drawn_before_any_is_decoded(tmp_path):
    for name in "abcdef":
        film(tmp_path / f"videos/{name}.mp4", 3)
    drawn = {}
    for seed in (0, 1, 2):
        for count in (2, 4):
            out = tmp_path / f"{seed}-{count}"
            names = [
                image["file_name"]
                for image in frames_of(tmp_path / "videos", out, seed, images=count)["images"]
            ]
            assert sorted(path.name for path in out.iterdir()) == names
            drawn[seed, count] = set(names)
        assert len(drawn[seed, 2]) == 2 < len(drawn[seed, 4])
        assert drawn[seed, 2] < drawn[seed, 4]  # one seed: nested
    assert len({frozenset(drawn[seed, 4]) for seed in (0, 1, 2)}) > 1
    with pytest.raises(UserError, match="7 videos are to be drawn, there are 6"):
        frames_of(tmp_path / "videos", tmp_path / "out", images=7)


@pytest.mark.parametrize("name", ["sought.mp4", "without_duration.ts", "raw.m4v"])
def test_every_frame_is_as_likely(tmp_path, name):
    container = "m4v" if name == "raw.m4v" else None
    path = film(tmp_path / name, 5, container, codec="mpeg4", level=50)
    counts = Counter(shown(random_frame(path, np.random.default_rng(seed)), 50) for seed in range(200))
    assert set(counts) == set(range(5))
    assert min(counts.values()) >= 20  # 40 expected; below 20 has p < 1e-3 for all five together


@pytest.mark.parametrize(("suffix", "codec"), [("avi", "mjpeg"), ("mkv", "mpeg4"), ("ts", "mpeg4")])
def test_a_video_cut_short_gives_one_of_its_frames(tmp_path, suffix, codec):
    path = film(tmp_path / f"whole.{suffix}", 12, codec=codec)
    cut = tmp_path / f"cut.{suffix}"
    cut.write_bytes(path.read_bytes()[: path.stat().st_size * 4 // 5])
    counts = Counter(shown(random_frame(cut, np.random.default_rng(seed))) for seed in range(100))
    assert 6 <= len(counts) < 12
    assert max(counts.values()) < 40


def test_a_damaged_middle_is_passed_over(tmp_path):
    path = film(tmp_path / "a.avi", 12, codec="mjpeg")
    data = bytearray(path.read_bytes())
    middle = data.find(b"\xff\xd8", len(data) // 2)
    data[middle : middle + 200] = bytes(200)
    path.write_bytes(data)
    seen = {shown(random_frame(path, np.random.default_rng(seed))) for seed in range(60)}
    assert {0, 1, 10, 11} < seen


def test_a_phone_held_upright(tmp_path):
    path = tmp_path / "a.mp4"
    bright_left = np.zeros((48, 64, 3), np.uint8)
    bright_left[:, :32] = 255
    with av.open(str(path), "w") as out:
        stream = out.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        out.mux(stream.encode(av.VideoFrame.from_ndarray(bright_left, "rgb24")))
        out.mux(stream.encode(None))
    data = bytearray(path.read_bytes())
    matrix = data.find(b"tkhd") + 44  # shown rotated by 90° clockwise: (x, y) → (-y, x)
    data[matrix : matrix + 20] = struct.pack(">5i", 0, 1 << 16, 0, -1 << 16, 0)
    path.write_bytes(data)
    image = np.asarray(random_frame(path, np.random.default_rng(0)))
    assert image.shape == (64, 48, 3)
    assert image[:24].mean() > 200
    assert image[40:].mean() < 50


def test_broken_videos_are_left_out_up_to_the_limit(tmp_path):
    for i in range(3):
        film(tmp_path / "videos" / f"{i}.mp4", 3)
    (tmp_path / "videos/broken.mp4").write_bytes(b"\0" * 5000)
    (tmp_path / "videos/empty.mp4").touch()
    with av.open(str(tmp_path / "videos/sound.mp4"), "w") as out:
        stream = out.add_stream("aac", rate=8000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        sound.sample_rate = 8000
        out.mux(stream.encode(sound))
        out.mux(stream.encode(None))
    film(tmp_path / "videos" / f"{'x' * 240}.mp4", 3)
    with pytest.raises(UserError, match="4 of 7 videos cannot be read"):
        frames_of(tmp_path / "videos", tmp_path / "out")
    dataset = frames_of(tmp_path / "videos", tmp_path / "out", unreadable=0.6)
    assert [image["file_name"] for image in dataset["images"]] == ["0.mp4.jpg", "1.mp4.jpg", "2.mp4.jpg"]
    assert [video["file_name"] for video in dataset["info"]["skipped"]] == [
        "broken.mp4",
        "empty.mp4",
        "sound.mp4",
        f"{'x' * 240}.mp4",
    ]
    assert "\n" not in "".join(video["reason"] for video in dataset["info"]["skipped"])
    with pytest.raises(UserError, match="no videos in this folder"):
        frames_of(tmp_path / "out", tmp_path / "out2")


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "raw.ts"])
def test_several_frames_are_spread_over_a_video(tmp_path, name):
    """Of 40 frames 4 even ones are numbers 5, 15, 25, 35; random ones are one of each ten."""
    film(tmp_path / "videos" / name, 40, "m4v" if name.startswith("raw") else None, level=5)
    even = frames_of(tmp_path / "videos", tmp_path / "even", frames=4, at="even")
    names = [f"{name}.{i}.jpg" for i in (1, 2, 3, 4)]
    assert [(i["id"], i["file_name"]) for i in even["images"]] == [*enumerate(names, 1)]
    assert [shown(read_image(tmp_path / "even" / n), 5) for n in names] == pytest.approx(
        [5, 15, 25, 35], abs=1
    )
    drawn = set()
    for seed in range(6):
        frames_of(tmp_path / "videos", tmp_path / "random", seed, frames=4)
        found = [shown(read_image(tmp_path / "random" / n), 5) for n in names]
        assert [int(n) // 10 for n in found] == [0, 1, 2, 3]
        drawn.add(tuple(found))
    assert len(drawn) > 3


def test_a_video_gives_no_frame_twice(tmp_path):
    film(tmp_path / "videos/a.mp4", 3)
    film(tmp_path / "videos/b.mp4", 3)
    (tmp_path / "videos/c.mp4").write_bytes(b"none")
    dataset = frames_of(tmp_path / "videos", tmp_path / "out", frames=10, at="even", unreadable=0.4)
    assert [image["id"] for image in dataset["images"]] == [1, 2, 3, 11, 12, 13]
    assert len({image["hash"] for image in dataset["images"][:3]}) == 3
    assert dataset["info"]["skipped"][0]["file_name"] == "c.mp4"
    with pytest.raises(UserError, match="1 of 3 videos cannot be read"):
        frames_of(tmp_path / "videos", tmp_path / "out", frames=10, unreadable=0.3)


def test_several_frames_of_a_video_cut_short_are_of_what_is_left(tmp_path):
    path = tmp_path / "videos/a.mpg"
    film(path, 200, codec="mpeg2video", level=1)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    dataset = frames_of(tmp_path / "videos", tmp_path / "out", frames=4, at="even")
    found = [shown(read_image(tmp_path / "out" / i["file_name"]), 1) for i in dataset["images"]]
    assert len(found) == 4
    assert found == sorted(found)
    assert max(found) <= 120


@pytest.mark.parametrize("format", ["mpegts", "h264"])
def test_frames_of_joined_files_and_without_times_are_drawn_one_after_the_other(tmp_path, format):
    """Times that begin anew, or that nobody has written."""
    once = film(tmp_path / "once", 12, format, "libx264")
    joined = tmp_path / "joined.ts"
    joined.write_bytes(once.read_bytes() * 2)
    write_json(tmp_path / "o.json", [])
    draw_video(joined, tmp_path / "o.json", [], tmp_path / "drawn.mp4", 0.3)
    moments = [frame.seconds for frame in frames(tmp_path / "drawn.mp4")]
    assert len(moments) == len(list(frames(joined)))
    assert moments == sorted(set(moments))


@pytest.mark.parametrize("suffix", [".MTS", ".m2ts"])
def test_what_camcorders_write_is_a_video(tmp_path, suffix):
    film(tmp_path / "whole.ts", 12).rename(tmp_path / f"a{suffix}")
    [[frame]] = extract_frames(str(tmp_path), 0, tmp_path / "out", 1, "random")
    assert frame["file_name"] == f"a{suffix}.jpg"
    assert "hash" in frame
