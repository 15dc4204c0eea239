"""An imported torchvision model says what torchvision says: detections, keypoints, losses of a step.

The weights are random, but of the scale of trained ones; the images photographs, if there are, and generated.
"""

import numpy as np
import pytest
import torch
from mmdet.models.task_modules.assigners import AssignResult
from mmdet.models.task_modules.samplers import SamplingResult
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData
from torchvision.models.detection import KeypointRCNN, fasterrcnn_resnet50_fpn
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.ops.misc import FrozenBatchNorm2d

from distill.datasets.images import read_image
from distill.files import read_json
from distill.models.importing import import_model
from distill.models.model import load
from distill.models.prediction import predict_boxes
from distill.models.predictor import Predictor
from distill.predictions.heatmaps import decode, softmax2d
from distill.predictions.views import View
from helpers import ROOT
from helpers.checkpoints import COCO, PERSON, SIDE, scale_like_trained, share_in_common, small_dataset
from helpers.options import build

VIEW = View(SIDE)
SPREAD = {"rpn.head.cls_logits": 2, "rpn.head.bbox_pred": 0.3, "roi_heads.box_predictor.bbox_pred": 1}
BEST = 10  # detections of an image that get keypoints


@pytest.fixture(scope="module")
def generated(tmp_path_factory):
    """The COCO dict of a few generated images, and their folder."""
    folder = tmp_path_factory.mktemp("figures")
    coco = build("figures", {"kind": "figures", "images": 6, "seed": 3}, {}, folder)
    return coco, folder


@pytest.fixture(params=["figures", "photographs"])
def images(request, generated, tmp_path):
    """A function of the categories that makes a dataset of two images."""
    if request.param == "figures":
        coco, root = generated
    else:
        folder = request.getfixturevalue("coco_pose")
        coco, root = read_json(folder / "annotations.json"), folder / "images"
    return lambda categories: small_dataset(tmp_path / "data", coco, root, 2, categories)


def pixels_of(dataset, image):
    """(3, H, W) RGB from 0 to 1, as torchvision takes it."""
    pixels = read_image(dataset.parent / image["file_name"], (image["width"], image["height"]))
    return torch.from_numpy(pixels[..., ::-1].copy()).permute(2, 0, 1).float() / 255


def scaled(network, generated, **spread):
    """With weights of a trained scale, and set to take images as they are."""
    coco, root = generated
    image = coco["images"][0]
    pixels = VIEW.transform_image(read_image(root / image["file_name"], (image["width"], image["height"])))
    tensor = torch.from_numpy(pixels[..., ::-1].copy()).permute(2, 0, 1).float() / 255
    network.transform.min_size, network.transform.max_size = (SIDE,), 10 * SIDE
    spread = {f"roi_heads.{name}": value for name, value in spread.items()}
    scale_like_trained(network, SPREAD | spread, lambda: network([tensor]))
    return network


def imported(network, dataset, config, folder):
    """The folder of the model made from the network's state dict."""
    torch.save(network.state_dict(), folder / "torchvision.pth")
    spec = {"format": "torchvision", "checkpoint": str(folder / "torchvision.pth")}
    import_model("zoo", ROOT / f"config/models/{config}.py", spec, dataset, folder / "zoo")
    return folder / "zoo"


@pytest.fixture(scope="module")
def faster_rcnn(generated):
    """With batch normalisation, as torchvision makes it where it has no weights of its own."""
    torch.manual_seed(0)
    network = fasterrcnn_resnet50_fpn(weights=None, weights_backbone=None)
    return scaled(network, generated, **{"box_predictor.cls_score": 2.5})


