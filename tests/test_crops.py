"""Crops of pose estimators: geometry and decoding against mmpose's own, merging by planted peaks."""

import cv2
import h5py
import numpy as np
import pytest
from mmpose.codecs import MegviiHeatmap, MSRAHeatmap, SimCCLabel, UDPHeatmap
from mmpose.datasets.transforms import GetBBoxCenterScale, TopdownAffine

from distill.datasets.keypoint_meta import KeypointMeta
from distill.predictions import crops
from distill.predictions.codecs import Codec, decode
from distill.predictions.crop_heatmaps import CropAverage
from distill.predictions.crops import Crop
from distill.predictions.heatmap_file import Layout, read_block, read_header
from distill.predictions.heatmap_writer import writing
from distill.predictions.merge_heatmaps import merge_heatmaps
from distill.predictions.views import View
from distill.program import UserError
from helpers.options import expand
from helpers.options import merge_options as Options

META = KeypointMeta(("nose", "left_eye", "right_eye"), ((1, 2),), (), (0.05,) * 3)
SIZE = (48, 64)
VIEWS = expand([{"scales": [200], "flip": True, "paddings": [1.25, 1.0, 1.6], "turns": [0, -12, 9]}])
BOXES = np.array([[30.0, 40, 90, 160], [100, 20, 220, 60], [10.5, 150.25, 50, 220]])
HEAT = {
    "msra": (Codec("quarter"), MSRAHeatmap(SIZE, (24, 32), 2.0), False),
    "dark": (Codec("dark"), MSRAHeatmap(SIZE, (24, 32), 2.0, unbiased=True), False),
    "udp": (Codec("udp"), UDPHeatmap(SIZE, (24, 32)), True),
    "megvii": (Codec("megvii"), MegviiHeatmap(SIZE, (24, 32), 11), False),
}
SIGMAS = {"heat": (2.0, 2.0), "simcc": (2.2, 2.6)}  # cells
SIMCC = SimCCLabel(SIZE, sigma=(2.2, 2.6), simcc_split_ratio=2.0, normalize=False)


def points_in(boxes, seed=0):
    """(N, 3, 2) well inside the boxes."""
    part = np.random.default_rng(seed).uniform(0.15, 0.85, (len(boxes), 3, 2))
    return boxes[:, None, :2] + part * (boxes[:, None, 2:] - boxes[:, None, :2])


def in_input(crop, view, boxes, points):
    """Where points (N, K, 2) of the image are in the network's input, in mmpose's pixels."""
    matrices = crop.matrices(boxes, view)
    return np.einsum("nij,nkj->nki", matrices[..., :2], points - 0.5) + matrices[:, None, :, 2]


def said(crop, view, kind, points):
    """What a perfect network says under the view: bumps, of mirrored channels where it is mirrored."""
    points = points[:, [0, 2, 1] if view.flip else [0, 1, 2]]
    step = (np.array(crop.size) - crop.udp_cells) / (np.array(crop.cells) - crop.udp_cells)
    x, y = (
        np.exp(-((np.arange(n) - at[..., None]) ** 2) / (2 * sigma**2))
        for n, at, sigma in zip(
            crop.cells, np.moveaxis(points / step - crop.floored / 2, -1, 0), SIGMAS[kind], strict=True
        )
    )
    return (10 * x, 10 * y) if kind == "simcc" else (y[..., None] * x[..., None, :],)


@pytest.mark.parametrize("udp", [False, True])
def test_a_crop_is_that_of_mmpose(udp):
    image = np.random.default_rng(0).integers(0, 255, (240, 260, 3), dtype=np.uint8)
    image = cv2.GaussianBlur(image, (0, 0), 3)
    for box in BOXES:
        results = {"img": image, "bbox": box[None].astype(np.float32)}
        theirs = TopdownAffine(SIZE, use_udp=udp)(GetBBoxCenterScale()(results))["img"]
        (matrix,) = Crop(SIZE, (24, 32), udp).matrices(box[None], View(200))
        ours = cv2.warpAffine(image, matrix, SIZE, flags=cv2.INTER_LINEAR)
        assert np.abs(ours.astype(int) - theirs).max() <= 2


