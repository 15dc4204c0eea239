"""Generated instances that count less in the losses, and regions that are neither objects nor background."""

import json

import numpy as np
import pytest
import torch
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import bbox_overlaps
from mmengine.structures import InstanceData

from distill.files import read_json
from distill.models import model as models
from distill.models.training import train
from distill.models.training_job import full_config
from distill.models.work_folder import checkpoints
from helpers import ROOT
from helpers.arrows import draw_dataset
from helpers.networks import training_job

BOXES = torch.tensor([[10.0, 12, 60, 70], [70, 20, 120, 90]])


@pytest.fixture(scope="module")
def network(arrows):
    cfg = models.load_config(ROOT / "config/models/keypoint_rcnn_tiny.py")
    cfg.model.backbone.init_cfg = None
    models.fit_to_dataset(cfg, read_json(arrows)["categories"], "arrows")
    torch.manual_seed(0)
    network = models.build(cfg).train()
    network.init_weights()
    return network


def sample(shape, ignored=None, weights=None, **meta):
    """Two instances with all keypoints, and regions."""
    keypoints = torch.stack([torch.tensor([[20.0, 20, 2], [30, 40, 2], [40, 60, 2]])] * 2)
    keypoints[1, :, :2] += torch.tensor([60.0, 10])
    instances = InstanceData(bboxes=BOXES, labels=torch.tensor([0, 0]), keypoints=keypoints)
    if weights is not None:
        instances.weights = torch.tensor(weights)
    regions = torch.zeros(0, 4) if ignored is None else torch.tensor(ignored)
    size = {"img_shape": shape, "pad_shape": shape, "batch_input_shape": (128, 128), "ori_shape": shape}
    found = DetDataSample(metainfo={**size, "scale_factor": (1, 1), "generated": True, **meta})
    found.gt_instances = instances
    found.ignored_instances = InstanceData(bboxes=regions, labels=torch.zeros(len(regions)).long())
    return found


def losses(network, *samples):
    torch.manual_seed(1)
    inputs = torch.randn(len(samples), 3, 128, 128)
    found = network.loss(inputs, list(samples))
    flat = {key: value if isinstance(value, list) else [value] for key, value in found.items()}
    return {key: float(sum(value).detach()) for key, value in flat.items() if key != "acc"}


def test_weights_are_those_of_the_losses(network):
    """Of 1 they change nothing, between others losses are linear; what has no box teaches no box."""
    shape = (128, 128)
    plain = losses(network, sample(shape), sample(shape))
    one = losses(network, sample(shape, weights=[[1.0, 1.0]] * 2), sample(shape))
    assert one == pytest.approx(plain, rel=1e-5)
    half, some = (losses(network, *[sample(shape, weights=[[w, w]] * 2)] * 2) for w in (0.5, 0.75))
    assert some == pytest.approx({key: (plain[key] + half[key]) / 2 for key in plain}, rel=1e-4)
    for key in ("loss_bbox", "loss_rpn_bbox", "loss_keypoint"):
        assert half[key] == pytest.approx(plain[key] / 2, rel=1e-4)
    boxless = losses(network, *[sample(shape, weights=[[1.0, 0.0]] * 2)] * 2)
    gone = {"loss_bbox": 0, "loss_rpn_bbox": 0}
    assert boxless == pytest.approx({**plain, **gone}, rel=1e-5)


def test_one_instance_alone_can_count_less(network):
    """The second: its box is in the loss no more, the first one's is."""
    shape = (128, 128)
    both, first, second = (
        losses(network, sample(shape, weights=weights))["loss_rpn_bbox"]
        for weights in ([[1.0, 1], [1, 1]], [[1.0, 1], [1, 0]], [[1.0, 0], [1, 1]])
    )
    assert 0 < first < both
    assert first + second == pytest.approx(both, rel=1e-4)