@pytest.fixture(scope="module")
def keypoint_rcnn(generated):
    """With frozen normalisation without an epsilon, as the published weights have it."""
    torch.manual_seed(0)
    backbone = resnet_fpn_backbone(backbone_name="resnet50", weights=None, trainable_layers=5)
    network = KeypointRCNN(backbone, num_classes=2, box_detections_per_img=BEST, box_batch_size_per_image=64)
    for module in network.modules():
        if isinstance(module, FrozenBatchNorm2d):
            module.eps = 0.0
    spread = {"box_predictor.cls_score": 2, "keypoint_predictor.kps_score_lowres": 3}
    return scaled(network, generated, **spread)


def detections(network, dataset, category_ids):
    """torchvision's, of the given categories."""
    found = []
    for image in read_json(dataset)["images"]:
        with torch.no_grad():
            result = network([pixels_of(dataset, image)])[0]
        points = result.get("keypoints", torch.zeros(len(result["boxes"]), 0, 3))[..., :2]
        columns = (
            result["labels"].tolist(),
            result["scores"].tolist(),
            result["boxes"].tolist(),
            points.numpy(),
        )
        for label, score, box, keypoints in zip(*columns, strict=True):
            record = {"image_id": image["id"], "category_id": label, "score": score}
            found.append(record | {"box": box, "keypoints": keypoints})
    return [record for record in found if record["category_id"] in category_ids]


def corners(record):
    x, y, w, h = record["bbox"]
    return {**record, "box": [x, y, x + w, y + h]}


def test_detections_are_those_of_torchvision(faster_rcnn, images, tmp_path):
    categories = [{"id": i, "name": name} for i, name in enumerate(COCO) if i and name != "N/A"]
    dataset = images(categories[::-1])  # the order of the dataset is not the checkpoint's
    model = imported(faster_rcnn, dataset, "faster_rcnn_r50_fpn", tmp_path)
    predict_boxes(model, dataset, VIEW, (0, 1), tmp_path / "boxes.json", device="cpu")
    ours = [corners(record) for record in read_json(tmp_path / "boxes.json")["predictions"]]
    theirs = detections(faster_rcnn, dataset, {category["id"] for category in categories})
    assert len(theirs) > 100
    assert len({record["category_id"] for record in theirs}) > 10
    share, _ = share_in_common(theirs, ours)
    assert share >= 0.995


def test_keypoints_are_those_of_torchvision(keypoint_rcnn, images, tmp_path):
    dataset = images([PERSON])
    predictor = Predictor(imported(keypoint_rcnn, dataset, "keypoint_rcnn_r50_fpn", tmp_path), "cpu")
    records = read_json(dataset)["images"]
    boxes, ours = {}, []
    for image, found in predictor.boxes(dataset.parent, records, VIEW):
        boxes[image["id"]] = found["boxes"][:BEST]
        for box, score in zip(found["boxes"][:BEST], found["scores"], strict=False):
            ours.append({"image_id": image["id"], "category_id": 1, "box": box, "score": score})
    theirs = detections(keypoint_rcnn, dataset, {1})
    share, pairs = share_in_common(theirs, ours)
    assert len(theirs) == len(ours) == len(records) * BEST
    assert share >= 0.995

    heatmaps = np.concatenate(list(predictor.heatmaps(dataset.parent, records, boxes, VIEW)))
    rois = np.array([record["box"] for record in ours])
    expected = np.array([theirs[i]["keypoints"] for i, _ in pairs])
    rows = [j for _, j in pairs]
    far = {}
    for upsample in (True, False):
        points = decode(softmax2d(heatmaps), heatmaps, rois, upsample)[0][rows]
        far[upsample] = np.abs(points - expected).max(-1)
    assert (far[True] <= 0.5).mean() >= 0.995
    # The paper's points, centres of cells, are others.
    assert (far[False] > 0.5).mean() > 0.2


class Chosen:
    """A sampler that has chosen already: for each image the indices of positives and of negatives."""

    def __init__(self, chosen):
        self.chosen = iter(chosen)

    def sample(self, assigned, instances, truth, **kwargs):
        positive, negative = next(self.chosen)
        flags = instances.priors.new_zeros(len(instances.priors), dtype=torch.uint8)
        return SamplingResult(
            pos_inds=positive,
            neg_inds=negative,
            priors=instances.priors,
            gt_bboxes=truth.bboxes,
            assign_result=assigned,
            gt_flags=flags,
        )


