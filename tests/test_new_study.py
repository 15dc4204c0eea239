"""new_study.py writes a study of the data that people have, as it was meant, or says in one line why not."""

import json
import shutil

import pytest
import yaml
from PIL import Image

from distill.study import proposal
from helpers import warm
from helpers.arrows import draw_dataset
from helpers.films import film
from helpers.others import voc, yolo
from helpers.proposed import datasets, hashes


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    for name, images in (("train", 12), ("val", 4), ("more", 9)):
        draw_dataset(folder / name, images, seed=len(name))
    return folder


def run(data, output, *options, cwd=None):
    labelled = ("--labelled", data / "train/train.json", "--images", data / "train/images")
    return warm.run("new_study.py", *labelled, "--device", "cpu", "--output", output, *options, cwd=cwd)


def test_a_written_study_is_read_as_it_was_meant(data, tmp_path):
    val = ("--val", data / "val/val.json", "--val-images", data / "val/images")
    done = run(data, tmp_path / "mine.yaml", "--unlabelled", data / "more", *val)
    assert done.returncode == 0, done.stderr
    assert "12 labelled images" in done.stdout
    written = yaml.safe_load((tmp_path / "mine.yaml").read_text())
    assert written["data"] == str(data)
    assert written["datasets"]["val"] == {
        "kind": "coco",
        "images": "val/images",
        "annotations": "val/val.json",
    }
    assert written["datasets"]["unlabelled"] == {"kind": "folder", "images": "more"}
    assert written["results"] == "results/mine"
    again = run(data, tmp_path / "mine.yaml", "--unlabelled", data / "more")
    assert again.stderr.splitlines()[-1].startswith(f"error: {tmp_path / 'mine.yaml'} is there already")


@pytest.mark.parametrize("hide", [(), ("--hide", "0.5")])
def test_annotated_images_among_the_unlabelled_ones_are_left_out_there(data, tmp_path, hide):
    shutil.copytree(data, tmp_path / "data")
    for n, path in enumerate(sorted((data / "more/images").iterdir())):
        shutil.copy(path, tmp_path / f"data/train/images/other{n}{path.suffix}")
    done = run(tmp_path / "data", tmp_path / "x.yaml", "--unlabelled", tmp_path / "data/train/images", *hide)
    assert done.returncode == 0, done.stderr
    assert "annotated images are among the unlabelled ones" in done.stdout
    made = datasets(tmp_path / "x.yaml")
    assert len(made["pool"]["images"]) == 21
    assert len(made["unlabelled"]["images"]) == 9 + (5 if hide else 0)
    assert not hashes(made["unlabelled"]) & (hashes(made["val"]) | hashes(made["labelled"]))
    done = run(data, tmp_path / "y.yaml", "--unlabelled", data / "train/images")
    assert "all of its 12 images are labelled ones; give a folder with others" in done.stderr


def test_listed_images_that_nobody_looked_at_are_unlabelled_ones(data, tmp_path):
    """As CVAT exports a task of which a part is done."""
    coco = json.loads((data / "train/train.json").read_text())
    done = sorted(image["id"] for image in coco["images"])[:7]
    coco["annotations"] = [a for a in coco["annotations"] if a["image_id"] in done]
    (tmp_path / "part.json").write_text(json.dumps(coco))
    options = ("--labelled", tmp_path / "part.json", "--unlabelled", data / "train/images")
    said = run(data, tmp_path / "x.yaml", *options).stderr
    assert "if nobody looked at the 5 without an object, say --only-annotated" in said
    found = run(data, tmp_path / "x.yaml", *options, "--only-annotated")
    assert "7 labelled images" in found.stdout, found.stderr
    made = datasets(tmp_path / "x.yaml")
    sizes = {name: len(made[name]["images"]) for name in ("val", "labelled", "unlabelled")}
    assert sizes == {"val": 1, "labelled": 6, "unlabelled": 5}
    options = ("--unlabelled", data / "more", "--only-annotated", "--val", tmp_path / "part.json")
    found = run(data, tmp_path / "y.yaml", *options, "--val-images", data / "train/images")
    assert "of the validation set val is also in the training set" in found.stderr
    coco = json.loads((data / "val/val.json").read_text())
    coco["annotations"] = [a for a in coco["annotations"] if a["image_id"] == coco["images"][0]["id"]]
    (tmp_path / "val.json").write_text(json.dumps(coco))
    options = (*options[:4], tmp_path / "val.json", "--val-images", data / "val/images")
    assert run(data, tmp_path / "z.yaml", *options).returncode == 0
    assert len(datasets(tmp_path / "z.yaml")["val"]["images"]) == 1


