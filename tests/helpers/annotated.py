"""Small annotated sets on disk that a test can spoil, and what is made from them."""

import json

import numpy as np
import pytest
from PIL import Image

from distill.program import UserError
from helpers.options import build

HAND = {
    "id": 1,
    "name": "hand",
    "keypoints": ["tip", "left_joint", "right_joint"],
    "skeleton": [[1, 2], [1, 3]],
}
SEEN = [10, 10, 2, 5, 6, 1, 0, 0, 0]


def picture(path, seed, size=(40, 30)):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), np.uint8)
    Image.fromarray(pixels).save(path)


class Coco:
    """A small annotated set on disk that a test can spoil."""

    def __init__(self, folder, images=4, first=0, category=HAND):
        self.folder, self.images = folder, folder / "images"
        self.data = {"images": [], "annotations": [], "categories": [json.loads(json.dumps(category))]}
        for i in range(first, first + images):
            picture(self.images / f"{i}.png", i)
            self.data["images"].append({"id": i + 1, "file_name": f"{i}.png", "width": 40, "height": 30})
            self.data["annotations"].append(
                {
                    "id": i + 1, "image_id": i + 1, "category_id": 1, "iscrowd": 0, "area": 60,
                    "bbox": [4, 5, 10, 12], "keypoints": SEEN, "num_keypoints": 2,
                }
            )  # fmt: skip

    def build(self, name="set", **options):
        path = self.folder / "annotations.json"
        path.write_text(json.dumps(self.data))
        spec = {"kind": "coco", "images": str(self.images), "annotations": str(path), **options}
        return build(name, spec, {})

    def refused(self, match, **options):
        with pytest.raises(UserError, match=match) as caught:
            self.build(**options)
        assert "\n" not in str(caught.value)
        return str(caught.value)


def made(sound, text, **options):
    """What the dataset stage makes of the text of an annotation file."""
    path = sound.folder / "annotations.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    spec = {"kind": "coco", "images": str(sound.images), "annotations": str(path), **options}
    return lambda: checked(build("set", spec, {}))


def checked(dataset):
    """What holds of every dataset."""
    json.dumps(dataset, allow_nan=False)
    sizes = {image["id"]: (image["width"], image["height"]) for image in dataset["images"]}
    kinds = {category["id"]: category for category in dataset["categories"]}
    assert all(type(image[key]) is int for image in dataset["images"] for key in ("id", "width", "height"))
    for a in dataset["annotations"]:
        (x, y, w, h), (width, height) = a["bbox"], sizes[a["image_id"]]
        assert min(w, h) > 0
        assert min(x, y) >= -1e-3
        assert x + w <= width + 1e-3
        assert y + h <= height + 1e-3
        assert a["iscrowd"] in (0, 1)
        assert len(a.get("keypoints", ())) == 3 * len(kinds[a["category_id"]].get("keypoints", ()))
    return dataset


def subset(source, **spec):
    sources = spec.pop("sources", {})
    return build("part", {"kind": "subset", "of": "set", **spec}, {"set": source, **sources})


def union(*members, **spec):
    names = [f"m{i}" for i in range(len(members))]
    return build("both", {"kind": "union", "of": names, **spec}, dict(zip(names, members, strict=True)))


def ids(dataset):
    return [image["id"] for image in dataset["images"]]
