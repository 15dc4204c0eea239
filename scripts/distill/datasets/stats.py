"""Counts of what a dataset holds; and whether two datasets share images."""

from collections import Counter
from collections.abc import Iterable
from os.path import join

from distill.datasets.coco import Coco
from distill.program import UserError

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


def check_splits(name: str, validation: dict, training: dict[str, dict]) -> dict:
    """Makes sure that no image of the validation set has the same bytes as one of a training set.

    name: of the validation set, for messages.
    validation: COCO dict.
    training: COCO dicts by name.

    Returns counts of images.
    Raises UserError for an image that is in both: the model would be tested on what it learned.
    """
    seen = {image["hash"]: image["file_name"] for image in validation["images"]}
    for other, dataset in training.items():
        shared = [image for image in dataset["images"] if image["hash"] in seen]
        if shared:
            tested = join(validation["info"]["image_root"], seen[shared[0]["hash"]])
            trained = join(dataset["info"]["image_root"], shared[0]["file_name"])
            more = f" (and {len(shared) - 1} more such images)" if len(shared) > 1 else ""
            raise UserError(
                f"{tested} of the validation set {name} is also in the training set {other}, as "
                f"{trained}{more}: take such images out of one of them (a subset with `exclude: {name}`)"
            )
    counts = {other: len(dataset["images"]) for other, dataset in training.items()}
    return {"validation": {name: len(validation["images"])}, "training": counts, "shared": 0}