def test_datasets_of_other_programs(data, tmp_path):
    of_yolo = yolo(tmp_path / "yolo", val="valid/images")
    yolo(tmp_path / "voc/more", images=5)  # pictures that are others' too
    for name in ("3", "4"):
        for kind, end in (("images", "png"), ("labels", "txt")):
            place = tmp_path / f"yolo/valid/{kind}/{name}.{end}"
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(tmp_path / f"voc/more/train/{kind}/{name}.{end}", place)
    of_voc = voc(tmp_path / "voc")
    (of_voc / "ImageSets/Main/val.txt").write_text("1\n")
    (of_voc / "ImageSets/Main/train.txt").write_text("0\n2\n")
    parts_of = {of_yolo: {"labelled": 3, "val": 2}, of_voc: {"labelled": 2, "val": 1}}
    for path, parts in parts_of.items():
        output = tmp_path / f"of_{path.stem}.yaml"
        options = ("--labelled", path, "--unlabelled", data / "more", "--output", output)
        done = warm.run("new_study.py", *options)
        assert done.returncode == 0, done.stderr
        made = datasets(output)
        sizes = {name: len(made[name]["images"]) for name in ("labelled", "val", "unlabelled")}
        assert sizes == {**parts, "unlabelled": 9}
        done = warm.run("new_study.py", *options[:-1], tmp_path / "again.yaml", "--images", tmp_path)
        assert "--images is for files of COCO" in done.stderr
    of_coco = data / "train/train.json"
    done = warm.run("new_study.py", "--labelled", of_coco, *options[2:-1], tmp_path / "again.yaml")
    assert "train.json: a file of COCO does not say where its images are; give --images" in done.stderr


def test_copies_of_images_to_validate_on_are_said(data, tmp_path):
    """The originals, say, of what an exporter made smaller."""
    for folder in ("more", "val"):
        for path in (data / folder / "images").iterdir():
            image = Image.open(path)
            image.resize((image.width * 2, image.height * 2)).save(tmp_path / f"{folder}-{path.name}")
    val = ("--val", data / "val/val.json", "--val-images", data / "val/images")
    done = run(data, tmp_path / "x.yaml", "--unlabelled", tmp_path, *val)
    assert "of 13 unlabelled images, 4 look like images to validate on" in done.stdout, done.stderr


UNKNOWN = "is not an image of a known format"


def test_what_cannot_be_read_is_said(data, tmp_path):
    more = tmp_path / "more"
    more.mkdir()
    for name in ("a.jpg", "b.jpg"):
        (more / name).write_bytes(b"no image")
    val = ("--val", data / "val/val.json", "--val-images", data / "val/images")
    done = run(data, tmp_path / "x.yaml", "--unlabelled", more, *val)
    assert done.stderr.strip().endswith(f"none of 2 images can be read; {more}/a.jpg: {UNKNOWN}")
    assert not (tmp_path / "x.yaml").exists()
    shutil.copy(next((data / "more/images").iterdir()), more / "c.png")
    done = run(data, tmp_path / "x.yaml", "--unlabelled", more, *val)
    assert done.returncode == 0
    assert f"2 of 3 images cannot be read ({more}/a.jpg: {UNKNOWN}): the study takes one" in done.stderr


def test_a_yolo_dataset_without_images_of_its_own_to_validate_on(data, tmp_path):
    path = yolo(tmp_path / "yolo", images=10, val="./train/images")
    done = warm.run(
        "new_study.py", "--labelled", path, "--unlabelled", data / "more", "--output", tmp_path / "x.yaml"
    )
    assert done.returncode == 0, done.stderr
    sizes = {name: len(made["images"]) for name, made in datasets(tmp_path / "x.yaml").items()}
    assert (sizes["labelled"], sizes["val"]) == (8, 2)


def test_a_validation_part_that_was_not_exported_is_none(data, tmp_path):
    path = yolo(tmp_path / "yolo", images=10, val="../valid/images")
    options = ("--unlabelled", data / "more", "--output", tmp_path / "x.yaml")
    done = warm.run("new_study.py", "--labelled", path, *options)
    assert done.returncode == 0, done.stderr
    assert "val: there is neither a folder nor a file" in done.stderr
    sizes = {name: len(made["images"]) for name, made in datasets(tmp_path / "x.yaml").items()}
    assert (sizes["labelled"], sizes["val"]) == (8, 2)


