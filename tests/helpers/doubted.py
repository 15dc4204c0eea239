"""Predictions whose doubt is planted, and what `review` says of them."""

from distill.datasets.fingerprints import Fingerprint
from distill.files import write_json
from distill.labels.review import doubts

CELL, ARROW = {"id": 4, "name": "cell"}, {"id": 9, "name": "arrow", "keypoints": ["tip", "left", "right"]}
IMAGES = [
    {"id": i, "file_name": f"{i}.png", "width": 400, "height": 300, "hash": str(i)} for i in range(1, 7)
]
UNLABELLED = {"info": {}, "images": IMAGES, "annotations": [], "categories": []}


def prints(*looks):
    """Fingerprints of images by their looks, 256 bits each."""
    return [Fingerprint(i, str(i), f"{look:064x}") for i, look in enumerate(looks, 1)]


ALIKE = prints(*[0] * len(IMAGES))


def thresholds(cell=0.5, arrow=0.5, keypoints=0.3):
    known = {"4": {"threshold": cell}, "9": {"threshold": arrow}}
    return {"instances": known, "keypoints": {"threshold": keypoints}}


def cell(image, x, score, mean=None, **more):
    agreement = {} if mean is None else {"agreement": {"views": 1.0, "overlap": 0.9, "score": mean}}
    record = {"image_id": image, "category_id": 4, "bbox": [x, 0.0, 20.0, 20.0], "score": score}
    return record | agreement | more


def arrow(image, x, score, entropy, spread=(1.0, 2.0, 3.0), points=(0.9, 0.9, 0.1)):
    flat = [value for k, p in enumerate(points) for value in (x + k, 5.0, p)]
    agreement = {"spread": list(spread), "entropy": list(entropy)}
    return cell(image, x, score, category_id=9, keypoints=flat, agreement=agreement)


def doubted(tmp_path, records, categories=(CELL,), **limits):
    write_json(tmp_path / "merged.json", records)
    return doubts(tmp_path / "merged.json", UNLABELLED, list(categories), thresholds(**limits))
