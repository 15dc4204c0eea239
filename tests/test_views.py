import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distill.predictions.heatmaps import decode
from distill.predictions.views import View
from distill.program import UserError
from helpers import SCRIPTS
from helpers.options import expand

KINDS = [
    View(120, flip, max_side, aspect, rotate)
    for flip in (False, True)
    for max_side in (130, 2000)
    for aspect in (1.0, 1.25, 0.5)
    for rotate in (0, 90, 180, 270)
]
views = st.builds(
    View,
    st.integers(1, 1300),
    st.booleans(),
    st.sampled_from([1, 17, 1333, 2000]),
    st.sampled_from([1.0, 1.25, 0.8, 3.0]),
    st.sampled_from([0, 90, 180, 270]),
)
sizes = st.one_of(
    st.sampled_from([(1, 1), (3, 1000), (1000, 3), (1, 4000), (640, 480), (333, 500)]),
    st.tuples(st.integers(1, 3000), st.integers(1, 3000)),
)


@settings(max_examples=500, deadline=None)
@given(views, sizes, st.integers(0, 1000))
def test_boxes_and_points_go_forth_and_back(view, size, seed):
    rng = np.random.default_rng(seed)
    points = rng.uniform(0, 1, (7, 3, 2)) * size
    np.testing.assert_allclose(
        view.inverse_points(view.forward_points(points, size), size), points, atol=1e-6
    )
    boxes = np.sort(rng.uniform(0, 1, (9, 2, 2)) * size, axis=1).reshape(9, 4)
    mapped = view.forward_boxes(boxes, size)
    assert (mapped[:, 2:] >= mapped[:, :2]).all()
    np.testing.assert_allclose(view.inverse_boxes(mapped, size), boxes, atol=1e-6)
    whole = view.forward_boxes(np.array([[0, 0, *size]]), size)
    np.testing.assert_allclose(whole, [[0, 0, *view.size(*size)]], atol=1e-6)


@given(views, sizes)
def test_the_size_keeps_scale_cap_and_proportions(view, size):
    width, height = view.size(*size)[:: -1 if view.rotate % 180 else 1]
    ratio = size[0] / size[1] * view.aspect
    assert 1 <= max(width, height) <= max(view.max_side, 1)
    assert min(width, height) == view.scale or max(width, height) == view.max_side or ratio == 1
    shorter, longer = sorted((width, height))
    exact = longer / max(ratio, 1 / ratio)  # what the shorter side would be without rounding either
    assert shorter == 1 or abs(shorter - exact) <= 0.5 + 0.5 / max(ratio, 1 / ratio) + 1e-6


def test_sizes_are_rounded_half_up_and_capped():
    assert View(800).size(640, 480) == (1067, 800)
    assert View(5).size(2, 1) == (10, 5)
    assert View(5).size(4, 10) == (5, 13)  # 12.5
    assert View(7).size(2, 3) == (7, 11)  # 10.5
    assert View(800).size(3, 1000) == (6, 2000)
    assert View(800, max_side=1333).size(1, 5000) == (1, 1333)
    assert View(800, rotate=90).size(640, 480) == (800, 1067)
    assert View(400, aspect=4).size(100, 100) == (1600, 400)


@pytest.mark.parametrize("view", KINDS, ids=lambda view: view.name)
def test_a_bright_spot_is_found_where_the_points_are_mapped(view):
    size, spot = (103, 78), np.array([31.7, 22.2])
    y, x = np.mgrid[: size[1], : size[0]] + 0.5
    image = (255 * np.exp(-((x - spot[0]) ** 2 + (y - spot[1]) ** 2) / 18)).astype(np.uint8)
    seen = view.transform_image(np.dstack([image] * 3))
    assert seen.dtype == np.uint8
    assert seen.flags.c_contiguous
    assert seen.shape == (*view.size(*size)[::-1], 3)
    y, x = np.mgrid[: seen.shape[0], : seen.shape[1]] + 0.5
    weight = seen[..., 0] / seen[..., 0].sum()
    found = np.array([(x * weight).sum(), (y * weight).sum()])
    np.testing.assert_allclose(found, view.forward_points(spot, size), atol=0.1)


