"""What data are like, and the study that is proposed for them."""

from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest

from distill.datasets.fingerprints import Fingerprint
from distill.program import UserError
from distill.study import facts, proposal, proposal_text
from helpers.proposed import COCO, FACTS, GIVEN, POOL, study


def prints(rng, images, moved):
    """Random looks, each of which differs from the one before in about so many bits."""
    look = rng.integers(0, 2, 256)
    for number in range(images):
        yield Fingerprint(number, "", np.packbits(look).tobytes().hex())
        look = look ^ (rng.random(256) < moved / 256)


def test_sizes_are_of_the_category_of_the_smallest_and_of_the_largest():
    boxes = {1: [40] * 80, 2: [4] * 20, 3: [1] * 3}  # the third is rare
    annotations = [
        {"image_id": 1 + k % 5, "category_id": category, "bbox": [0, 0, side, 4 * side], "iscrowd": 0}
        for category, sides in boxes.items()
        for k, side in enumerate(sides)
    ]
    annotations.append({"image_id": 1, "category_id": 1, "bbox": [0, 0, 99, 99], "iscrowd": 1})
    coco = {
        "images": [{"id": i, "file_name": f"{i}.jpg", "width": 300, "height": 200} for i in range(1, 6)],
        "annotations": annotations,
        "categories": [{"id": i, "name": f"c{i}"} for i in (1, 2, 3, 4)],
    }
    found = facts.facts_of(coco, [])
    assert found.sizes == pytest.approx((8 / 200, 80 / 200, 80 / 200))
    assert found.counts == {"c1": 80, "c2": 20, "c3": 3, "c4": 0}
    assert (found.crowds, found.copies, found.ordered) == (1, 0, True)
    names = ("b.rf.1.jpg", "a_jpg.rf.2.jpg", "a_jpg.rf.3.jpg", "c.jpg", "d.jpg")
    coco["images"] = [{**image, "file_name": name} for image, name in zip(coco["images"], names, strict=True)]
    found = facts.facts_of(coco, [])
    assert (found.copies, found.ordered) == (1, False)
    assert (found.side, found.aspect, found.task) == (200, 1.5, "boxes")


@pytest.mark.parametrize(("moved", "frames"), [(60, True), (128, False)])
def test_frames_of_one_scene_are_told_by_their_looks(moved, frames):
    assert facts.of_one_scene(list(prints(np.random.default_rng(0), 50, moved))) is frames


