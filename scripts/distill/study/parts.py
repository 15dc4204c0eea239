"""The parts that a proposed study makes of annotated images: do they teach, and tell, what they are to?"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from distill import ROOT
from distill.datasets.coco import Coco
from distill.datasets.composed import subset
from distill.datasets.fingerprints import Fingerprint
from distill.datasets.splits import check_splits, unlearnt
from distill.study.facts import Facts, listed, plural
from distill.study.schema import with_defaults

FEW = 50  # images to validate on


def parts(specs: Mapping[str, Any], given: Coco) -> dict[str, Coco]:
    """The datasets that are made of `given` alone, by name: `val`, and `labelled`, to learn from.

    specs: the study's datasets, of which the first is `given`.
    """
    made: dict[str, Coco] = {}
    for name, spec in specs.items():
        if not made:
            made[name] = given
        elif spec["kind"] == "subset" and spec["of"] in made:
            made[name] = subset(with_defaults(ROOT, spec, "datasets", "subset"), made, None)
    return made


def check(made: Mapping[str, Coco], prints: Iterable[Fingerprint]) -> None:
    """Raises UserError as the run would: one of the images to validate on is learned from too, or none has an
    object. made: by `parts`. prints: of all images."""
    names = ("val", "annotated" if "annotated" in made else "labelled")
    looks = {found.id: found for found in prints}
    tested, learned = ([looks[image["id"]] for image in made[name]["images"]] for name in names)
    check_splits(names, made[names[0]], made[names[1]], (tested, learned), categories=False)


def words(found: Facts, labelled: Coco, val: Coco) -> Iterator[str]:
    """What is to be said of them, a line each. found: of all annotated images."""
    if (images := len(val["images"])) < FEW:
        what = "AP of so few says little; give --val, or cross-validate by `folds` (config/README.md)"
        yield f"{plural(images, 'image')} to validate on: {what}"
    absent = {name for name, count in found.counts.items() if not count}
    if lost := [name for name in unlearnt(val, labelled) if name not in absent]:
        what = "AP, a mean over these too, will be lower; label more of them, hide fewer, or give --val"
        yield f"no object of {listed(lost)} is left to learn from, and some are to validate on: {what}"