@pytest.mark.parametrize("name", HEAT)
def test_keypoints_are_read_off_heat_as_mmpose_reads_them(name):
    codec, theirs, udp = HEAT[name]
    step = (np.array(SIZE) - udp) / (np.array([24, 32]) - udp)
    if udp:
        step = np.array(SIZE) / 1.0 / np.array([23, 31])  # mmpose's decoding puts the last cell at the end
    rng = np.random.default_rng(1)
    at = rng.uniform(-1, [24, 32], (3, 8, 2))
    y, x = np.mgrid[:32, :24]
    bumps = np.exp(-((x - at[..., 0, None, None]) ** 2 + (y - at[..., 1, None, None]) ** 2) / 8)
    for noise in (0, 0.02, 1):
        heat = (bumps * (noise < 1) + rng.normal(0, noise, bumps.shape)).astype(np.float32)
        places, scores = decode(codec, (heat,))
        for n, maps in enumerate(heat):
            keypoints, confidence = theirs.decode(maps)
            floored = 0.5 if name == "megvii" else 0  # where its cells begin, but for those at the edge
            inner = (places[n] > 1).all(-1) & (places[n] < [22.5, 30.5]).all(-1) if floored else slice(None)
            np.testing.assert_allclose(((places[n] + floored) * step)[inner], keypoints[0][inner], atol=0.05)
            if name != "megvii":  # which adds a half to a 255th
                np.testing.assert_allclose(scores[n], confidence[0].clip(0), rtol=1e-5)


def test_keypoints_are_read_off_distributions_as_mmpose_reads_them():
    rng = np.random.default_rng(2)
    x, y = rng.normal(0, 1, (3, 8, 96)), rng.normal(0, 1, (3, 8, 128))
    places, _ = decode(Codec(), (x[..., None, :], y[..., None]))
    np.testing.assert_allclose(places / 2, SIMCC.decode(x, y)[0])


@pytest.mark.parametrize("view", VIEWS, ids=lambda view: view.name)
def test_a_peak_planted_in_a_view_is_found_in_the_image(view):
    """Of heat and of distributions, in the frame of the plain view; within half a pixel of the input."""
    points, plain = points_in(BOXES), View(200)
    kinds = {name: ("heat", codec, udp) for name, (codec, _, udp) in HEAT.items()}
    for name, (kind, codec, udp) in {**kinds, "simcc": ("simcc", Codec(), False)}.items():
        crop = Crop(SIZE, (96, 128) if kind == "simcc" else (24, 32), udp, udp, name == "megvii")
        maps = said(crop, view, kind, in_input(crop, view, BOXES, points))
        if kind == "simcc":
            maps = maps[0][..., None, :], maps[1][..., None]
        average = CropAverage(Layout(kind, crop.cells, codec), META.flip_pairs, crop.regions(BOXES, 1.25))
        average.add(maps, view, crop.regions(BOXES, view.padding))
        places, _ = average.keypoints()
        off = np.abs(in_input(crop, plain, BOXES, places) - in_input(crop, plain, BOXES, points))
        most = {"msra": 0.8, "simcc": 0.4, "megvii": 0.6}.get(name, 0.25)  # of 2 pixels to a cell
        assert off.max() < most, name


def test_views_of_mean_evidence_beat_one_view():
    rng = np.random.default_rng(3)
    points = points_in(BOXES)
    crop, codec = Crop(SIZE, (24, 32)), HEAT["dark"][0]
    average = CropAverage(Layout("heat", (24, 32), codec), META.flip_pairs, crop.regions(BOXES, 1.25))
    single = []
    for view in VIEWS:
        region = crop.regions(BOXES, view.padding)
        seen = in_input(crop, view, BOXES, points) + rng.normal(0, 1.5, points.shape)
        maps = said(crop, view, "heat", seen)
        average.add(maps, view, region)
        one = CropAverage(average.layout, META.flip_pairs, average.frame)
        one.add(maps, view, region)
        single.append(np.abs(one.keypoints()[0] - points).mean())
    assert np.abs(average.keypoints()[0] - points).mean() < 0.5 * np.mean(single)


