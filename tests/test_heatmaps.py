from itertools import permutations

import h5py
import numpy as np
import pytest
import torch
from torchvision.models.detection.roi_heads import heatmaps_to_keypoints

from distill.datasets.keypoint_meta import KeypointMeta
from distill.predictions import heatmap_file, heatmap_writer
from distill.predictions.heatmap_file import LOGITS
from distill.predictions.heatmaps import AVERAGES, Average, decode, softmax2d
from distill.predictions.views import View
from distill.program import UserError

META = KeypointMeta(("nose", "left_eye", "right_eye"), ((1, 2),), (), (0.05,) * 3)
FEW = [View(400), View(400, flip=True), View(500, rotate=90), View(600, True, rotate=270)]


def peaks(rng, n, sharpness=12.0, at=None):
    """(n, 3, 56, 56) logits like a network's: ×2 interpolated noise with a peak, and the peaks' cells."""
    at = rng.uniform(6, 22, (n, 3, 2)) if at is None else at
    y, x = np.mgrid[:28, :28]
    distance = (x - at[..., 0, None, None]) ** 2 + (y - at[..., 1, None, None]) ** 2
    coarse = sharpness * np.exp(-distance / 12) + rng.normal(0, 0.4, distance.shape)
    fine = torch.nn.functional.interpolate(torch.from_numpy(coarse), size=(56, 56), mode="bilinear")
    return fine.float().numpy(), at


