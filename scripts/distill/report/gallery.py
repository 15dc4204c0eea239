"""The pictures of the report: generated labels, and two models beside the ground truth."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from distill.datasets.coco import Coco, Record, by_image
from distill.report.comparison import Shown, differences
from distill.report.drawing import Album, colour_of, overlay
from distill.report.wording import plural

PER_GROUP = 8  # pictures in each part of a gallery
GAINS, LOSSES = 6, 3  # compared images on which the student does better, worse
PICTURES = 8 * PER_GROUP + GAINS + LOSSES  # at most, of one label set, what to review among them


def gallery(labels: Coco, album: Album) -> dict[str, Any]:
    """Labels (a COCO file with scores) drawn on their images, in groups; what cannot be read is left out."""
    found = by_image(labels["annotations"])
    groups, shown = [], set()
    for title, images in pick(labels["images"], found):
        drawn = {i["id"]: _card(labels, i, found.get(i["id"], []), album) for i in images}
        if cards := [card for card in drawn.values() if card]:
            groups.append({"title": title, "cards": cards})
            shown |= {image for image, card in drawn.items() if card}
    scores = [annotation["score"] for annotation in labels["annotations"]]
    return {
        "images": len(labels["images"]),
        "labels": len(labels["annotations"]),
        "empty": len(labels["images"]) - len(found),
        "shown": len(shown),
        "span": (math.floor(100 * min(scores)) / 100, math.ceil(100 * max(scores)) / 100) if scores else None,
        "groups": groups,
        "categories": [(category["id"], category["name"]) for category in labels["categories"]],
        "legend": legend(labels["categories"]),
    }


def _card(
    labels: Coco, image: Record, annotations: list[dict[str, Any]], album: Album
) -> dict[str, Any] | None:
    picture = album.add(labels["info"]["image_root"], image)
    if picture is None:
        return None
    note, scores = plural(len(annotations), "label"), [annotation["score"] for annotation in annotations]
    if scores:
        span = f"{min(scores):.2f} – {max(scores):.2f}" if len(scores) > 1 else f"{scores[0]:.2f}"
        note += f", score {span}"
    svg = album.panel(picture, overlay(annotations, labels["categories"]), image["file_name"])
    return {"file": image["file_name"], "note": note, "svg": svg}


def pick(images: Sequence[Record], found: Mapping[Any, Sequence[Record]]) -> list[tuple[str, list[Record]]]:
    """(title, images) of the groups of a gallery: by the mean score of an image, at random, by the number of
    labels (ties in a random order). The same for the same labels. found: the labels of each image."""
    mean = {i: sum(a["score"] for a in mine) / len(mine) for i, mine in found.items()}
    ranked = sorted((i for i in images if i["id"] in mean), key=lambda i: (-mean[i["id"]], i["id"]))
    shuffled = [images[i] for i in np.random.default_rng(0).permutation(len(images))]
    full = sorted(shuffled, key=lambda i: -len(found.get(i["id"], ())))
    return [
        ("Most confident", ranked[:PER_GROUP]),
        ("Least confident", ranked[PER_GROUP:][-PER_GROUP:][::-1]),
        ("A random draw of all unlabelled images", sorted(shuffled[:PER_GROUP], key=lambda i: i["id"])),
        ("Most instances", full[:PER_GROUP]),
        ("Fewest instances", full[PER_GROUP:][-PER_GROUP:][::-1]),
    ]


def compared(truth: Coco, teacher: Shown, student: Shown, album: Album) -> dict[str, Any]:
    """Teacher, student and ground truth on the images on which the student gains and loses most."""
    categories, wanted = truth["categories"], by_image(truth["annotations"])
    changes = differences(truth, teacher, student)
    better = [pair for pair in changes if pair[1] > 0]
    worse = [pair for pair in reversed(changes) if pair[1] < 0]
    rows = []
    for image, change in better[:GAINS] + worse[:LOSSES]:
        picture, name = album.add(truth["info"]["image_root"], image), image["file_name"]
        if picture is None:
            continue
        drawn = {
            "teacher": overlay(teacher.by_image.get(image["id"], ()), categories, teacher.visible),
            "student": overlay(student.by_image.get(image["id"], ()), categories, student.visible),
            "ground truth": overlay(wanted.get(image["id"], ()), categories),
        }
        panels = {role: album.panel(picture, svg, f"{role}: {name}") for role, svg in drawn.items()}
        rows.append({"file": name, "change": change, "panels": panels})
    same = len(changes) - len(better) - len(worse)
    counts = {"better": len(better), "worse": len(worse), "same": same}
    return {**counts, "rows": rows, "legend": legend(categories)}


def legend(categories: Sequence[Record]) -> dict[str, Any]:
    """Category names with their colours, and whether left and right are told apart."""
    colours = colour_of(categories)
    return {
        "categories": [(c["name"], colours[c["id"]]) for c in categories[:20]],
        "sides": any(c.get("keypoints") and c.get("flip_pairs") for c in categories),
        "keypoints": any(c.get("keypoints") for c in categories),
    }