def write(path, view, kind, boxes=BOXES, score=1.0, model="m"):
    crop = Crop(SIZE, (96, 128) if kind == "simcc" else (24, 32))
    codec = Codec(sure=(0.55, 0.47)) if kind == "simcc" else HEAT["dark"][0]
    points = in_input(crop, view, boxes, points_in(boxes))
    maps = said(crop, view, kind, points)
    with writing(path, view, model, "d", META, Layout(kind, crop.cells, codec)) as writer:
        for n, box in enumerate(boxes):
            region = crop.regions(box[None], view.padding)
            row = tuple(one[n : n + 1] * score for one in maps)
            xywh = [*box[:2], *(box[2:] - box[:2])]
            writer.append(row if len(row) == 2 else row[0], [n], [xywh], [0.5], [1], region)
    return path


DATASET = {"images": [{"id": i, "file_name": f"{i}.png", "width": 260, "height": 240} for i in range(3)]}


@pytest.mark.parametrize("kind", ["heat", "simcc"])
def test_files_of_crops_are_merged(tmp_path, kind):
    paths = [write(tmp_path / f"{view.name}.h5", view, kind) for view in VIEWS]
    merged = list(merge_heatmaps(paths, DATASET, Options(), block=2))
    assert list(merged[0]) == ["image_id", "category_id", "bbox", "score", "keypoints", "agreement"]
    spread, unsure = (
        np.array([record["agreement"][key] for record in merged]) for key in ("spread", "entropy")
    )
    assert (spread < 0.06 * BOXES[:, 2:].max(-1, keepdims=True)).all()  # the views are of one mind
    assert (unsure < (5.5 if kind == "simcc" else 0.7)).all()
    found = np.array([record["keypoints"] for record in merged]).reshape(3, 3, 3)
    crop, plain = Crop(SIZE, (24, 32)), View(200)
    off = in_input(crop, plain, BOXES, found[..., :2]) - in_input(crop, plain, BOXES, points_in(BOXES))
    assert np.abs(off).max() < 0.5
    assert (found[..., 2] > 0.5).all()
    assert (found[..., 2] <= 1.001).all()
    backwards = [record["keypoints"] for record in merge_heatmaps(paths[::-1], DATASET, Options())]
    np.testing.assert_allclose(np.reshape(backwards, found.shape), found, atol=0.02)


def test_a_file_of_crops_says_its_frame_cells_and_kind(tmp_path):
    path = write(tmp_path / "x.h5", View(200, padding=1.6, turn=-12), "simcc")
    header, rows = read_header(path), read_block(path, 1, 3)
    assert (header.layout.kind, header.layout.cells) == ("simcc", (96, 128))
    assert header.layout.codec == Codec(sure=(0.55, 0.47))
    assert header.view == View(200, padding=1.6, turn=-12)
    np.testing.assert_allclose(rows.region, Crop(SIZE, (96, 128)).regions(BOXES[1:], 1.6))
    assert [one.shape for one in rows.maps] == [(2, 3, 1, 96), (2, 3, 128, 1)]
    box = [*BOXES[1, :2], *(BOXES[1, 2:] - BOXES[1, :2])]
    assert rows.box[0].tolist() == box


def test_heat_keeps_what_refinement_reads(tmp_path):
    """In files of a third of the size, the same keypoints to a tenth of an input pixel."""
    path = write(tmp_path / "x.h5", View(200), "heat", score=0.3)
    crop = Crop(SIZE, (24, 32))
    exact = said(crop, View(200), "heat", in_input(crop, View(200), BOXES, points_in(BOXES)))
    places, scores = decode(Codec("dark"), read_block(path, 0, 3).maps)
    expected, _ = decode(Codec("dark"), (exact[0] * 0.3,))
    np.testing.assert_allclose(places, expected, atol=0.05)
    np.testing.assert_allclose(scores, 0.3 * exact[0].max((2, 3)), rtol=1e-3)


