"""new_study.py keeps what is validated on out of what is learned from: frames, copies, parts of others."""

import json
import re

import cv2
import numpy as np
import pytest
import yaml

from helpers import warm
from helpers.films import film
from helpers.others import OBJECT, annotation
from helpers.proposed import datasets, hashes


def scene(seed):
    coarse = np.random.default_rng(seed).integers(0, 255, (9, 12, 3), np.uint8)
    return cv2.resize(coarse, (96, 72), interpolation=cv2.INTER_CUBIC)


@pytest.fixture(scope="module")
def frames(tmp_path_factory):
    """100 frames of a scene that moves, of which each fifth is labelled, before 100 other images."""
    folder = tmp_path_factory.mktemp("frames")
    for n in range(100):
        (folder / "pool").mkdir(exist_ok=True)
        frame = np.roll(scene(0), n // 2, axis=1)
        frame[0, 0] = n
        cv2.imwrite(str(folder / f"pool/a{n:02}.png"), frame)
        cv2.imwrite(str(folder / f"pool/b{n:02}.png"), scene(1000 + n))
    annotate(folder, [f"a{n:02}.png" for n in range(0, 100, 5)])
    return folder


def annotate(folder, names):
    images = [{"id": n, "file_name": name, "width": 96, "height": 72} for n, name in enumerate(names)]
    boxes = [{"id": n, "image_id": n, "category_id": 1, "bbox": [9, 9, 30, 30]} for n in range(len(names))]
    coco = {"images": images, "annotations": boxes, "categories": [{"id": 1, "name": "cat"}]}
    (folder / "a.json").write_text(json.dumps(coco))


def run(folder, output, *options):
    labelled = ("--labelled", folder / "a.json", "--images", folder / "pool")
    return warm.run("new_study.py", *labelled, "--device", "cpu", "--output", output, *options)


def test_the_stretch_of_frames_to_validate_on_is_left_out(frames, tmp_path):
    done = run(frames, tmp_path / "x.yaml", "--unlabelled", frames / "pool")
    assert done.returncode == 0, done.stderr
    made = datasets(tmp_path / "x.yaml")
    tested = [image["file_name"] for image in made["val"]["images"]]
    assert tested == ["a80.png", "a85.png", "a90.png", "a95.png"]
    names = {image["file_name"] for image in made["unlabelled"]["images"]}
    assert names == {f"a{n:02}.png" for n in range(100) if n % 5 and not 80 <= n <= 95} | {
        f"b{n:02}.png" for n in range(100)
    }


def test_frames_that_are_validated_on_are_said(frames, tmp_path):
    """Saved anew, or in videos that nobody can look into."""
    for n in range(100):
        (tmp_path / "more").mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / f"more/{n}.jpg"), cv2.imread(str(frames / f"pool/a{n:02}.png")))
    done = run(frames, tmp_path / "x.yaml", "--unlabelled", tmp_path / "more")
    found = re.search("of 100 unlabelled images, ([0-9]+) look like images to validate on", done.stdout)
    assert 4 <= int(found[1]) < 60, done.stdout
    film(tmp_path / "film/a.mp4", 3)
    done = run(frames, tmp_path / "y.yaml", "--unlabelled", tmp_path / "film")
    assert "give other videos, or --val" in done.stdout, done.stderr


def test_copies_in_the_labelled_set(frames, tmp_path):
    names = [f"{n:02}.png" for n in range(20)]
    (tmp_path / "pool").mkdir()
    for n, name in enumerate(names):  # of 15 and 16, which a split in their order would part, one file
        cv2.imwrite(str(tmp_path / "pool" / name), np.roll(scene(0), 15 if n == 16 else n, axis=1))
    annotate(tmp_path, names)
    done = run(tmp_path, tmp_path / "x.yaml", "--unlabelled", frames / "pool")
    assert done.returncode == 0, done.stderr
    made = datasets(tmp_path / "x.yaml")
    assert (len(made["labelled"]["images"]), len(made["val"]["images"])) == (15, 4)
    assert not hashes(made["labelled"]) & hashes(made["val"])
    cv2.imwrite(str(tmp_path / "pool/16.png"), cv2.imread(str(tmp_path / "pool/15.png")), [16, 9])
    done = run(tmp_path, tmp_path / "y.yaml", "--unlabelled", frames / "pool")
    *_, error = done.stderr.splitlines()
    assert "pool/16.png of the validation set val is also in the training set labelled" in error
    assert "the same pixels in another file" in error
    assert not (tmp_path / "y.yaml").exists()


def test_what_roboflow_tests_on_is_not_learned_from(frames, tmp_path):
    for part, images, seed in (("train", 6, 0), ("valid", 2, 6), ("test", 2, 8)):
        (tmp_path / "voc" / part).mkdir(parents=True)
        for n in range(images):
            cv2.imwrite(str(tmp_path / f"voc/{part}/{part}{n}.jpg"), scene(2000 + seed + n))
            objects = OBJECT.format(name="cat", difficult=0, box=(9, 9, 40, 40))
            xml = annotation(objects, size=(96, 72), name=f"{part}{n}.jpg")
            (tmp_path / f"voc/{part}/{part}{n}.xml").write_text(xml)
    options = (
        "--labelled",
        tmp_path / "voc",
        "--unlabelled",
        frames / "pool",
        "--output",
        tmp_path / "x.yaml",
    )
    done = warm.run("new_study.py", *options)
    assert done.returncode == 0, done.stderr
    written = yaml.safe_load((tmp_path / "x.yaml").read_text())["datasets"]
    assert [written[name]["annotations"][-9:] for name in ("labelled", "val")] == ["voc/train", "voc/valid"]
    made = datasets(tmp_path / "x.yaml")
    assert (len(made["labelled"]["images"]), len(made["val"]["images"])) == (6, 2)
