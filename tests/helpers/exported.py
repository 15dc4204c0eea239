"""Models to export, images to try them on, and what they find here."""

import numpy as np
import torch

from distill.datasets.images import read_image
from distill.models import Predictor, config_file
from distill.models import model as models
from distill.models.weights import save_weights
from helpers.detectors import narrow
from helpers.networks import random_model
from helpers.options import generate

CATEGORIES = [{"id": 3, "name": "person"}, {"id": 5, "name": "hat"}]
ROWS = ["hat", "coat", "person"]  # what a network that was imported predicts
POSED = [{"id": 1, "name": "person", "keypoints": ["head", "hand", "foot"]}]


def drawn(folder):
    """The folder with a few images of the size that views of 192 have, and their records."""
    return folder, generate(folder, 4, seed=3, size=(256, 192), style="sketch")["images"]


def model_of(config, folder):
    return random_model(config, POSED if config.startswith("keypoint") else CATEGORIES, folder / "model")


class Ours:
    """What a model finds in images under a view."""

    def __init__(self, model, folder, images, view):
        self.predictor, self.folder, self.images, self.view = Predictor(model, "cpu"), folder, images, view
        self.names = {category["id"]: category["name"] for category in self.predictor.meta["categories"]}
        self.found = [
            record(image, self.names[category], box, score)
            for image, found in self.predictor.boxes(folder, images, view)
            for box, score, category in zip(
                found["boxes"], found["scores"], found["category_ids"].tolist(), strict=True
            )
        ]

    def pixels(self, image):
        """(3, H, W) of the view, from 0 to 1."""
        pixels = self.view.transform_image(read_image(self.folder / image["file_name"]))
        return np.ascontiguousarray(pixels[..., ::-1].transpose(2, 0, 1), np.float32) / 255

    def heatmaps(self, image, boxes):
        """(n, K, 56, 56) of boxes (n, 4) in the view."""
        boxes = {image["id"]: self.view.inverse_boxes(boxes, (image["width"], image["height"]))}
        return np.concatenate(list(self.predictor.heatmaps(self.folder, [image], boxes, self.view)))


def record(image, name, box, score):
    return {"image_id": image["id"], "category_id": name, "box": np.array(box), "score": float(score)}


def retina_net(folder):
    """The folder of a narrow RetinaNet, a detector that has no code of this project, and rows of its own."""
    cfg = models.load_config(narrow("retinanet", folder))
    models.fit_to_dataset(cfg, [{"name": name} for name in ROWS], "the test")
    models.drop_pretrained(cfg)
    torch.manual_seed(0)
    network = models.build(cfg)
    network.init_weights()
    network.bbox_head.retina_cls.weight.data *= 100
    network.bbox_head.retina_cls.bias.data[:] = torch.linspace(-2, -1, 27)
    network.bbox_head.retina_reg.weight.data *= 10
    folder = folder / "retina"
    meta = {"model": "retina", "categories": CATEGORIES, "rows": ROWS, "task": "boxes"}
    save_weights(folder / "model.pth", network.state_dict(), meta)
    config_file.write(folder / "config.py", cfg)
    return folder