def test_the_turn_is_counterclockwise():
    image = np.arange(6, dtype=np.uint8).reshape(2, 3)
    assert View(2, rotate=90).transform_image(image).tolist() == [[2, 5], [1, 4], [0, 3]]
    assert View(2, rotate=90, flip=True).transform_image(image).tolist() == [[5, 2], [4, 1], [3, 0]]


pairings = st.permutations(
    range(6)
).flatmap(  # any pairs: none, some or all keypoints, in any order
    lambda order: st.integers(0, 3).map(lambda n: [tuple(order[2 * i : 2 * i + 2]) for i in range(n)])
)


@settings(max_examples=300, deadline=None)
@given(views, sizes, pairings, st.integers(0, 1000))
def test_a_peak_planted_in_a_view_is_found_in_the_image(view, size, pairs, seed):
    """Within half a cell. In a mirrored view the left eye is seen in the right eye's channel."""
    rng = np.random.default_rng(seed)
    cells = int(rng.integers(2, 57))
    box = np.sort(rng.uniform(0, 1, (2, 2)), axis=0).ravel() * (*size, *size)
    points = box[:2] + rng.uniform(0, 1, (6, 2)) * (box[2:] - box[:2])
    seen_box, seen = view.forward_boxes(box, size), view.forward_points(points, size)
    cell = ((seen - seen_box[:2]) / (seen_box[2:] - seen_box[:2]) * cells).astype(int).clip(0, cells - 1)
    partner = dict(pairs) | {right: left for left, right in pairs} if view.flip else {}
    heatmap = np.zeros((1, 6, cells, cells), dtype=np.float32)
    for keypoint, (column, row) in enumerate(cell):
        heatmap[0, partner.get(keypoint, keypoint), row, column] = 1
    heatmap = view.inverse_heatmap(heatmap, pairs)
    found = decode(heatmap, heatmap, box[None], upsample=False)[0][0]
    assert (np.abs(found - points) <= (box[2:] - box[:2]) / cells / 2 + 1e-6).all()


@given(st.integers(1, 1300), pairings)
def test_a_flip_swaps_exactly_the_pairs(scale, pairs):
    channels = np.arange(6, dtype=np.float32)[:, None, None] * np.ones((6, 2, 2))
    swapped = View(scale, flip=True).inverse_heatmap(channels, pairs)[:, 0, 0].tolist()
    expected = list(range(6))
    for left, right in pairs:
        expected[left], expected[right] = right, left
    assert swapped == expected
    assert View(scale).inverse_heatmap(channels, pairs)[:, 0, 0].tolist() == list(range(6))


@given(views)
def test_names_are_read_back(view):
    assert View.parse(view.name) == view


def test_names_of_the_design():
    assert [view.name for view in expand({"scales": [400, 1200], "flip": True})] == [
        "s0400", "s0400-flip", "s1200", "s1200-flip",
    ]  # fmt: skip
    assert View(800, True, 1333, 1.25, 90).name == "s0800-m1333-a1.25-r090-flip"
    mixed = [{"scale": 800, "max_side": 1333}, "s0800-flip", {"scales": [600], "rotations": [0, 90]}]
    named = ["s0800-m1333", "s0800-flip", "s0600", "s0600-r090"]
    assert [view.name for view in expand(mixed)] == named


@pytest.mark.parametrize(
    "name",
    [
        "",
        "800",
        "s800",
        "s00800",
        "s0800-m2000",
        "s0800-a1.250",
        "s0800-r000",
        "s0800-flip-m9",
        "s0800\n",
        "s" + "9" * 5000,
    ],
)
def test_a_wrong_name_is_refused(name):
    with pytest.raises(UserError):
        View.parse(name)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ([], "empty"),
        ({"flip": True}, "'scale' or 'scales'"),
        ({"scales": 800}, "must be a list"),
        ({"scale": 800, "zoom": 2}, "'zoom'"),
        ([{"scale": 800}, "s0800"], "s0800 is listed twice"),
        ({"scale": 800.5}, "800.5"),
        ({"scale": 800, "rotate": 45}, "45"),
        ({"scales": [800], "flip": "yes"}, "'yes'"),
        (None, "None"),
    ],
)
def test_a_wrong_view_set_is_refused_by_name(spec, words):
    with pytest.raises(UserError, match=words):
        expand(spec)


def test_the_names_need_neither_numpy_nor_torch():
    code = "import sys, distill.predictions.views as _; print(*{'numpy', 'torch', 'cv2'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=SCRIPTS, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "\n")
