"""What keypoints are: sigmas, skeletons, and pairs found by their names."""

import pytest

from distill.datasets.keypoint_meta import COCO_KEYPOINTS, contradiction, derive_flip_pairs, keypoint_meta
from helpers.annotated import HAND


def test_sigmas():
    from pycocotools.cocoeval import Params

    person = {"id": 1, "name": "person", "keypoints": list(COCO_KEYPOINTS), "skeleton": [[16, 14]]}
    meta = keypoint_meta({"categories": [person]})  # as COCO's own files have it: without flip_pairs
    assert meta.sigmas == pytest.approx(Params("keypoints").kpt_oks_sigmas)
    assert meta.flip_pairs == ((1, 2), (3, 4), (5, 6), (7, 8), (9, 10), (11, 12), (13, 14), (15, 16))
    assert meta.flip_indices == (0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15)
    assert meta.skeleton == ((15, 13),)
    assert keypoint_meta({"categories": [HAND]}).sigmas == (0.05, 0.05, 0.05)
    assert keypoint_meta({"categories": [{**HAND, "sigmas": [0.1, 0.2, 0.3]}]}).sigmas == (0.1, 0.2, 0.3)
    assert keypoint_meta({"categories": [{"id": 1, "name": "cell"}]}) is None


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("left_eye", "right_eye"), ("eye_left", "eye_right"), ("Left Eye", "Right Eye"), ("LEFT1", "RIGHT1"),
        ("lefteye", "righteye"), ("eyeleft", "eyeright"), ("EYELEFT", "EYERIGHT"), ("EARLeft", "EARRight"),
        ("bright_left", "bright_right"), ("l_eye", "r_eye"), ("eye.L", "eye.R"), ("LEye", "REye"),
        ("eyeL", "eyeR"), ("front_left_paw", "front_right_paw"), ("L1", "R1"),
        ("fore_l_ankle", "fore_r_ankle"),
    ],
)  # fmt: skip
def test_pairs_are_derived_from_names(left, right):
    assert derive_flip_pairs(["nose", right, "tail", left]) == [[1, 3]]


def test_a_mirror_changes_all_sides_of_a_name():
    eyes = [f"{side}_eye_{corner}_corner" for side in ("left", "right") for corner in ("left", "right")]
    assert derive_flip_pairs([*eyes, "nose"]) == [[0, 3], [1, 2]]
    assert not contradiction(eyes, [[0, 3], [1, 2]])
    assert "change places" in contradiction(eyes, [[0, 1], [2, 3]])
    for end in ("_{}", "{}"):
        eyes = [f"{eye}{end.format(corner)}" for eye in ("LeftEye", "RightEye") for corner in "LR"]
        assert derive_flip_pairs(eyes) == [[0, 3], [1, 2]]
    assert derive_flip_pairs(["left_upright", "right_upright", "L1_left", "L1_right"]) == [[0, 1], [2, 3]]
    assert derive_flip_pairs(["right_eye_left_corner", "right_eye_right_corner"]) == []  # of one eye


def test_names_that_only_look_like_sides_are_left_alone():
    assert derive_flip_pairs(["left_eye", "upright", "bright", "tail", "Tair", "limb", "rimb", "eyel"]) == []
