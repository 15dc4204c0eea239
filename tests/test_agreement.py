"""How far views agree, against brute force and planted disagreement."""

import numpy as np
import pytest

from distill.datasets.keypoint_meta import KeypointMeta
from distill.predictions import heatmap_writer
from distill.predictions.agreement import FOUND, Peaks, entropy, of_boxes
from distill.predictions.merge import merge_boxes
from distill.predictions.merge_heatmaps import merge_heatmaps
from distill.predictions.views import View
from helpers import reference
from helpers.options import merge_options as Options


def test_boxes_against_brute_force():
    rng = np.random.default_rng(0)
    for count in (1, 3, 5):
        corner, side = rng.uniform(0, 8, (40, 2)), rng.uniform(1, 6, (40, 2))
        boxes, categories = np.concatenate([corner, corner + side], axis=1), rng.integers(1, 3, 40)
        scores, views = rng.uniform(0, 1, 40), rng.integers(0, count, 40)
        found = of_boxes(boxes[:9], categories[:9], boxes, scores, categories, views, count)
        for r, (share, overlap, score) in enumerate(found):
            best = {}
            for n in range(40):
                iou = reference.overlap(boxes[n], boxes[r])
                if categories[n] == categories[r] and iou >= FOUND:
                    best[views[n]] = max(best.get(views[n], (0, 0)), (iou, scores[n]))
            assert share == pytest.approx(len(best) / count)
            assert overlap == pytest.approx(np.mean([iou for iou, _ in best.values()]))
            assert score == pytest.approx(sum(s for _, s in best.values()) / count)


@pytest.mark.parametrize("view", [View(4), View(4, flip=True), View(4, rotate=90), View(4, True, rotate=270)])
def test_a_peak_is_put_where_inverting_the_heatmap_puts_it(view):
    maps = np.random.default_rng(1).normal(size=(5, 3, 4, 4))
    peaks = Peaks([(1, 2)])
    peaks.add(maps.reshape(5, 3, -1).argmax(-1), (4, 4), view)
    there = view.inverse_heatmap(maps, [(1, 2)]).reshape(5, 3, -1).argmax(-1)
    points = np.stack([there % 4 + 0.5, there // 4 + 0.5], axis=-1)
    assert np.allclose(peaks.spread(points, np.tile([0.0, 0, 4, 4], (5, 1)), (4, 4)), 0)


def test_entropy_is_between_certain_and_nothing_known():
    sure, even = np.zeros((4, 6)), np.full((4, 6), 1 / 24)
    sure[1, 2] = 1
    assert entropy(np.stack([sure, even])) == pytest.approx([0, np.log(24)], abs=1e-5)


def test_merged_boxes_say_how_far_the_views_agree(tmp_path):
    from test_merge import DATASET, VIEWS, truth, write_view

    paths = []
    for number, view in enumerate(VIEWS):
        found = truth()
        boxes, scores, categories = found[3]
        if number == 0:  # one view overlooks the first object, and sees the second half as wide
            boxes, scores, categories = boxes[1:].copy(), scores[1:].copy(), categories[1:]
            boxes[0, 2] -= 20
            scores[0] -= 0.01
        paths.append(write_view(tmp_path / f"{number}.json", view, found | {3: (boxes, scores, categories)}))
    first, second, third, *_ = merge_boxes(paths, DATASET, Options(score="avg"))
    share, n = (len(VIEWS) - 1) / len(VIEWS), len(VIEWS)
    assert first["agreement"] == {"views": round(share, 3), "overlap": 1, "score": round(0.9 * share, 3)}
    assert second["agreement"]["views"] == 1
    assert second["agreement"]["overlap"] == pytest.approx((n - 1 + 0.6) / n, abs=0.002)
    assert third["agreement"] == {"views": 1, "overlap": 1, "score": pytest.approx(third["score"], abs=5e-4)}


def test_merged_keypoints_say_how_far_the_views_agree(tmp_path):
    meta = KeypointMeta(("nose", "left_eye", "right_eye"), ((1, 2),), (), (0.05,) * 3)
    views = [View(400), View(400, flip=True), View(500), View(500, flip=True)]
    dataset = {"images": [{"id": 3, "file_name": "3.png", "width": 640, "height": 480}]}
    box = np.array([10, 20, 112, 56])  # x, y, w, h: cells of 2 × 1 pixels
    for number, view in enumerate(views):
        heatmap = np.full((1, 3, 56, 56), -30.0)
        for k in range(3):  # in the image: all views agree but on the left eye, which one sees 10 cells lower
            channel = {1: 2, 2: 1}.get(k, k) if view.flip else k
            row, column = (30 if number == 1 and k == 1 else 20), 7 + k
            heatmap[0, channel, row, 55 - column if view.flip else column] = 9
        with heatmap_writer.writing(tmp_path / f"{number}.h5", view, "m", "d", meta) as writer:
            writer.append(heatmap, [3], box[None], [0.75], [1])
    paths = [tmp_path / f"{number}.h5" for number in range(len(views))]
    (record,) = merge_heatmaps(paths, dataset, Options())
    assert record["agreement"]["spread"] == pytest.approx([0, 10 / 4, 0])
    nose, left, right = record["agreement"]["entropy"]
    assert nose == right < 0.01
    assert left == pytest.approx(-(0.75 * np.log(0.75) + 0.25 * np.log(0.25)), abs=0.01)