def seen_under(view, logits):
    """The heatmap that a perfect network would give under the view, made without the library's maps."""
    seen = np.rot90(logits, view.rotate // 90, axes=(-2, -1))
    return seen[:, [0, 2, 1], :, ::-1] if view.flip else seen


@pytest.mark.parametrize("kind", ["probability", "logit"])
def test_the_same_evidence_in_every_view_changes_nothing(kind):
    logits, _ = peaks(np.random.default_rng(0), 5)
    average = Average(kind, META.flip_pairs)
    for view in FEW:
        average.add(seen_under(view, logits), view)
    probability, logit = average.result()
    np.testing.assert_allclose(logit, logits, atol=1e-5)
    np.testing.assert_allclose(probability, softmax2d(logits), rtol=1e-4, atol=1e-9)


def test_probabilities_and_logits_are_averaged_as_defined():
    a, b = peaks(np.random.default_rng(1), 2)[0], peaks(np.random.default_rng(2), 2)[0]
    exp_a, exp_b = np.exp(a.astype(np.float64)), np.exp(b.astype(np.float64))
    for kind, expected in (
        (
            "probability",
            (exp_a / exp_a.sum((2, 3), keepdims=True) + exp_b / exp_b.sum((2, 3), keepdims=True)) / 2,
        ),
        ("logit", (both := np.sqrt(exp_a * exp_b)) / both.sum((2, 3), keepdims=True)),
    ):
        average = Average(kind, ())
        average.add(a, View(400))
        average.add(b, View(500))
        np.testing.assert_allclose(average.result()[0], expected, rtol=1e-4, atol=1e-9)


def test_averaging_views_finds_keypoints_that_single_views_miss():
    rng = np.random.default_rng(3)
    truth = rng.uniform(6, 22, (40, 3, 2))
    boxes = np.tile([0.0, 0, 56, 56], (40, 1))
    average, single = Average("probability", ()), []
    for scale in range(400, 1300, 100):
        logits = peaks(rng, 40, sharpness=4, at=truth + rng.normal(0, 1.0, truth.shape))[0]
        average.add(logits, View(scale))
        single.append(np.abs(decode(logits, logits, boxes, upsample=False)[0] / 2 - truth - 0.5).mean())
    probability, logit = average.result()
    merged = decode(probability, logit, boxes, upsample=False)[0]
    assert np.abs(merged / 2 - truth - 0.5).mean() < 0.75 * min(single)


def test_a_peak_is_put_at_its_cells_centre_with_its_probability_and_logit():
    logits = np.zeros((1, 2, 4, 4), dtype=np.float32)
    logits[0, 0, 3, 1] = 5  # row 3, column 1
    points, score, logit = decode(softmax2d(logits), logits, np.array([[10.0, 20, 18, 24]]), upsample=False)
    np.testing.assert_allclose(points[0], [[13, 23.5], [11, 20.5]])  # the second is flat: its first cell
    np.testing.assert_allclose(score[0], [np.exp(5) / (np.exp(5) + 15), 1 / 16], rtol=1e-6)
    np.testing.assert_allclose(logit[0], [5, 0])


def test_softmax_survives_extreme_logits():
    probability = softmax2d(np.array([[[[30000.0, -30000], [-30000, 29999]]]]))
    np.testing.assert_allclose(
        probability.ravel(), [1 / (1 + np.exp(-1)), 0, 0, np.exp(-1) / (1 + np.exp(-1))]
    )


def write(path, logits, view=FEW[0], image_id=None):
    n = len(logits)
    with heatmap_writer.writing(path, view, "m", "d", META) as writer:
        for rows in np.array_split(np.arange(n), 2) if n else [np.arange(0)]:
            writer.append(
                torch.from_numpy(logits[rows]),
                np.arange(n)[rows] if image_id is None else np.asarray(image_id)[rows],
                np.tile([1.5, 2.25, 10, 1 / 3], (len(rows), 1)),
                rows / 10,
                np.ones(len(rows)),
            )


@pytest.mark.parametrize("sharpness", [3.0, 8.0, 16.0])
def test_a_compact_file_gives_the_same_keypoints(tmp_path, sharpness):
    rng = np.random.default_rng(4)
    logits, at = peaks(rng, 32, sharpness)
    exact, kept = Average("probability", ()), Average("probability", ())
    for i, view in enumerate([View(400), View(500), View(600)]):
        seen = logits if i == 0 else peaks(rng, 32, sharpness, at)[0]
        exact.add(seen, view)
        write(tmp_path / "x.h5", seen, view)
        kept.add(heatmap_file.read_block(tmp_path / "x.h5", 0, 99).heatmap, view)
    boxes = np.tile([0.0, 0, 56, 56], (32, 1))
    points, score, logit = decode(*exact.result(), boxes, upsample=False)
    kept_points, kept_score, kept_logit = decode(*kept.result(), boxes, upsample=False)
    assert (np.abs(points - kept_points).max(axis=-1) == 0).mean() > 0.97
    np.testing.assert_allclose(kept_score, score, rtol=0.01)
    np.testing.assert_allclose(kept_logit, logit, atol=0.02)


def test_confident_heatmaps_take_a_tenth_of_their_raw_size(tmp_path):
    logits, _ = peaks(np.random.default_rng(5), 32, sharpness=16)
    write(tmp_path / "x.h5", logits)
    assert (tmp_path / "x.h5").stat().st_size < 0.12 * logits.astype(np.float16).nbytes


def test_a_file_is_read_back_row_by_row(tmp_path):
    logits, _ = peaks(np.random.default_rng(6), 7)
    write(tmp_path / "x.h5", logits, View(600, flip=True))
    header = heatmap_file.read_header(tmp_path / "x.h5")
    assert header == heatmap_file.Header(
        View(600, flip=True), "m", "d", META.names, META.flip_pairs, 7, LOGITS
    )
    rows = heatmap_file.read_block(tmp_path / "x.h5", 3, 5)
    assert rows.image_id.tolist() == [3, 4]
    assert rows.box.tolist() == [[1.5, 2.25, 10, 1 / 3]] * 2
    assert rows.score.tolist() == [0.3, 0.4]
    assert rows.category_id.tolist() == [1, 1]
    np.testing.assert_allclose(rows.heatmap.max(axis=(2, 3)), logits[3:5].max(axis=(2, 3)), atol=0.01)
    with h5py.File(tmp_path / "x.h5") as file:  # as another program reads it
        assert file["heatmap"].dtype == np.float16
        assert list(file.attrs["keypoint_names"]) == list(META.names)
        assert file.attrs["view"] == "s0600-flip"
        assert file.attrs["flip_pairs"].tolist() == [[1, 2]]


def test_the_same_heatmaps_give_the_same_bytes(tmp_path):
    logits, _ = peaks(np.random.default_rng(7), 6)
    write(tmp_path / "a.h5", logits)
    write(tmp_path / "b.h5", logits)
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


def test_a_file_without_instances_is_valid(tmp_path):
    write(tmp_path / "x.h5", np.zeros((0, 3, 56, 56), np.float32))
    assert heatmap_file.read_header(tmp_path / "x.h5").count == 0
    assert heatmap_file.read_block(tmp_path / "x.h5", 0, 5).heatmap.shape == (0, 3, 56, 56)


def test_a_diverged_model_leaves_no_file(tmp_path):
    with pytest.raises(UserError, match="not finite"):
        write(tmp_path / "x.h5", np.full((2, 3, 56, 56), np.nan, np.float32))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("damage", ["missing", "not HDF5", "cut", "another HDF5"])
def test_a_damaged_file_is_one_clear_line(tmp_path, damage):
    path = tmp_path / "x.h5"
    if damage == "not HDF5":
        path.write_text("{}")
    elif damage == "cut":
        write(path, peaks(np.random.default_rng(8), 6)[0])
        path.write_bytes(path.read_bytes()[:-500])
    elif damage == "another HDF5":
        h5py.File(path, "w").close()
    with pytest.raises(UserError, match=r"x\.h5: [^\n]+$"):
        heatmap_file.read_header(path)


def test_the_order_of_views_does_not_matter():
    rng = np.random.default_rng(9)
    maps = [peaks(rng, 4)[0] for _ in range(3)]
    results = []
    for order in permutations(range(3)):
        average = Average("probability", ())
        for i in order:
            average.add(maps[i], View(400 + i))
        results.append(average.result()[0])
    for result in results[1:]:
        np.testing.assert_allclose(result, results[0], rtol=1e-5)


def test_upsampled_decoding_is_that_of_torchvision():
    """For a single view, whatever the average, in RoIs smaller and larger than the heatmap."""
    rng = np.random.default_rng(4)
    logits = peaks(rng, 60)[0]
    corner = rng.uniform(-20, 200, (60, 2))
    boxes = np.concatenate([corner, corner + np.exp(rng.uniform(-1, 5.5, (60, 2)))], axis=1).astype(
        np.float32
    )
    expected = heatmaps_to_keypoints(torch.from_numpy(logits), torch.from_numpy(boxes))[0][..., :2].numpy()
    for kind in AVERAGES:
        average = Average(kind, META.flip_pairs)
        average.add(logits, View(400))
        points = decode(*average.result(), boxes, upsample=True)[0]
        wide = (boxes[:, 2:] - boxes[:, :2] >= 1).all(1)  # torchvision gives others a side of one pixel
        near = np.abs(points - expected)[wide].max(-1) < 0.01
        assert wide.sum() > 40
        assert near.mean() >= 0.995
