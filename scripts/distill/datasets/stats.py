"""What a dataset holds, in numbers."""

from collections import Counter
from collections.abc import Iterable

from distill.datasets.coco import Coco, instances

# COCO's size classes, in square pixels of `area`: [low, high)
AREAS = {"small": (0, 32**2), "medium": (32**2, 96**2), "large": (96**2, float("inf"))}


def describe(dataset: Coco) -> dict:
    """Counts of a COCO dict, the content of {dataset}.stats.json. Crowd regions are no instances.

    Means per image are over all images, also those without an instance; keypoints per instance over instances
    with at least one, as in calibration, and null where there are none. `areas` counts COCO's size
    classes."""
    images = len(dataset["images"])
    real = instances(dataset)
    keypoints = [a["num_keypoints"] for a in real if a.get("num_keypoints")]
    per_category = Counter(a["category_id"] for a in real)
    return {
        "images": images,
        "skipped": len(dataset["info"].get("skipped", [])),
        "instances": len(real),
        "crowds": len(dataset["annotations"]) - len(real),
        "instances_per_image": _ratio(len(real), images),
        "images_without_instances": images - len({a["image_id"] for a in real}),
        "instances_with_keypoints": len(keypoints),
        "keypoints_per_instance": _ratio(sum(keypoints), len(keypoints)),
        "areas": {name: _between(real, *bounds) for name, bounds in AREAS.items()},
        "categories": [
            {
                "id": category["id"],
                "name": category["name"],
                "instances": per_category[category["id"]],
                "instances_per_image": _ratio(per_category[category["id"]], images),
            }
            for category in dataset["categories"]
        ],
    }


def _between(real: Iterable[dict], low: float, high: float) -> int:
    return sum(low <= a["area"] < high for a in real)


def _ratio(count: int, of: int) -> float | None:
    return count / of if of else None
