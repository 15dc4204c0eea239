"""What a model in use writes: not over what it reads, and nothing is predicted twice for a full disk."""

import os
import sys
from contextlib import nullcontext
from pathlib import Path

import choose_images
import cv2
import numpy as np
import predict_images
import pytest

from distill.files import read_json
from distill.inspection import marked
from distill.inspection.marked import check_copies
from distill.models import applied
from distill.models.sources import Part, Source
from distill.models.usage import Plan
from distill.predictions.views import View
from distill.program import UserError
from helpers.options import merge_options


@pytest.fixture
def place(tmp_path, monkeypatch):
    """The current folder, with images in two folders, a video and a link to another one."""
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    for name in (
        "../a.jpg",
        "a.jpg",
        "photos/a.jpg",
        "photos/a.jpg.jpg",
        "photos/photos/b.png",
        "clip.mp4",
        "far/a.jpg.jpg",
    ):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).touch()
    Path("x.jpg").symlink_to("far/a.jpg.jpg")
    return here


OVER, AMONG = "a drawing would replace what is to be read", "would be among the images of"


@pytest.mark.parametrize(
    ("images", "draw", "message"),
    [
        ("photos/a.jpg photos/a.jpg.jpg", ".", f"a.jpg.jpg: {OVER}; give --draw another folder"),
        ("photos/a.jpg photos/a.jpg.jpg", "photos/..", OVER),
        ("a.jpg x.jpg", "far", OVER),
        ("photos", "photos", f"photos: drawings in it {AMONG} photos the next time; give --draw a folder"),
        ("photos", "photos/drawn", AMONG),
        (".", "drawn", AMONG),
        ("photos", ".", AMONG),  # photos/photos/b.png becomes photos/b.png.jpg
        ("a.jpg ../a.jpg", "drawn", "../a.jpg: its drawing would replace that of a.jpg; draw them in two"),
        ("clip.mp4", ".", ""),  # as clip.mp4.mp4, and clip.avi as clip.avi.mp4
        ("a.jpg photos/a.jpg", ".", ""),
        ("photos", "far", ""),
    ],
)
def test_nothing_is_drawn_over_or_among_what_is_read(place, images, draw, message):
    with pytest.raises(UserError, match=message) if message else nullcontext() as said:
        check_copies(Source.of(images.split()), Path(draw))
    assert not message or "\n" not in str(said.value)


def test_an_image_counts_once(place):
    with pytest.raises(UserError, match=r"a\.jpg: is given twice"):
        Source.of(["a.jpg", "photos/a.jpg", "./a.jpg"])


def test_a_name_that_no_result_can_hold_is_refused_before_anything_is_predicted(place):
    Path(os.fsdecode(b"caf\xe9.jpg")).touch()
    with pytest.raises(UserError, match=r"'caf\\udce9\.jpg': the name has unprintable characters"):
        Source.of([os.fsdecode(b"caf\xe9.jpg")])


class Stub:
    """Stands in for predictor and application: finds one thing in each image, each of them a shard."""

    amp, finder, min_score, passes = False, None, 0.0, ()

    def __init__(self, folder):
        self.folder, self.asked, self.whole = folder, [], self
        self.plan = Plan((View(96),), merge_options(), View(96), {})
        self.meta = {"model": "one", "categories": [{"id": 1, "name": "thing"}]}
        for name in ("model.pth", "config.py"):
            (folder / name).touch()

    def parts(self, source, passes, done):
        for number, name in enumerate(source.names):
            if number not in done:
                self.asked.append(name)
                yield Part(number, images=({"id": number, "file_name": name},), ends="shard"), []

    def results(self, parts):
        for part, _ in parts:
            yield part, ([(image, [{"image_id": image["id"], "score": 0.5}]) for image in part.images], [])

    def run(self, source, output, drawn="", finish=None):
        """Returns the images that were predicted."""
        self.asked.clear()
        applied.predict_files(self, source, self, output, lambda count: None, None, drawn, finish)
        return self.asked


@pytest.fixture
def single(monkeypatch):
    """Each image is a shard."""
    monkeypatch.setattr(Source, "length", 1)


def fails(error):
    def call(*args):
        raise error

    return call


def test_what_fails_after_the_last_part_costs_no_results(place, single, monkeypatch):
    stub, source, output = Stub(place), Source.of(["photos"]), Path("out.json")
    with monkeypatch.context() as patch:
        patch.setattr(applied, "read_lines", fails(OSError(28, "No space left on device")))
        with pytest.raises(OSError, match="No space left"):
            stub.run(source, output)
    assert len(stub.asked) == 3
    with pytest.raises(KeyboardInterrupt):
        stub.run(source, output, finish=fails(KeyboardInterrupt()))
    assert stub.asked == []
    with pytest.raises(KeyboardInterrupt):  # nor does what fails in drawing the video
        stub.run(source, output, finish=fails(KeyboardInterrupt()))
    assert stub.asked == []
    assert len(read_json(output)) == 3
    assert len(stub.run(source, output, drawn="elsewhere")) == 3  # finished parts are not drawn there
    assert not Path("out.json.parts").exists()


def test_a_new_image_costs_only_the_parts_that_it_changes(place, single):
    Path("photos/unlike.jpg").touch()
    stub, output = Stub(place), Path("out.json")
    with pytest.raises(KeyboardInterrupt):
        stub.run(Source.of(["photos"]), output, finish=fails(KeyboardInterrupt()))
    Path("photos/m.jpg").touch()  # all after it have other numbers
    asked = stub.run(Source.of(["photos"]), output)
    assert [Path(name).name for name in asked] == ["m.jpg", "b.png", "unlike.jpg"]
    assert len(read_json(output)) == 5