def test_losses_of_a_step_are_those_of_torchvision(keypoint_rcnn, images, tmp_path, monkeypatch):
    dataset = images([PERSON])
    coco = read_json(dataset)
    targets = []
    for image in coco["images"]:
        own = [a for a in coco["annotations"] if a["image_id"] == image["id"]]
        boxes = torch.tensor([corners(annotation)["box"] for annotation in own])
        points = torch.tensor([annotation["keypoints"] for annotation in own]).reshape(len(own), -1, 3)
        targets.append(
            {"boxes": boxes, "labels": torch.ones(len(own), dtype=torch.int64), "keypoints": points}
        )

    regions, anchors = [], []
    heads, rpn = keypoint_rcnn.roi_heads, keypoint_rcnn.rpn
    select, sample = heads.select_training_samples, rpn.fg_bg_sampler

    def recorded(record, function):
        def call(*args):
            record.append(function(*args))
            return record[-1]

        return call

    monkeypatch.setattr(heads, "select_training_samples", recorded(regions, select))
    del rpn.fg_bg_sampler  # a module would have to be replaced by a module
    rpn.fg_bg_sampler = recorded(anchors, sample)
    torch.manual_seed(0)
    tensors = [pixels_of(dataset, image) for image in coco["images"]]
    with torch.no_grad():
        theirs = keypoint_rcnn.train()(tensors, targets)
    keypoint_rcnn.eval()
    rpn.fg_bg_sampler = sample

    network, *_ = load(
        imported(keypoint_rcnn, dataset, "keypoint_rcnn_r50_fpn", tmp_path), torch.device("cpu")
    )
    samples = [
        DetDataSample(
            gt_instances=InstanceData(bboxes=t["boxes"], labels=t["labels"] - 1),
            metainfo={"img_shape": tensor.shape[1:], "scale_factor": (1, 1)},
        )
        for t, tensor in zip(targets, tensors, strict=True)
    ]
    inputs = [(tensor.flip(0) * 255).round().byte() for tensor in tensors]
    data = network.data_preprocessor({"inputs": inputs, "data_samples": samples}, True)
    flags = zip(*anchors[0], strict=True)
    network.rpn_head.sampler = Chosen([[torch.where(flag)[0] for flag in image] for image in flags])
    chosen = []
    for boxes, matched, labels, truth in zip(*regions[0][:3], targets, strict=True):
        assigned = AssignResult(len(truth["boxes"]), (matched + 1) * (labels > 0), None, labels - 1)
        rows = [(torch.where(labels > 0)[0], torch.where(labels == 0)[0])]
        instances = InstanceData(priors=boxes)
        chosen.append(Chosen(rows).sample(assigned, instances, InstanceData(bboxes=truth["boxes"])))
        chosen[-1].pos_gt_labels = labels[rows[0][0]] - 1
    assert sum(len(sample.pos_inds) for sample in chosen) > 5
    with torch.no_grad():
        features = network.extract_feat(data["inputs"])
        losses = network.rpn_head.loss(features, data["data_samples"])
        losses |= network.roi_head.bbox_loss(features, chosen)["loss_bbox"]
        losses |= network.roi_head.keypoint_loss(features, chosen, [t["keypoints"] for t in targets])
    ours = {
        "loss_objectness": sum(losses["loss_rpn_cls"]),
        "loss_rpn_box_reg": sum(losses["loss_rpn_bbox"]),
        "loss_classifier": losses["loss_cls"],
        "loss_box_reg": losses["loss_bbox"],
        "loss_keypoint": losses["loss_keypoint"],
    }
    assert set(ours) == set(theirs)
    for name, loss in theirs.items():
        assert loss > 0.01
        assert float(ours[name]) == pytest.approx(float(loss), rel=1e-4), name