@pytest.mark.parametrize(
    ("lists", "sizes"),
    [
        ({"Main/trainval": range(5), "Main/test": (5,)}, (4, 1)),  # what is tested on stays unseen
        ({"train": range(4), "val": (4, 5)}, (4, 2)),
        ({"Main/train": range(5), "Main/val": ()}, (4, 1)),
    ],
)
def test_lists_of_voc_say_what_is_learned_from(data, tmp_path, lists, sizes):
    of_voc = voc(tmp_path / "voc", images=6)
    (of_voc / "ImageSets/Main/train.txt").unlink()
    for name, images in lists.items():
        (of_voc / f"ImageSets/{name}.txt").write_text("".join(f"{i}\n" for i in images))
    options = ("--unlabelled", data / "more", "--output", tmp_path / "x.yaml")
    done = warm.run("new_study.py", "--labelled", of_voc, *options)
    assert done.returncode == 0, done.stderr
    made = datasets(tmp_path / "x.yaml")
    assert (len(made["labelled"]["images"]), len(made["val"]["images"])) == sizes


def test_a_folder_of_coco_is_not_taken_for_voc(data, tmp_path):
    options = ("--unlabelled", data / "more", "--output", tmp_path / "x.yaml")
    hints = {
        "a.json": f"a folder with a COCO file: give {tmp_path}/a.json",
        "classes.txt": "files of YOLO without a data.yaml; write one",  # as Label Studio writes them
        "data.yaml": f"a folder of YOLO: give {tmp_path}/data.yaml",
    }
    for name, hint in hints.items():
        (tmp_path / name).write_text("{}")
        done = warm.run("new_study.py", "--labelled", tmp_path, *options)
        assert f"{tmp_path}: {hint}" in done.stderr
    done = warm.run("new_study.py", "--labelled", tmp_path / "nowhere", *options)
    assert "nowhere: there is no such file or folder" in done.stderr
    of_voc = voc(tmp_path / "voc")
    (of_voc / "meta.json").write_text("{}")
    (of_voc / "ImageSets/Main/train.txt").unlink()
    assert warm.run("new_study.py", "--labelled", of_voc, *options).returncode == 0


def test_few_videos_give_many_frames(data, tmp_path):
    for name in "abcd":
        film(tmp_path / f"videos/{name}.mp4", 3)
    (tmp_path / "videos/e.mp4").write_bytes(b"")
    done = run(data, tmp_path / "x.yaml", "--unlabelled", tmp_path / "videos")
    assert done.returncode == 0, done.stderr
    assert f"1 of 5 videos cannot be read ({tmp_path}/videos/e.mp4: is not a readable video" in done.stderr
    entry = yaml.safe_load((tmp_path / "x.yaml").read_text())["datasets"]["unlabelled"]
    assert entry.pop("videos").endswith("videos")
    assert entry == {"kind": "videos", "frames": 24, "at": "even"}
    assert [proposal.frames_each(12, n) for n in (1, 7, 120, 5000)] == [120, 18, 1, 1]


def test_a_folder_that_is_called_as_a_home_is_that_folder(data, tmp_path):
    for name in ("~", "~root"):
        shutil.copytree(data / "more", tmp_path / "data" / name)
        shutil.copytree(data / "train", tmp_path / "data/train", dirs_exist_ok=True)
        labelled = ("--labelled", "data/train/train.json", "--images", "data/train/images")
        options = ("--unlabelled", f"data/{name}", "--device", "cpu", "--output", f"{name}.yaml")
        assert warm.run("new_study.py", *labelled, *options, cwd=tmp_path).returncode == 0
        assert len(datasets(tmp_path / f"{name}.yaml")["unlabelled"]["images"]) == 9


def test_a_folder_is_no_output(data, tmp_path):
    done = run(data, tmp_path, "--unlabelled", data / "more")
    assert f"{tmp_path} is a folder; name a file, such as {tmp_path}/mine.yaml" in done.stderr


def test_results_of_another_study_are_not_taken(data, tmp_path):
    (tmp_path / "results/mine").mkdir(parents=True)
    (tmp_path / "results/mine/study.json").write_text("{}")
    done = run(data, tmp_path / "mine.yaml", "--unlabelled", data / "more", cwd=tmp_path)
    assert "results/mine holds the results of another study" in done.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "nothing is unlabelled"),
        (("--hide", "1.5"), "--hide 1.5: must be a share"),
        (("--unlabelled", "{data}/val/val.json"), "no such folder of images or videos"),
        (("--unlabelled", "{data}/nowhere"), "no such folder of images or videos"),
        (("--hide", "0.5", "--val", "{data}/train/train.json"), "is also in the training set"),
        (("--hide", "0.5", "--val", "{data}/empty.json"), "empty.json"),
    ],
)
def test_what_cannot_be_is_one_line(data, tmp_path, options, message):
    (data / "empty.json").write_text(json.dumps({"images": [], "annotations": [], "categories": []}))
    done = run(data, tmp_path / "mine.yaml", *(option.format(data=data) for option in options))
    assert done.returncode == 1
    *_, error = done.stderr.splitlines()
    assert error.startswith("error: ")
    assert message in error
    assert not (tmp_path / "mine.yaml").exists()
