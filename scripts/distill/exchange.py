"""Labels into the tools in which people correct them, and back.

FiftyOne reads our COCO files as they are. CVAT wants `segmentation` in every annotation, scores among the
attributes, and skeletons in a file of their own (COCO Keypoints 1.0). Label Studio has tasks of its own, with
positions in percent. What comes back, COCO from CVAT and FiftyOne or Label Studio's tasks, has other ids:
`corrected` brings it home by file, category and keypoint names.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree

import numpy as np

from distill.program import UserError, log

Coco = Mapping[str, Any]
Record = dict[str, Any]


def to_cvat(labels: Coco) -> dict[str, Any]:
    """File name → content: annotations for the formats COCO 1.0 (boxes) and, where there are keypoints,
    COCO Keypoints 1.0, and the labels of the task (its constructor's tab Raw)."""
    posed = {category["id"] for category in labels["categories"] if category.get("keypoints")}
    plain = {category["id"] for category in labels["categories"]} - posed
    every = [_for_cvat(annotation) for annotation in labels["annotations"]]
    head = {"info": {"description": "generated labels"}, "licenses": [], "images": labels["images"]}
    files: dict[str, Any] = {"instances_default.json": {**head, **_part(labels, every, plain)}}
    if posed:
        files["person_keypoints_default.json"] = {**head, **_part(labels, every, posed)}
    files["labels.json"] = [_cvat_label(category, labels["annotations"]) for category in labels["categories"]]
    return files


def _for_cvat(annotation: Coco) -> Record:
    kept = {key: value for key, value in annotation.items() if key not in ("score", "keypoint_scores")}
    score = {"score": annotation["score"]} if "score" in annotation else {}
    return {**kept, "segmentation": [], "attributes": score}


def _part(labels: Coco, annotations: Iterable[Record], ids: set[int]) -> Record:
    """The categories of these ids, and their annotations."""
    return {
        "categories": [category for category in labels["categories"] if category["id"] in ids],
        "annotations": [annotation for annotation in annotations if annotation["category_id"] in ids],
    }


def _cvat_label(category: Coco, annotations: Iterable[Coco]) -> Record:
    score = {"name": "score", "mutable": False, "input_type": "text", "default_value": "", "values": [""]}
    label = {"name": category["name"], "attributes": [score]}
    if not category.get("keypoints"):
        return {**label, "type": "rectangle"}
    names, places = category["keypoints"], _pose(category, annotations)
    svg = ElementTree.Element("svg")
    for a, b in category.get("skeleton") or ():
        (x1, y1), (x2, y2) = ([f"{value:.1f}" for value in places[k - 1]] for k in (a, b))
        line = {"x1": x1, "y1": y1, "x2": x2, "y2": y2, "data-type": "edge"}
        line |= {"data-node-from": str(a), "data-node-to": str(b)}
        ElementTree.SubElement(svg, "line", line)
    for number, (name, (x, y)) in enumerate(zip(names, places, strict=True), 1):
        circle = {"r": "0.75", "cx": f"{x:.1f}", "cy": f"{y:.1f}", "data-type": "element node"}
        circle |= {"data-element-id": str(number), "data-node-id": str(number), "data-label-name": name}
        ElementTree.SubElement(svg, "circle", circle)
    sublabels = [{"name": name, "type": "points", "attributes": []} for name in names]
    drawn = "".join(ElementTree.tostring(element, encoding="unicode") for element in svg)
    return {**label, "type": "skeleton", "sublabels": sublabels, "svg": drawn}


def _pose(category: Coco, annotations: Iterable[Coco]) -> np.ndarray:
    """(K, 2) places of keypoints in their boxes, in percent: the mean of the visible ones, or on a circle."""
    count = len(category["keypoints"])
    total, seen = np.zeros((count, 2)), np.zeros(count)
    for annotation in annotations:
        if annotation["category_id"] == category["id"] and annotation.get("keypoints"):
            x, y, w, h = annotation["bbox"]
            points = np.reshape(annotation["keypoints"], (-1, 3))
            visible = points[:, 2] > 0
            total[visible] += 100 * (points[visible, :2] - (x, y)) / (w, h)
            seen += visible
    angle = 2 * np.pi * np.arange(count) / count
    circle = 50 + 40 * np.stack([np.sin(angle), -np.cos(angle)], axis=1)
    return np.where(seen[:, None] > 0, total / np.maximum(seen, 1)[:, None], circle).clip(2, 98)


def to_label_studio(labels: Coco, prefix: str) -> dict[str, Any]:
    """File name → content: tasks with the labels as predictions, and the labelling interface (XML).

    prefix: what the images' URLs begin with. Positions are in percent of the image; the keypoints of an
    instance are regions below its rectangle.
    """
    categories = {category["id"]: category for category in labels["categories"]}
    found: dict[Any, list[Coco]] = {}
    for annotation in labels["annotations"]:
        found.setdefault(annotation["image_id"], []).append(annotation)
    tasks = []
    for image in labels["images"]:
        mine = found.get(image["id"], [])
        regions = [r for a in mine for r in _regions(a, categories[a["category_id"]], image)]
        prediction: Record = {"model_version": "distilled", "result": regions}
        if scores := [a["score"] for a in mine if "score" in a]:
            prediction["score"] = sum(scores) / len(scores)  # the tasks can be sorted by it
        data = {"image": prefix + quote(image["file_name"]), "file_name": image["file_name"]}
        tasks.append({"data": data, "predictions": [prediction]})
    return {"tasks.json": tasks, "interface.xml": _interface(labels["categories"])}


def _regions(annotation: Coco, category: Coco, image: Coco) -> Iterator[Record]:
    width, height = image["width"], image["height"]
    common = {"to_name": "image", "original_width": width, "original_height": height, "image_rotation": 0}
    name = f"instance{annotation['id']}"
    x, y, w, h = annotation["bbox"]
    box = {"x": 100 * x / width, "y": 100 * y / height, "width": 100 * w / width, "height": 100 * h / height}
    region = {"id": name, "type": "rectanglelabels", "from_name": "instance", **common}
    region["value"] = {**box, "rotation": 0, "rectanglelabels": [category["name"]]}
    yield region | ({"score": annotation["score"]} if "score" in annotation else {})
    if not category.get("keypoints"):
        return
    points = np.reshape(annotation["keypoints"], (-1, 3)).tolist()
    scores = annotation.get("keypoint_scores") or [None] * len(points)
    for keypoint, (px, py, visible), score in zip(category["keypoints"], points, scores, strict=True):
        if visible > 0:
            value = {
                "x": 100 * px / width,
                "y": 100 * py / height,
                "width": 0.5,
                "keypointlabels": [keypoint],
            }
            region = {"id": f"{name}-{keypoint}", "type": "keypointlabels", "from_name": "keypoint", **common}
            region |= {"parentID": name, "value": value}
            yield region | ({"score": score} if score is not None else {})


def _interface(categories: Sequence[Coco]) -> str:
    view = ElementTree.Element("View")
    ElementTree.SubElement(view, "Image", name="image", value="$image", zoom="true")
    boxes = ElementTree.SubElement(view, "RectangleLabels", name="instance", toName="image")
    for category in categories:
        ElementTree.SubElement(boxes, "Label", value=category["name"])
    names = dict.fromkeys(name for category in categories for name in category.get("keypoints") or ())
    if names:
        points = ElementTree.SubElement(view, "KeyPointLabels", name="keypoint", toName="image")
        for name in names:
            ElementTree.SubElement(points, "Label", value=name)
    ElementTree.indent(view)
    return ElementTree.tostring(view, encoding="unicode") + "\n"


def corrected(labels: Coco, answers: Sequence[Any]) -> dict[str, Any]:
    """The label file with the annotations of the images that a person has seen replaced by theirs.

    answers: contents of exported files, COCO (all images that they list count as seen) or Label Studio tasks
    (those with an annotation do). Corrected annotations have no score. Raises UserError for an image,
    category or keypoint that the labels do not have.
    """
    images = {image["file_name"]: image for image in labels["images"]}
    seen: set[Any] = set()
    new: list[Record] = []
    for answer in answers:
        read = _from_tasks if isinstance(answer, list) else _from_coco
        for image, records in read(answer, labels, images):
            seen.add(image["id"])
            new += ({"image_id": image["id"], **record} for record in records)
    old = [a for a in labels["annotations"] if a["image_id"] not in seen]
    annotations = [{**a, "id": number} for number, a in enumerate([*old, *new], 1)]
    log.info("%d of %d images corrected; %d annotations", len(seen), len(labels["images"]), len(annotations))
    info = {**labels.get("info", {}), "description": "corrected labels", "kind": "coco"}
    return {**labels, "info": info, "annotations": annotations}


def _category(name: str, labels: Coco) -> Coco:
    for category in labels["categories"]:
        if category["name"] == name:
            return category
    known = ", ".join(category["name"] for category in labels["categories"])
    raise UserError(f"corrected file: there is no category {name!r} in the labels, only {known}")


def _image(name: str, images: Mapping[str, Coco]) -> Coco:
    """By its file name, or by the one that ends so: tools put folders before it or take them off."""
    if name in images:
        return images[name]
    fits = [
        i
        for known, i in images.items()
        if f"/{known}".endswith(f"/{name}") or f"/{name}".endswith(f"/{known}")
    ]
    if len(fits) != 1:
        raise UserError(
            f"corrected file: image {name!r} is {'several' if fits else 'none'} of the labels' images"
        )
    return fits[0]


def _keypoint_fields(points: Mapping[str, tuple[float, float, int]], category: Coco) -> Record:
    """points: x, y, v by keypoint name."""
    if unknown := points.keys() - set(category["keypoints"]):
        raise UserError(f"corrected file: {category['name']} has no keypoint {min(unknown)!r}")
    flat = [value for name in category["keypoints"] for value in points.get(name, (0, 0, 0))]
    return {"keypoints": flat, "num_keypoints": sum(v > 0 for v in flat[2::3])}


def _from_coco(answer: Coco, labels: Coco, images: Mapping[str, Coco]) -> Iterator[tuple[Coco, list[Record]]]:
    if not {"images", "annotations", "categories"} <= answer.keys():
        raise UserError("corrected file: neither COCO nor a list of Label Studio tasks")
    theirs = {category["id"]: category for category in answer["categories"]}
    found: dict[Any, list[Record]] = {}
    for a in answer["annotations"]:
        other = theirs[a["category_id"]]
        category = _category(other["name"], labels)
        w, h = a["bbox"][2:]
        record = {
            "category_id": category["id"],
            "bbox": a["bbox"],
            "area": w * h,
            "iscrowd": a.get("iscrowd", 0),
        }
        if category.get("keypoints"):
            names, points = (
                other.get("keypoints") or [],
                np.reshape(a.get("keypoints") or [], (-1, 3)).tolist(),
            )
            record |= _keypoint_fields(
                {n: (px, py, int(v)) for n, (px, py, v) in zip(names, points, strict=True) if v > 0}, category
            )
        found.setdefault(a["image_id"], []).append(record)
    for image in answer["images"]:
        yield _image(image["file_name"], images), found.get(image["id"], [])


def _from_tasks(
    answer: list, labels: Coco, images: Mapping[str, Coco]
) -> Iterator[tuple[Coco, list[Record]]]:
    for task in answer:
        done = [a for a in task.get("annotations", ()) if not a.get("was_cancelled")]
        if not done:
            continue
        image = _image(task["data"].get("file_name") or task["data"]["image"], images)
        yield image, list(_from_regions(done[-1]["result"], labels, image))


def _from_regions(regions: Sequence[Coco], labels: Coco, image: Coco) -> Iterator[Record]:
    width, height = image["width"] / 100, image["height"] / 100
    boxes, points = {}, []
    for region in regions:
        value = region["value"]
        if region["type"] == "rectanglelabels":
            if value.get("rotation"):
                raise UserError(
                    f"corrected file: {image['file_name']} has a turned box, which COCO cannot hold"
                )
            box = [value["x"] * width, value["y"] * height, value["width"] * width, value["height"] * height]
            boxes[region["id"]] = (_category(value["rectanglelabels"][0], labels), box, {})
        elif region["type"] == "keypointlabels":
            place = (value["x"] * width, value["y"] * height, 2)
            points.append((region.get("parentID"), value["keypointlabels"][0], place))
    twice = Counter()
    for parent, name, (x, y, v) in points:
        box = boxes.get(parent) or _around(boxes.values(), x, y)
        if box is None or name in box[2]:
            twice[name] += 1
        else:
            box[2][name] = (x, y, v)
    if twice:
        log.warning(
            "%s: keypoints without an instance of their own left out: %s", image["file_name"], dict(twice)
        )
    for category, box, named in boxes.values():
        record = {"category_id": category["id"], "bbox": box, "area": box[2] * box[3], "iscrowd": 0}
        yield record | (_keypoint_fields(named, category) if category.get("keypoints") else {})


def _around(boxes: Iterable[tuple], x: float, y: float) -> tuple | None:
    """The smallest box with keypoints that holds a point: a new keypoint has no parent."""
    holding = [
        box
        for box in boxes
        if box[0].get("keypoints")
        and box[1][0] <= x <= box[1][0] + box[1][2]
        and box[1][1] <= y <= box[1][1] + box[1][3]
    ]
    return min(holding, key=lambda box: box[1][2] * box[1][3], default=None)