@pytest.mark.parametrize(
    ("views", "options", "message"),
    [
        ([View(200), View(300)], {}, "s0200 and s0300 are the same to a pose estimator"),
        ([View(200, rotate=90)], {}, "s0200-r090 turns or stretches images"),
        ([View(200)], {"average": "logit"}, "average: logit is for Keypoint R-CNN's"),
        ([View(200)], {"upsample": True}, "upsample is for Keypoint R-CNN's"),
    ],
)
def test_what_is_not_for_crops_is_refused(tmp_path, views, options, message):
    paths = [write(tmp_path / f"{view.name}.h5", view, "heat") for view in views]
    with pytest.raises(UserError, match=message):
        list(merge_heatmaps(paths, DATASET, Options(**options)))


def test_kinds_are_not_merged_with_each_other(tmp_path):
    paths = [
        write(tmp_path / "a.h5", View(200), "heat"),
        write(tmp_path / "b.h5", View(200), "simcc", model="n"),
    ]
    with pytest.raises(UserError, match=r"b.h5: its layout differs from that of .*a.h5"):
        list(merge_heatmaps(paths, DATASET, Options()))


def _without(name):
    def spoil(file):
        del file[name]

    return spoil


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda file: file.attrs.modify("kind", "depth"), "its kind 'depth' is none of logits, heat, simcc"),
        (lambda file: file.attrs.modify("codec", "MSRAHeatmap"), "not a readable file of heatmaps"),
        (lambda file: file.attrs.modify("codec", '{"refine": "os.system"}'), "not a readable file"),
        (lambda file: file.attrs.modify("codec", '{"blur": 1000000}'), "not a readable file of heatmaps"),
        (_without("region"), "not a readable file of heatmaps"),
        (lambda file: file["region"].resize(2, axis=0), "its columns are not of one length"),
        (lambda file: file["region"].write_direct(np.zeros((3, 4))), "its regions have no area"),
        (lambda file: file["region"].write_direct(np.full((3, 4), np.nan)), "not finite"),
    ],
)
def test_damaged_files_of_crops_are_said_to_be(tmp_path, spoil, message):
    path = write(tmp_path / "x.h5", View(200), "heat")
    with h5py.File(path, "r+") as file:
        spoil(file)
    with pytest.raises(UserError, match=message):
        list(merge_heatmaps([path, write(tmp_path / "y.h5", View(200, True), "heat")], DATASET, Options()))


@pytest.mark.parametrize(
    ("row", "cells"),
    [((0.9, -0.2, 11.0), 70), ((0.9, -0.2, -13.0), 35), ((0.8, 0.4, -35.0), 30)],
    ids=["whole", "cut", "cut on the other side"],
)
def test_a_projection_is_the_sum_over_the_product(row, cells):
    """Against brute force: every pair of cells is put where the map puts it."""
    rng = np.random.default_rng(4)
    smooth = [cv2.GaussianBlur(rng.uniform(0, 1, (2, n)), (0, 0), 3) for n in (60, 80)]
    smooth = [one * np.hanning(one.shape[1]) for one in smooth]  # nothing at the ends
    x, y = (one / one.sum(-1, keepdims=True) for one in smooth)
    a, b, c = row
    expected = np.zeros((2, cells))
    for u in np.arange(0, 60, 0.1):  # finely, as densities
        for v in range(80):
            place = a * u + b * v + c
            low = int(np.floor(place))
            for cell, weight in ((low, low + 1 - place), (low + 1, place - low)):
                if 0 <= cell < cells and u <= 59:
                    near = int(u), min(int(u) + 1, 59)
                    mass = x[:, near[0]] + (u - near[0]) * (x[:, near[1]] - x[:, near[0]])
                    expected[:, cell] += weight * mass * y[:, v] * 0.1
    found = crops.project(x, y, np.array(row), cells)
    np.testing.assert_allclose(found, expected, atol=2e-4)
    np.testing.assert_allclose(found.argmax(-1), expected.argmax(-1), atol=1)
