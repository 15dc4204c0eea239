"""The fast merging of views against Detectron's semantics written plainly: `reference`."""

import json
import math
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distill.predictions.heatmaps import AVERAGES, Average, counts, decode
from distill.predictions.merge import merge_boxes
from distill.predictions.views import View
from distill.predictions.voting import RULES, vote
from helpers import reference
from helpers.options import merge_options as Options

# --- boxes ---

corner = st.integers(0, 8)
side = st.integers(0, 8)  # 0: boxes without area
score = st.sampled_from([0.0, 0.1, 0.3, 0.3, 0.5, 0.75, 0.9, 1.0])  # with equal ones
unions = st.lists(
    st.tuples(
        st.tuples(corner, corner, side, side).map(lambda b: (b[0], b[1], b[0] + b[2] / 2, b[1] + b[3] / 2)),
        score,
        st.sampled_from([1, 2, 90]),
    ),
    max_size=40,
)


@pytest.mark.parametrize("rule", RULES)
@settings(max_examples=400, deadline=None)
@given(
    union=unions,
    nms=st.sampled_from([0.3, 0.5, 1.0]),
    threshold=st.sampled_from([0.4, 0.8, 1.0]),
    beta=st.sampled_from([0.5, 1.0, 2.0]),
    most=st.sampled_from([3, 100]),
)
def test_voting(rule, union, nms, threshold, beta, most):
    boxes, scores, categories = zip(*union, strict=True) if union else ((), (), ())
    expected = reference.vote(boxes, scores, categories, nms, threshold, rule, beta, most)
    merged = vote(
        np.array(boxes).reshape(-1, 4), np.array(scores), np.array(categories, dtype=int),
        nms=nms, vote=threshold, rule=rule, beta=beta, max_per_image=most,
    )  # fmt: skip
    assert merged[2].tolist() == [category for _, _, category in expected]
    np.testing.assert_allclose(merged[1], [score for _, score, _ in expected], atol=1e-9)
    np.testing.assert_allclose(merged[0], np.reshape([box for box, _, _ in expected], (-1, 4)), atol=1e-9)


SIZES = {1: (640, 427), 2: (333, 500)}
DATASET = {"images": [{"id": i, "width": w, "height": h} for i, (w, h) in SIZES.items()]}
views_of_boxes = st.lists(
    st.builds(View, st.sampled_from([100, 333, 500]), st.booleans()),
    min_size=1,
    max_size=4,
    unique_by=lambda view: view.name,
)


def predictions(rng, view, shared):
    """A file's content: random boxes in the view's pixels, also outside it, without area, and twice."""
    records = []
    for image, size in SIZES.items():
        count = 6 if shared else rng.integers(0, 12)
        corners = rng.uniform(-0.2, 1, (count, 2)) * view.size(*size)
        sides = rng.uniform(0, 0.4, (count, 2)) * view.size(*size)
        sides[rng.random(count) < 0.1] = 0
        boxes = np.concatenate([corners, sides], axis=1)
        if count > 1:
            boxes[-1] = boxes[0]
        for row, box in enumerate(boxes.tolist()):
            record = {"image_id": image, "category_id": 1 + row % 2, "bbox": box}
            record |= {"score": float(rng.random())} | ({"id": 10 * image + row} if shared else {})
            records.append(record)
    keys = ("id", "width", "height", "view_width", "view_height")
    images = [dict(zip(keys, (i, *size, *view.size(*size)), strict=True)) for i, size in SIZES.items()]
    return {"view": view.name, "model": "m", "dataset": "d", "images": images, "predictions": records}


@pytest.mark.parametrize("combine", ["union", "average"])
@settings(max_examples=200, deadline=None)
@given(views=views_of_boxes, seed=st.integers(0, 10**6), rule=st.sampled_from(RULES))
def test_boxes_of_several_views(combine, views, seed, rule):
    """From the files on: inverted, united or averaged, voted on."""
    rng = np.random.default_rng(seed)
    files = [predictions(rng, view, combine == "average") for view in views]
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder, f"{view.name}.json") for view in views]
        for path, content in zip(paths, files, strict=True):
            path.write_text(json.dumps(content))
        options = Options(boxes=combine, score=rule, vote=0.6, beta=0.5)
        merged = list(merge_boxes(paths, DATASET, options))
    for image, size in SIZES.items():
        seen = [
            [
                (reference.image_box(r["bbox"], v.flip, v.size(*size), size), r["score"], r["category_id"])
                for r in content["predictions"]
                if r["image_id"] == image
            ]
            for v, content in zip(views, files, strict=True)
        ]
        rows = getattr(reference, combine)(seen)
        rows = [row for row in rows if row[0][2] > row[0][0] and row[0][3] > row[0][1]]
        boxes, scores, categories = zip(*rows, strict=True) if rows else ((), (), ())
        expected = reference.vote(boxes, scores, categories, 0.5, 0.6, rule, 0.5, 100)
        mine = [record for record in merged if record["image_id"] == image]
        assert [record["category_id"] for record in mine] == [category for _, _, category in expected]
        np.testing.assert_allclose([r["score"] for r in mine], [s for _, s, _ in expected], atol=1e-6)
        for record, (box, _, _) in zip(mine, expected, strict=True):
            x1, y1, x2, y2 = box
            np.testing.assert_allclose(record["bbox"], [x1, y1, x2 - x1, y2 - y1], atol=2e-3)


