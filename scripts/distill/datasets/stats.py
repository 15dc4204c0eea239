"""What a dataset holds, in numbers."""

from collections import Counter
from collections.abc import Iterable

from distill.datasets.coco import Coco

# COCO's size classes, in square pixels of `area`: [low, high)
AREAS = {"small": (0, 32**2), "medium": (32**2, 96**2), "large": (96**2, float("inf"))}


def describe(dataset: Coco) -> dict:
    """Counts of a COCO dict, the content of {dataset}.stats.json. Crowd regions are no instances.

    Means per image are over all images, also those without an instance; keypoints per instance over instances
    with at least one, as in calibration, and null where there are none. `areas` counts COCO's size
    classes."""
    images = len(dataset["images"])
    instances = [a for a in dataset["annotations"] if not a["iscrowd"]]
    keypoints = [a["num_keypoints"] for a in instances if a.get("num_keypoints")]
    per_category = Counter(a["category_id"] for a in instances)
    return {
        "images": images,
        "skipped": len(dataset["info"].get("skipped", [])),
        "instances": len(instances),
        "crowds": len(dataset["annotations"]) - len(instances),
        "instances_per_image": _ratio(len(instances), images),
        "images_without_instances": images - len({a["image_id"] for a in instances}),
        "instances_with_keypoints": len(keypoints),
        "keypoints_per_instance": _ratio(sum(keypoints), len(keypoints)),
        "areas": {name: _between(instances, *bounds) for name, bounds in AREAS.items()},
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


def _between(instances: Iterable[dict], low: float, high: float) -> int:
    return sum(low <= a["area"] < high for a in instances)


def _ratio(count: int, of: int) -> float | None:
    return count / of if of else None
