"""Labels that people corrected in other tools, brought home; `exchange` is the way there.

What comes back, COCO from CVAT and FiftyOne or Label Studio's tasks, has other ids: it is matched by file,
category and keypoint names. What cannot be taken is counted and named.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from distill.datasets.coco import Coco, Record, by_image, instances
from distill.labels.answers import Answer, ImagesByName
from distill.labels.coco_answer import read_coco
from distill.labels.label_studio_answer import read_tasks
from distill.program import UserError, log

MOST = 0.9  # of the images: so many that nobody had anything to correct in are too many


def corrected(labels: Coco, files: Mapping[str, Any], only_seen: bool = False) -> dict[str, Any]:
    """The label file, in which the annotations of images that a person has seen are replaced by the person's.

    Corrected annotations have no score; `info.seen` has the file names of the images.

    files: name → content of exported files: COCO, where all images listed count as seen, or Label Studio
        tasks, where those with an annotation do.
    only_seen: without the other images; what is left is as good as what was labelled by hand.

    Raises UserError for an image, category or keypoint that the labels do not have, for an image that a file
    has twice or two files correct alike, and where no image is corrected.
    """
    images = ImagesByName(labels["images"])
    before = by_image(instances(labels))
    answers: dict[str, Answer] = {}
    for file, content in files.items():
        try:
            if isinstance(content, list):
                answers[file] = read_tasks(content, labels, images)
            else:
                answers[file] = read_coco(content, labels, images, before)
        except UserError as error:
            raise UserError(f"{file}: {error}") from None
    _refuse_conflicts(answers, labels)
    seen = {image for answer in answers.values() for image in answer.records}
    if not seen:
        raise UserError(f"{', '.join(files)}: no image is corrected there")
    earlier = set((labels.get("info") or {}).get("seen") or ())  # in other rounds, by name
    ever = seen | {image["id"] for image in labels["images"] if image["file_name"] in earlier}
    new = [
        {"image_id": image, **record}
        for answer in answers.values()
        for image, records in answer.records.items()
        for record in records
    ]
    images_left = [image for image in labels["images"] if image["id"] in ever or not only_seen]
    as_before = {image["id"] for image in images_left} - seen
    old = [a for a in labels["annotations"] if a["image_id"] in as_before]
    annotations = [{**a, "id": number} for number, a in enumerate([*old, *new], 1)]
    _summarise(answers, len(seen), labels, images_left, annotations)
    now = by_image(instances({"annotations": new}))
    same = sum(_alike(now.get(image, []), before.get(image, [])) for image in seen)
    if same > MOST * len(seen):
        what = "%d of %d images came back as they were; give those alone that somebody has looked at"
        log.warning(what, same, len(seen))
    info = {**labels.get("info", {}), "description": "corrected labels", "kind": "coco"}
    info["seen"] = sorted(image["file_name"] for image in labels["images"] if image["id"] in ever)
    return {**labels, "info": info, "images": images_left, "annotations": annotations}


def _alike(now: Sequence[Record], before: Sequence[Record]) -> bool:
    """Whether records of an image hold the same, but for what tools round."""
    mine, theirs = (
        sorted([a["category_id"], *a["bbox"], *(a.get("keypoints") or ())] for a in records)
        for records in (now, before)
    )
    pairs = zip(mine, theirs, strict=False)
    return len(mine) == len(theirs) and all(
        len(a) == len(b) and np.allclose(a, b, atol=0.5) for a, b in pairs
    )


def seen_in(labels: Coco) -> set[str] | None:
    """The file names of the images that a person has seen, of corrected labels; None: of another dataset."""
    seen = (labels.get("info") or {}).get("seen")
    return None if seen is None else set(seen)


def _refuse_conflicts(answers: Mapping[str, Answer], labels: Coco) -> None:
    """Two files may speak of one image only as CVAT's two do, of other categories each."""
    names = {image["id"]: image["file_name"] for image in labels["images"]}
    earlier: list[tuple[str, Answer]] = []
    for file, answer in answers.items():
        for other, first in earlier:
            mine, theirs = answer.categories, first.categories
            alike = mine is None or theirs is None or mine & theirs
            if alike and (both := answer.records.keys() & first.records.keys()):
                image = names[min(both)]
                raise UserError(f"{file}: {image!r} is corrected in {other} too; give one of the two files")
        earlier.append((file, answer))


def _summarise(
    answers: Mapping[str, Answer],
    seen: int,
    labels: Coco,
    images: Sequence[Record],
    annotations: Sequence[Record],
) -> None:
    """images, annotations: what the corrected labels have."""
    log.info("%d of %d images corrected", seen, len(labels["images"]))
    for file, answer in answers.items():
        if answer.left:
            found = (f"{what}: {len(names)} (first on {names[0]})" for what, names in answer.left.items())
            log.warning("%s: not taken: %s", file, "; ".join(found))
    left = {image["id"] for image in images}
    before = [a for a in labels["annotations"] if a["image_id"] in left]
    was, now = (
        Counter(a["category_id"] for a in some if not a.get("iscrowd")) for some in (before, annotations)
    )
    for category in labels["categories"]:
        say = log.warning if was[category["id"]] and not now[category["id"]] else log.info
        say("%s: %d instances, before %d", category["name"], now[category["id"]], was[category["id"]])