def test_another_image_of_the_same_name_is_another(place, single):
    stub, output = Stub(place), Path("out.json")
    with pytest.raises(KeyboardInterrupt):
        stub.run(Source.of(["photos"]), output, finish=fails(KeyboardInterrupt()))
    Path("photos/a.jpg").write_text("another")
    assert stub.run(Source.of(["photos"]), output) == ["a.jpg"]


def test_another_video_of_the_same_name_is_another(place):
    stub, output = Stub(place), Path("out.json")
    with pytest.raises(KeyboardInterrupt):
        stub.run(Source.of(["clip.mp4"]), output, finish=fails(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        stub.run(Source.of(["clip.mp4"]), output, finish=fails(KeyboardInterrupt()))
    assert stub.asked == []
    Path("clip.mp4").write_text("another")
    assert stub.run(Source.of(["clip.mp4"]), output) == ["clip.mp4"]


def test_parts_of_another_model_are_gone_before_the_folder_is_claimed(place, single, monkeypatch):
    stub, output = Stub(place), Path("out.json")
    with pytest.raises(KeyboardInterrupt):
        stub.run(Source.of(["photos"]), output, finish=fails(KeyboardInterrupt()))
    (place / "model.pth").write_text("another")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", fails(PermissionError(13, "Permission denied")))
        with pytest.raises(PermissionError):
            stub.run(Source.of(["photos"]), output)
    assert len(stub.run(Source.of(["photos"]), output)) == 3


def test_two_runs_do_not_write_one_file(place, single):
    stub, source, output = Stub(place), Source.of(["photos"]), Path("out.json")

    def meanwhile():
        with pytest.raises(UserError, match=r"another process is writing out\.json; wait for its end"):
            Stub(place).run(source, output)

    assert len(stub.run(source, output, finish=meanwhile)) == 3
    assert len(read_json(output)) == 3
    assert not list(Path().glob("out.json.*"))


@pytest.mark.parametrize("folder", ["out.json", "out.images.json"])
def test_a_folder_in_the_place_of_the_output_is_seen_first(place, folder):
    Path(folder).mkdir()
    stub = Stub(place)
    with pytest.raises(UserError, match=f"{folder}: is a folder; --output names a file"):
        stub.run(Source.of(["photos"]), Path("out.json"))
    assert not stub.asked


def test_a_file_of_somebody_else_is_no_output(place):
    stub = Stub(place)
    for names in (["out.json"], ["out.images.json"], ["out.json", "out.images.json"]):
        for name in names:
            Path(name).write_text('{"info": {"description": "mine"}}')
        with pytest.raises(UserError, match=f"{names[0]}: is there already, and not of this program"):
            stub.run(Source.of(["photos"]), Path("out.json"))
        assert not stub.asked
        for name in names:
            assert "mine" in Path(name).read_text()
            Path(name).unlink()
    for _ in range(2):  # its own is replaced
        assert len(stub.run(Source.of(["photos"]), Path("out.json"))) == 3


def test_an_image_is_no_output(place):
    stub = Stub(place)
    with pytest.raises(UserError, match=r"a\.jpg: --output names a file of JSON, such as .*a\.json"):
        stub.run(Source.of(["photos"]), Path("photos/a.jpg"))
    assert not stub.asked
    assert Path("photos/a.jpg").is_file()


@pytest.mark.parametrize(
    ("program", "option", "message"),
    [
        (predict_images, "--batch 0", "--batch: must be at least 1, not 0"),
        (predict_images, "--batch -1", "--batch: must be at least 1, not -1"),
        (predict_images, "--workers -1", "--workers: must be at least 0, not -1"),
        (choose_images, "--images 0", "--images: must be at least 1, not 0"),
        (choose_images, "--images -3", "--images: must be at least 1, not -3"),
    ],
)
def test_numbers_that_are_too_small_are_one_line(place, monkeypatch, program, option, message):
    others = {
        predict_images: "--model m --images photos --output out.json",
        choose_images: "--labels x.json --by next --output list.txt",
    }
    monkeypatch.setattr(sys, "argv", ["program", *others[program].split(), *option.split()])
    with pytest.raises(UserError, match=message):
        program.main()


def test_sure_things_alone_are_drawn(place, monkeypatch):
    cv2.imwrite("photos/photos/b.png", np.zeros((20, 30, 3), np.uint8))
    shown = []
    monkeypatch.setattr(marked, "mark", lambda pixels, records, categories: shown.append(records) or pixels)
    records = [{"image_id": 1, "score": score} for score in (0.29, 0.3, 0.9)]
    image = {"id": 1, "file_name": "photos/b.png", "width": 30, "height": 20}
    marked.draw_images(Path("photos"), [image], records, [], Path("drawn"), 0.3)
    assert shown == [records[1:]]
    assert Path("drawn/photos/b.png.jpg").stat().st_size


def test_what_is_too_large_for_a_jpeg_is_not_drawn(tmp_path, caplog):
    cv2.imwrite(str(tmp_path / "wide.png"), np.zeros((2, 66000, 3), np.uint8))
    image = {"id": 1, "file_name": "wide.png", "width": 66000, "height": 2}
    marked.draw_images(tmp_path, [image], [], [], tmp_path / "drawn", 0.3)
    assert "wide.png: is too large for a JPEG, and not drawn" in caplog.text
    assert not (tmp_path / "drawn").exists()