@pytest.mark.parametrize(("order", "frames"), [("mixed", True), ("sorted", False)])
def test_images_sorted_by_category_are_no_frames(order, frames):
    images = [{"id": i, "file_name": f"{i}.jpg", "width": 300, "height": 200} for i in range(100)]
    category = {"mixed": lambda i: i % 5, "sorted": lambda i: i // 20}[order]
    annotations = [
        {"image_id": i, "category_id": category(i), "bbox": [0, 0, 20, 20], "iscrowd": 0} for i in range(100)
    ]
    categories = [{"id": k, "name": f"c{k}"} for k in range(5)]
    coco = {"images": images, "annotations": annotations, "categories": categories}
    assert facts.facts_of(coco, list(prints(np.random.default_rng(0), 100, 60))).frames is frames


@pytest.mark.parametrize("device", ["cpu", "gpu"])
def test_smaller_objects_are_trained_in_larger_images(device):
    sides = [
        proposal.training_side(replace(FACTS, sizes=(size, 0.2, 0.5)), device, 1.5)
        for size in (0.2, 0.07, 0.06, 0.01)
    ]
    assert sides == sorted(sides)
    assert sides[0] < sides[-1]
    tiny = replace(FACTS, sizes=(0.01, 0.2, 0.5), side=96)
    assert proposal.training_side(tiny, "cpu", 1.5) == 144  # not much more than the images have


def test_keypoints_are_told_apart_on_what_has_them():
    posed = replace(FACTS, keypoints=3, sizes=(0.1, 0.9, 0.95), posed=0.4)  # mice in large cages
    assert proposal.training_side(posed, "cpu", 1.5) == 240


def test_objects_that_stay_too_small_are_said():
    tiny = replace(FACTS, sizes=(0.0035, 0.004, 0.005))
    [line] = proposal_text.words(study(tiny)[0], tiny, GIVEN, "cpu")
    assert line.startswith("small objects have about 0.9 pixels in training, too few to be found: cut")
    large = replace(FACTS, sizes=(0.2, 0.6, 1.1))
    assert "objects measure 20% to 110%" in " ".join(facts.words(large, False, "cpu"))
    assert "objects measure 0.35% to 0.5%" in " ".join(facts.words(tiny, False, "cpu"))
    assert not proposal_text.words(study()[0], FACTS, GIVEN, "cpu")


def test_boxes_score_by_how_many_views_find_them():
    labels = study()[1]["labels"]["distilled"]
    assert (labels["merge"]["vote"], labels["merge"]["score"]) == (0.6, "quasi_sum")
    assert "merge" not in study(replace(FACTS, keypoints=3))[0]  # heatmaps are averaged


def test_wide_images_are_trained_on_as_large_as_they_are_predicted():
    config, _ = study(replace(FACTS, aspect=10))
    assert config["model"]["max_side"] >= 10 * max(config["model"]["scales"])
    assert study(replace(FACTS, aspect=100))[0]["model"]["max_side"] == 2000  # as of views
    sides = [study(replace(FACTS, aspect=aspect), device="gpu")[1] for aspect in (1.5, 3)]
    trained = [resolved["models"]["student"]["max_side"] for resolved in sides]
    assert trained[0] == 1333 < trained[1]
    assert trained[1] >= 3 * max(sides[1]["models"]["student"]["scales"])


def test_the_neighbours_of_frames_to_validate_on_are_not_learned_from():
    found, sources = replace(FACTS, frames=True), proposal.Sources(COCO, POOL, None, 0, 700, shared=80)
    for stretch, kept in (((0.8, 1), [0, 0.8]), ((0, 0.3), [0.3, 1]), (None, None)):
        config = proposal.config(found, replace(sources, stretch=stretch), "results/x", "cpu")
        assert config["datasets"]["unlabelled"].get("range") == kept
    config = proposal.config(found, replace(sources, stretch=(0.4, 0.5)), "results/x", "cpu")["datasets"]
    assert [config[name].get("range") for name in ("before", "after", "unlabelled")] == [
        [0, 0.4],
        [0.5, 1],
        None,
    ]
    assert config["pool"] == {"kind": "union", "of": ["before", "after"]}
    sources = replace(sources, unlabelled_images=938, stretch=(0.8, 1))
    assert "images" not in proposal.config(found, sources, "results/x", "cpu")["datasets"]["unlabelled"]


def test_objects_of_one_size_are_seen_at_scales_near_that_of_training():
    narrow = proposal.view_sides(replace(FACTS, sizes=(0.4, 0.5, 0.6)), 176, "gpu", 1.5)
    wide = proposal.view_sides(FACTS, 176, "gpu", 1.5)
    assert narrow == [144, 160, 176, 192]
    assert (min(wide), max(wide)) == (96, 256)


@pytest.mark.parametrize("device", ["cpu", "gpu"])
@pytest.mark.parametrize("keypoints", [0, 14])
def test_a_proposal_is_a_study(device, keypoints):
    config, resolved = study(replace(FACTS, keypoints=keypoints), device=device)
    task = "keypoint" if keypoints else "faster"
    assert config["model"]["config"].startswith(f"{task}_rcnn_{'lite' if device == 'cpu' else 'r50'}")
    teacher, student = (resolved["models"][name] for name in ("teacher", "student"))
    longer = 2 if keypoints else 1.5  # until it is done
    assert teacher["iterations"] == longer * (student["iterations"] if device == "cpu" else 5000)
    assert device == "cpu" or student["iterations"] == teacher["iterations"]  # which starts anew
    baseline = resolved["models"]["supervised"]
    assert [baseline[key] for key in ("init", "iterations")] == [
        student[key] for key in ("init", "iterations")
    ]
    assert baseline["augment"]["labelled"] == student["augment"]["generated"]
    assert (student["init"] == "teacher") == (device == "cpu")
    assert set(resolved["datasets"]) == {"everything", "val", "labelled", "unlabelled"}
    assert resolved["datasets"]["labelled"]["exclude"] == "val"


@pytest.mark.parametrize("frames", [False, True])
def test_hidden_labels_give_an_upper_bound(frames):
    config, resolved = study(replace(FACTS, frames=frames), unlabelled=None, hide=0.75)
    assert config["tables"]["results"]["gap"]["upper"] == "upper"
    assert resolved["models"]["upper"]["labelled"] == "annotated"
    length = {
        study(hide=0.75, device="gpu")[1]["models"][name]["iterations"] for name in ("student", "upper")
    }
    assert len(length) == 1
    part = config["datasets"]["labelled"]
    assert (part["range"][1] if frames else part["fraction"]) == 0.25
    assert config["datasets"]["unlabelled"]["strip_annotations"]
    both, _ = study(hide=0.75)
    assert both["datasets"]["unlabelled"] == {"kind": "union", "of": ["hidden", "more"]}


def test_many_unlabelled_images_beside_few_labelled_ones_change_the_ratio():
    assert "ratio" in study()[0]["models"]["student"]
    assert "ratio" not in study(unlabelled_images=100)[0]["models"]["student"]
    many = replace(FACTS, images=2000)
    assert "ratio" not in study(many, unlabelled_images=5000)[0]["models"]["student"]
    some = replace(FACTS, images=500)
    short = study(some, unlabelled_images=50_000)[0]["models"]["student"]
    assert "ratio" not in short  # on a CPU, in which none is drawn often
    long = study(some, unlabelled_images=50_000, device="gpu")[0]["models"]["student"]
    assert long["ratio"] == [1, 3]


@pytest.mark.parametrize("device", ["cpu", "gpu"])
def test_a_few_unlabelled_images_are_not_drawn_far_more_often_than_labelled_ones(device):
    config, _ = study(replace(FACTS, images=5000), unlabelled_images=100, device=device)
    labelled, generated = config["models"]["student"]["ratio"]
    assert labelled / generated == pytest.approx(4000 / 100)
    assert config["datasets"]["unlabelled"] == POOL  # all of them


def test_on_a_gpu_a_teacher_of_few_images_trains_longer():
    """As without one: the least length leaves it undone."""
    teacher, many = (
        study(replace(FACTS, images=n), unlabelled_images=10 * n, device="gpu")[0]["models"]["teacher"]
        for n in (500, 50_000)
    )
    assert teacher == {"augment": "strong", "iterations": 7500}
    assert many == {}


def test_a_student_without_a_gpu_is_given_as_many_images_as_it_draws():
    found = replace(FACTS, images=500)
    config, resolved = study(found, unlabelled_images=50_000)
    assert config["datasets"]["unlabelled"] == {"kind": "subset", "of": "pool", "images": 1200}
    model = resolved["models"]["student"]
    drawn = model["iterations"] * model["batch"] * model["ratio"][1] / sum(model["ratio"])
    assert drawn == 4 * 1200
    many = replace(GIVEN, unlabelled_images=50_000)
    [line] = proposal_text.words(config, found, many, "cpu")
    assert line.startswith(
        "1200 of 50000 unlabelled images are taken: in 1500 iterations a student draws about 4800"
    )
    assert study(found, unlabelled_images=1450)[0]["datasets"]["unlabelled"] == POOL  # hardly more
    config, _ = study(found, unlabelled_images=50_000, device="gpu")
    assert config["datasets"]["unlabelled"] == POOL
    assert proposal_text.words(config, found, many, "gpu") == []
    long = proposal.config(
        replace(found, images=5000), proposal.Sources(COCO, POOL, COCO, 0), "results/x", "gpu"
    )
    baseline, student = (long["models"][name]["iterations"] for name in ("supervised", "student"))
    assert baseline == student == 15600  # 49.8 epochs of 16 images


@pytest.mark.parametrize(
    ("images", "val", "hide", "message"),
    [
        (2, None, 0.0, "2 labelled images: a fifth of them is none"),
        (2, COCO, 0.0, None),
        (3, None, 0.0, None),
        (
            6,
            None,
            0.95,
            "of 6 labelled images, of which a fifth is for validation, that leaves no labels",
        ),
        (6, COCO, 0.05, "--hide 0.05: of 6 labelled images, that hides none"),
        (6, None, 0.5, None),
    ],
)
def test_a_part_without_images_is_refused(images, val, hide, message):
    sources = proposal.Sources(COCO, POOL, val, hide)
    with pytest.raises(UserError, match=message) if message else nullcontext():
        proposal.check_parts(replace(FACTS, images=images), sources)


def test_what_was_seen_names_categories_pairs_and_copies():
    found = replace(FACTS, counts={"cat": 90, "dog": 200, "emu": 3, "yak": 0}, alike=4, crowds=2, copies=5)
    found = replace(found, keypoints=3, pairs=(("left_eye", "right_eye"),), unpaired=("nose",))
    lines = facts.words(found, True, "cpu")
    for line in (
        "most objects are of dog (200), cat (90)",
        "few objects of emu (3)",
        "no object of yak: no label is made of such, and no model finds one",
        "3 keypoints, of which a mirror swaps 1 pair: left_eye and right_eye",
    ):
        assert line in lines
    for beginning in (
        "4 labelled images look like another one",
        "neither object nor background (iscrowd, or difficult of VOC): 2 annotations; ",
        "5 versions of other images",
        "not swapped: nose; if some",
    ):
        assert any(line.startswith(beginning) for line in lines)
    found = replace(found, frames=True, ordered=False)
    for beginning in ("their order is that of their ids", "5 versions of other images"):
        said = [facts.words(found, True, "cpu", split) for split in (True, False)]
        assert [any(line.startswith(beginning) for line in lines) for lines in said] == [True, False]


def test_many_categories_take_longer_and_more_of_what_is_labelled():
    many = replace(FACTS, counts={f"bird {n}": 20 for n in range(60)})
    assert study(unlabelled_images=900)[0]["model"]["iterations"] == 1000
    config = study(many, unlabelled_images=900)[0]
    assert config["model"]["iterations"] == 1200
    assert config["model"]["batch"] == 8
    assert "ratio" not in config["models"]["student"]


@pytest.mark.parametrize(
    ("counts", "rare"), [((90, 40), False), ((90, 4), True), ((4,), False), ((4, 4), False)]
)
def test_labels_of_rare_categories_have_to_be_sure(counts, rare):
    found = replace(FACTS, counts={f"bird {n}": c for n, c in enumerate((*counts, 0))})
    config, resolved = study(found)
    assert ("calibrate" in config) is rare
    said = " ".join(proposal_text.words(config, found, GIVEN, "cpu"))
    assert ("only predictions that are as sure as others become labels" in said) is rare
    assert resolved["labels"]["distilled"]["calibrate"]["rare"] == (facts.RARE if rare else 0)


def test_what_is_too_small_is_told_what_helps():
    """Tiles show objects larger only where images are made smaller for the training."""
    found = replace(FACTS, sizes=(0.01, 0.02, 0.03))
    for side, hint in ((1000, "cut the images into tiles, or use a GPU"), (100, "take the images larger")):
        found = replace(found, side=side)
        study = proposal.config(found, replace(GIVEN, val=COCO), "results/x", "cpu")
        (line,) = proposal_text.words(study, found, replace(GIVEN, val=COCO), "cpu")
        assert hint in line