@pytest.mark.parametrize("shape", [(128, 128), (96, 128)], ids=["whole", "padded"])
def test_anchors_in_unsure_regions_are_no_background(network, shape):
    """Brute force over all anchors, also of an image that is padded, whose anchors there do not take part."""
    head, region = network.rpn_head, [[64.0, 16, 126, 94]]
    sizes = [(128 // stride, 128 // stride) for stride in (4, 8, 16, 32, 64)][
        : len(head.prior_generator.strides)
    ]
    meta = sample(shape).metainfo
    anchors, valid = head.get_anchors(sizes, [meta], device="cpu")
    anchors, valid = torch.cat(anchors[0]), torch.cat(valid[0])

    def weights(unsure, **more):
        truth = sample(shape, region, unsure=unsure, **more)
        instances = truth.gt_instances
        instances.labels = torch.zeros(2, dtype=torch.long)
        torch.manual_seed(0)
        found = head._get_targets_single(anchors, valid, instances, truth.metainfo, truth.ignored_instances)
        return found[0], found[1]

    labels, usual = weights(False)
    again, fewer = weights(True)
    assert torch.equal(labels, again)
    inside = bbox_overlaps(anchors, torch.tensor(region), mode="iof")[:, 0] > 0.7
    gone = inside & (labels == 1) & (usual > 0)
    assert gone.any()
    assert torch.equal(fewer, torch.where(gone, 0.0, usual))
    _, none = weights(False, background=False)
    assert torch.equal(none, torch.where(labels == 1, 0.0, usual))
    assert none.any()


def test_unsure_regions_take_no_proposal_away_from_an_instance(network):
    """A candidate of another category, say, on the same object; a crowd takes all that lies in it."""
    near, far = (
        BOXES[:1] + torch.arange(5.0)[:, None],
        torch.tensor([[90.0, 95, 110, 115], [0, 100, 20, 120]]),
    )
    truth = InstanceData(bboxes=BOXES, labels=torch.tensor([0, 0]))
    regions = InstanceData(bboxes=torch.cat([BOXES[:1] + 1, far[:1] - 1]))
    for unsure, expected in ((True, [1] * 5 + [-1, 0]), (False, [-1] * 5 + [-1, 0])):
        proposals = InstanceData(priors=torch.cat([near, far]))
        assigned = network.roi_head._assign(proposals, truth, regions, unsure)
        assert assigned.gt_inds.tolist() == expected


def test_every_layer_has_a_gradient_without_any_proposal_to_learn_from(network):
    """An image without instances whose background does not count: other processes wait for its gradients."""
    empty = sample((128, 128), background=False)
    empty.gt_instances = empty.gt_instances[:0]
    found = network.loss(torch.randn(1, 3, 128, 128), [empty])
    network.zero_grad()
    sum(sum(v) if isinstance(v, list) else v for k, v in found.items() if k.startswith("loss")).backward()
    assert [name for name, p in network.named_parameters() if p.requires_grad and p.grad is None] == []
    network.zero_grad()


def test_a_training_reads_scores_and_unsure_regions(tmp_path, arrows):
    """Through all transforms: an instance keeps its weight, and one that goes takes it along."""
    from mmdet.registry import DATASETS

    path = draw_dataset(tmp_path / "generated", 6, seed=1)
    coco = read_json(path)
    for number, annotation in enumerate(coco["annotations"]):
        annotation["score"] = round(0.1 + 0.8 * annotation["bbox"][2] / 200, 6) + number % 2 * 1e-3
    coco["annotations"][1]["iscrowd"] = 1
    path.write_text(json.dumps(coco))
    options = dict(ratio=[1, 3], weight="score", regress=False, iterations=2, balance=0.9)
    job = training_job(tmp_path, "keypoint_rcnn_tiny", arrows, labels=path, augment="strong", **options)
    cfg, _ = full_config(job, 0)
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    known = np.array(sorted(a["score"] for a in coco["annotations"] if not a["iscrowd"]), np.float32)
    unsure, seen = 0, 0
    for index in range(dataset.sizes[0], len(dataset)):
        for draw in range(4):
            item = dataset[index, (0, draw, 0)]["data_samples"]
            weights = item.gt_instances.weights
            assert len(weights) == len(item.gt_instances.bboxes)
            assert np.isin(weights[:, 0].numpy(), known).all()
            assert (weights[:, 1] == 0).all()
            unsure, seen = unsure + item.metainfo["unsure"], seen + len(weights)
    assert unsure == 4
    assert seen > 10
    assert "weights" not in dataset[0, (0, 0, 0)]["data_samples"].gt_instances
    train(job)
    assert len(checkpoints(job.work)) == 1