# --- heatmaps ---

PLAIN, LARGE = 600, 100.0
pairs = st.permutations(range(4)).flatmap(
    lambda order: st.sampled_from([[], [order[:2]], [order[:2], order[2:]]])
)
views_of_heatmaps = st.lists(
    st.tuples(st.sampled_from([400, 500, PLAIN, 700]), st.booleans()), min_size=1, max_size=5, unique=True
).map(lambda views: [View(scale, flip) for scale, flip in views])


def draw_maps(seed, views, instances, cells):
    """(V, N, 4, S, S) logits; some flat, some huge, some the same in all views."""
    rng = np.random.default_rng(seed)
    maps = rng.normal(0, rng.choice([0.5, 4, 40]), (views, instances, 4, cells, cells)).astype(np.float32)
    maps[:, rng.random((instances, 4)) < 0.1] = 0
    if rng.random() < 0.2:
        maps[:] = maps[0]
    return maps


@pytest.mark.parametrize("kind", AVERAGES)
@settings(max_examples=300, deadline=None)
@given(
    views=views_of_heatmaps,
    pairs=pairs,
    seed=st.integers(0, 10**6),
    instances=st.integers(0, 3),
    cells=st.integers(1, 5),
    size_dependent=st.booleans(),
)
def test_merging_heatmaps(kind, views, pairs, seed, instances, cells, size_dependent):
    if size_dependent and View(PLAIN) not in views:
        views = [View(PLAIN), *views]
    maps = draw_maps(seed, len(views), instances, cells)
    areas = np.resize([LARGE, LARGE - 0.01, 0.0], instances)
    average = Average(kind, pairs)
    for view, logits in zip(views, maps, strict=True):
        average.add(logits, view, counts(view, PLAIN, areas, LARGE) if size_dependent else None)
    probability, logit = average.result()
    large = LARGE if size_dependent else None
    for n in range(instances):
        seen = [(maps[v, n].tolist(), view.scale, view.flip) for v, view in enumerate(views)]
        expected = reference.merge(seen, kind, pairs, PLAIN, areas[n], large)
        np.testing.assert_allclose(probability[n], expected[0], rtol=2e-4, atol=1e-7)
        np.testing.assert_allclose(logit[n], expected[1], rtol=1e-5, atol=2e-5)


boxes = st.tuples(
    *(st.floats(-50, 50), st.floats(-50, 50), st.one_of(st.just(0.0), st.floats(0, 30)), st.floats(0, 30))
).map(lambda b: [b[0], b[1], b[0] + b[2], b[1] + b[3]])


@settings(max_examples=500, deadline=None)
@given(seed=st.integers(0, 10**6), cells=st.integers(1, 7), box=boxes)
def test_decoding_cells(seed, cells, box):
    logits = draw_maps(seed, 1, 1, cells)[0]
    average = Average("logit", ())
    average.add(logits, View(PLAIN))
    probability, logit = average.result()
    points, scores, heights = decode(probability, logit, np.array([box]), upsample=False)
    for k in range(4):
        expected = reference.decode(probability[0, k].tolist(), logit[0, k].tolist(), box)
        np.testing.assert_allclose(
            [*points[0, k], scores[0, k], heights[0, k]], expected, rtol=1e-6, atol=1e-9
        )


@pytest.mark.parametrize("kind", AVERAGES)
@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 10**6), cells=st.integers(1, 7), box=boxes)
def test_decoding_pixels(kind, seed, cells, box):
    """Of nearly equal pixels either may be the peak, so that the reference is asked about the one found."""
    rng = np.random.default_rng(seed)
    maps = rng.normal(0, rng.choice([0.5, 4]), (2, 1, 4, cells, cells)).astype(np.float32)
    average = Average(kind, ())
    for logits in maps:
        average.add(logits, View(PLAIN))
    probability, logit = average.result()
    points, scores, heights = decode(probability, logit, np.array([box]), upsample=True)
    width, height = reference.pixels(box)
    seen = [(logits[0].tolist(), PLAIN, False) for logits in maps]
    for k, (likely, high) in enumerate(zip(*reference.merge(seen, kind, ()), strict=True)):
        evidence = [[math.log(p) for p in row] for row in likely] if kind == "probability" else high
        x, y, top = reference.decode_pixels(evidence, high, box)
        assert scores[0, k] == pytest.approx(max(map(max, likely)), rel=1e-4)
        if np.abs(points[0, k] - (x, y)).max() < 1e-6:
            assert heights[0, k] == pytest.approx(top, abs=1e-3)
            continue
        column = (points[0, k, 0] - box[0]) / max(box[2] - box[0], 1) * width - 0.5
        row = (points[0, k, 1] - box[1]) / max(box[3] - box[1], 1) * height - 0.5
        fine = reference.resize(evidence, width, height)
        assert fine[round(row)][round(column)] == pytest.approx(max(map(max, fine)), abs=1e-3)
