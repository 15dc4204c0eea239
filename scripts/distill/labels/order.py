"""Labels in the order in which a person looks through them, with the doubt beside each."""

from typing import Any

import pandas as pd

from distill.datasets.coco import Coco
from distill.program import UserError


def in_order(
    labels: Coco, review: pd.DataFrame, following: pd.DataFrame | None, count: int | None
) -> dict[str, Any]:
    """The labels on the first images of a list, in its order.

    Annotations have their `doubt`, where the list has it; images a `note`, a line for a person: the worst
    doubt, and which objects may be missed where.

    labels: a COCO dict.
    review: the rows of review.csv.
    following: those of next.csv, whose order counts then; None: that of review.csv, an image at its worst
        row.
    count: images, at most; None: all that are listed.

    Raises UserError where the list is of other images.
    """
    order = review if following is None else following
    images = {image["id"]: image for image in labels["images"]}
    if unknown := set(order["image_id"]) - set(images):
        raise UserError(f"the list is of other labels: they have no image {min(unknown)}; make both again")
    doubt = review[review["kind"] == "label"].set_index("label")["doubt"].to_dict()
    listed = list(dict.fromkeys(order["image_id"].tolist()))[:count]
    kept = set(listed)
    on_these = review[review["image_id"].isin(kept)]
    notes = {image: _note(rows) for image, rows in on_these.groupby("image_id")}
    annotations = (a for a in labels["annotations"] if a["image_id"] in kept)
    return {
        **labels,
        "images": [{**images[i], **({"note": notes[i]} if i in notes else {})} for i in listed],
        "annotations": [
            {**a, **({"doubt": doubt[a["id"]]} if a["id"] in doubt else {})} for a in annotations
        ],
    }


def _note(rows: pd.DataFrame) -> str:
    """rows: of one image, the worst first."""
    is_label = rows["kind"] == "label"
    worst = [f"{row.category} doubt {row.doubt:.2f}" for row in rows[is_label][:1].itertuples()]
    missed = [
        f"{row.category} missed at {row.x + row.width / 2:.0f}, {row.y + row.height / 2:.0f}? {row.doubt:.2f}"
        for row in rows[~is_label][:3].itertuples()
    ]
    return "; ".join([*worst, *missed])
