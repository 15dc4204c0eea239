"""Pictures of what to look at first: labels likely wrong, objects likely missed, images to label next."""

from collections.abc import Iterator
from typing import Any

import pandas as pd
from markupsafe import Markup

from distill.datasets.coco import Coco, Record, by_image
from distill.report.drawing import Album, Window, overlay
from distill.report.gallery import PER_GROUP
from distill.report.wording import plural


def review_gallery(labels: Coco, review: pd.DataFrame, following: pd.DataFrame, album: Album) -> list[dict]:
    """Groups {title, cards} of pictures, the worst first; what cannot be read is left out.

    labels: a COCO file with scores.
    review, following: the rows of review.csv and next.csv.
    """
    images = {image["id"]: image for image in labels["images"]}
    found = by_image(labels["annotations"])
    groups = [
        ("Labels most likely wrong or badly placed", _labels(labels, review, images, found, album)),
        ("Objects most likely missed", _missed(labels, review, images, found, album)),
        ("Images to label next", _following(labels, following, images, found, album)),
    ]
    return [{"title": title, "cards": cards} for title, made in groups if (cards := list(made))]


def _labels(labels: Coco, review: pd.DataFrame, images: Any, found: Any, album: Album) -> Iterator[dict]:
    known = {annotation["id"]: annotation for annotation in labels["annotations"]}
    rows = review[review["kind"] == "label"]
    for row in rows[rows["label"].isin(known)][:PER_GROUP].to_dict("records"):
        record = known[row["label"]]
        others = [a for a in found[record["image_id"]] if a["id"] != record["id"]]
        yield from _card(labels, images.get(record["image_id"]), record, others, row, album, "doubted")


def _missed(labels: Coco, review: pd.DataFrame, images: Any, found: Any, album: Album) -> Iterator[dict]:
    ids = {category["name"]: category["id"] for category in labels["categories"]}
    rows = review[review["kind"] == "missed"]
    for row in rows[rows["category"].isin(ids)][:PER_GROUP].to_dict("records"):
        box = [row[side] for side in ("x", "y", "width", "height")]
        record = {"category_id": ids[row["category"]], "bbox": box, "score": row["score"]}
        others = found.get(row["image_id"], [])
        yield from _card(labels, images.get(row["image_id"]), record, others, row, album, "missed")


def _following(
    labels: Coco, following: pd.DataFrame, images: Any, found: Any, album: Album
) -> Iterator[dict]:
    rows = following[following["image_id"].isin(images)]
    for row in rows[:PER_GROUP].to_dict("records"):
        image = images[row["image_id"]]
        if picture := album.add(labels["info"]["image_root"], image):
            drawn = overlay(found.get(image["id"], []), labels["categories"])
            svg = album.panel(picture, drawn, image["file_name"])
            note = f"{row['mistakes']:.1f} mistakes expected, {plural(row['labels'], 'label')}"
            yield {"file": image["file_name"], "note": note, "more": "", "svg": svg}


def _card(
    labels: Coco, image: Record | None, record: Record, others: list, row: Record, album: Album, role: str
) -> Iterator[dict]:
    """The neighbourhood of one object, with the labels around it faint."""
    picture = image and album.add(labels["info"]["image_root"], image)
    if not picture or image is None:
        return
    drawn = Markup('<g class="beside">{}</g><g class="{}">{}</g>').format(
        overlay(others, labels["categories"]), role, overlay([record], labels["categories"])
    )
    window = Window.around(record["bbox"], picture)
    svg = album.panel(picture, drawn, f"{row['category']} in {image['file_name']}", window)
    note = f"{row['category']}, doubt {row['doubt']:.2f}"
    yield {"file": image["file_name"], "note": note, "more": " · ".join(_facts(row)), "svg": svg}


def _facts(row: Record) -> Iterator[str]:
    yield f"score {row['score']:.2f}"
    if pd.notna(row["views"]):
        yield f"in {100 * row['views']:.0f}% of the views, IoU {row['overlap']:.2f}"
    if row["keypoint"]:
        yield f"{row['keypoint']}: views {row['spread']:.1f} px apart"
