"""Labels into the tools in which people correct them; `corrections` is the way back.

FiftyOne reads our COCO files as they are. CVAT wants `segmentation` in every annotation, scores among the
attributes, categories counted from 1, and skeletons in a file of their own (COCO Keypoints 1.0). Label Studio
has tasks of its own, with positions in percent.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree

import numpy as np

from distill.datasets.coco import Coco, by_image

Record = dict[str, Any]


def to_cvat(labels: Coco) -> dict[str, Any]:
    """File name → content of what CVAT imports: annotations in its formats COCO 1.0 (boxes) and COCO
    Keypoints 1.0, each if the labels have such categories; and labels.json, for the tab Raw of its task
    constructor."""
    used = {annotation["category_id"] for annotation in labels["annotations"]}
    predicted = {a["category_id"] for a in labels["annotations"] if a.get("keypoints")}
    named = {category["id"] for category in labels["categories"] if category.get("keypoints")}
    posed = named - (used - predicted)  # a teacher of boxes predicts no keypoints
    plain = {category["id"] for category in labels["categories"]} - posed
    head = {"info": {"description": "generated labels"}, "licenses": [], "images": labels["images"]}
    files: dict[str, Any] = {
        name: {**head, **_part(labels, ids)}
        for name, ids in (("instances_default.json", plain), ("person_keypoints_default.json", posed))
        if ids
    }
    files["labels.json"] = [
        _cvat_label(category, labels["annotations"], category["id"] in posed)
        for category in labels["categories"]
    ]
    return files


def to_fiftyone(labels: Coco) -> dict[str, Any]:
    """File name → content: the labels as they are."""
    return {"labels.json": labels}


def _part(labels: Coco, ids: set[int]) -> Record:
    """The categories of these ids, numbered from 1 (CVAT takes 0 for none), and their annotations."""
    categories = {c["id"]: {**c, "id": n} for n, c in enumerate(labels["categories"], 1) if c["id"] in ids}
    annotations = [
        _for_cvat(annotation, categories[annotation["category_id"]])
        for annotation in labels["annotations"]
        if annotation["category_id"] in ids
    ]
    return {"categories": list(categories.values()), "annotations": annotations}


def _for_cvat(annotation: Record, category: Record) -> Record:
    beside = ("score", "keypoint_scores", "doubt")
    kept = {key: value for key, value in annotation.items() if key not in beside}
    if category.get("keypoints"):
        kept.setdefault("keypoints", [0] * 3 * len(category["keypoints"]))
    attributes = {"instance": annotation["id"]}  # by which `corrections` knows it again
    attributes |= {key: annotation[key] for key in ("score", "doubt") if key in annotation}
    return {**kept, "category_id": category["id"], "segmentation": [], "attributes": attributes}


def _cvat_label(category: Record, annotations: Sequence[Record], posed: bool) -> Record:
    doubt = ["doubt"] if any("doubt" in annotation for annotation in annotations) else []
    text = {"mutable": False, "input_type": "text", "default_value": "", "values": [""]}
    attributes = [{"name": name, **text} for name in ("score", *doubt, "instance")]
    label = {"name": category["name"], "attributes": attributes}
    if not posed:
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


def _pose(category: Record, annotations: Iterable[Record]) -> np.ndarray:
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
    found = by_image(labels["annotations"])
    tasks = []
    for image in labels["images"]:
        mine = found.get(image["id"], [])
        regions = [r for a in mine for r in _regions(a, categories[a["category_id"]], image)]
        regions.sort(key=lambda r: r["type"] == "rectanglelabels")  # points first: the first lies on top
        prediction: Record = {"model_version": "distilled", "result": regions}
        if scores := [a["score"] for a in mine if "score" in a]:
            prediction["score"] = sum(scores) / len(scores)  # the tasks can be sorted by it
        data = {"image": prefix + quote(image["file_name"]), "file_name": image["file_name"]}
        data |= {"note": image["note"]} if "note" in image else {}
        tasks.append({"data": data, "predictions": [prediction]})
    noted = any("note" in image for image in labels["images"])
    return {"tasks.json": tasks, "interface.xml": _interface(labels["categories"], noted)}


def _regions(annotation: Record, category: Record, image: Record) -> Iterator[Record]:
    width, height = image["width"], image["height"]
    common = {"to_name": "image", "original_width": width, "original_height": height, "image_rotation": 0}
    name = f"instance{annotation['id']}"
    x, y, w, h = annotation["bbox"]
    box = {"x": 100 * x / width, "y": 100 * y / height, "width": 100 * w / width, "height": 100 * h / height}
    region = {"id": name, "type": "rectanglelabels", "from_name": "instance", **common}
    region["value"] = {**box, "rotation": 0, "rectanglelabels": [category["name"]]}
    region |= {"meta": {"text": [f"doubt {annotation['doubt']:.2f}"]}} if "doubt" in annotation else {}
    yield region | ({"score": annotation["score"]} if "score" in annotation else {})
    if not annotation.get("keypoints"):
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


def _interface(categories: Sequence[Record], noted: bool) -> str:
    """noted: whether tasks have a note, which stands above the image."""
    view = ElementTree.Element("View")
    if noted:
        ElementTree.SubElement(view, "Header", value="$note")
    ElementTree.SubElement(view, "Image", name="image", value="$image", zoom="true")
    place = {"name": "instance", "toName": "image", "canRotate": "false"}
    boxes = ElementTree.SubElement(view, "RectangleLabels", place)
    for category in categories:
        ElementTree.SubElement(boxes, "Label", value=category["name"])
    names = dict.fromkeys(name for category in categories for name in category.get("keypoints") or ())
    if names:
        points = ElementTree.SubElement(view, "KeyPointLabels", name="keypoint", toName="image")
        for name in names:
            ElementTree.SubElement(points, "Label", value=name)
    ElementTree.indent(view)
    return ElementTree.tostring(view, encoding="unicode") + "\n"
