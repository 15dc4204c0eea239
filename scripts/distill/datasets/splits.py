"""Whether a validation set and a training set share images: the model would be tested on what it learned."""

from collections.abc import Mapping, Sequence
from os.path import join
from typing import Any

import numpy as np

from distill.datasets.checks import show
from distill.datasets.fingerprints import Fingerprint, distances, looks
from distill.program import UserError, log
from distill.strict import some

# So many of the 256 bits of a perceptual hash may differ where two images look alike. Of photographs: saved
# with quality 10, or in half the size, 20 at most; cut by 2% on each side, 48; of different ones, above 50.
ALIKE = 48
SHOWN = 200  # pairs that are kept


def check_splits(
    names: tuple[str, str],
    validation: Mapping[str, Any],
    training: Mapping[str, Any],
    prints: tuple[Sequence[Fingerprint], Sequence[Fingerprint]],
    categories: bool = True,
) -> dict[str, Any]:
    """Raises UserError where no image of the validation set has an object, where one has the bytes, or the
    decoded pixels, of one of the training set, or where a category's number means another one in it. Images
    that only look alike, as frames of a video do, are no error: they are counted, and the most alike named.

    names, prints: of the validation set, of the training set.
    categories: whether these have to agree; not those of a dataset that only a model to start from has seen.

    Returns counts of images; `unlearnt`, the names of categories that have objects in the validation set and
    none in the training set, unless categories may be others; and, if any images look alike, `alike`: {count,
    pairs: [{validation, training, bits}]}.
    """
    if all(a["iscrowd"] for a in validation["annotations"]):
        what = f"none of its {len(validation['images'])} images has an object, so there is no AP"
        raise UserError(f"{names[0]}: {what}; give it annotated ones")
    missing = None
    if categories:
        _refuse_other_categories(names, validation, training)
        missing = unlearnt(validation, training)
        if missing:
            what = "a model that learns from it alone finds none, and AP is a mean over these too"
            named = some(map(show, missing), 5)
            log.warning("%s has objects that %s has none of, of %s: %s", *names, named, what)
    files = [
        {image["id"]: join(dataset["info"]["image_root"], image["file_name"]) for image in dataset["images"]}
        for dataset in (validation, training)
    ]
    for what, keys in (
        (
            "the same file: take it out of one (`exclude` of a subset)",
            [{i["id"]: i.get("hash") for i in one["images"]} for one in (validation, training)],
        ),
        (
            "the same pixels in another file, unseen by `exclude`: remove one, or choose others by `ids`",
            [{found.id: found.pixels for found in one} for one in prints],
        ),
    ):
        _refuse_shared(names, files, keys, what)
    sizes = [{name: len(one)} for name, one in zip(names, files, strict=True)]
    counts: dict[str, Any] = {"validation": sizes[0], "training": sizes[1], "shared": 0}
    if missing is not None:
        counts["unlearnt"] = missing
    count, pairs = look_alike(*prints)
    if not count:
        return counts
    alike = [
        {"validation": files[0][tested], "training": files[1][trained], "bits": bits}
        for bits, tested, trained in pairs
    ]
    log.warning(
        "%d pairs of images of %s and %s look alike, the most: %s",
        *(count, *names, ", ".join(f"{p['validation']} and {p['training']}" for p in alike[:5])),
    )
    return {**counts, "alike": {"count": count, "pairs": alike}}


def _refuse_other_categories(
    names: tuple[str, str], validation: Mapping[str, Any], training: Mapping[str, Any]
) -> None:
    """A model says numbers of categories, and of keypoints, as they are in what it was trained on."""
    if not training["annotations"]:  # generated labels have the categories of labelled images
        return
    tested = {category["id"]: category for category in validation["categories"]}
    for category in training["categories"]:
        number, other = category["id"], tested.get(category["id"])
        points = [each["keypoints"] for each in (category, other) if each and each.get("keypoints")]
        if other is None:
            what = "is missing"
        elif other["name"] != category["name"]:
            what = f"is {show(other['name'])}"
        elif len(points) == 2 and points[0] != points[1]:
            what = "has other keypoints"
        else:
            continue
        raise UserError(
            f"{names[0]}: category {number}, {show(category['name'])} in {names[1]}, {what} there, so AP"
            " would be of something else; give both the same list of categories (folders of VOC: `names`)"
        )


def unlearnt(validation: Mapping[str, Any], training: Mapping[str, Any]) -> list[str]:
    """Names of categories that have objects in the validation set and none in the training set; none where
    that has no object at all, as images whose labels are still to be made."""
    tested, learnt = (
        {a["category_id"] for a in dataset["annotations"] if not a["iscrowd"]}
        for dataset in (validation, training)
    )
    missing = tested - learnt if learnt else set()
    return [category["name"] for category in validation["categories"] if category["id"] in missing]


def _refuse_shared(
    names: tuple[str, str], files: Sequence[Mapping[int, str]], keys: Sequence[Mapping[int, Any]], what: str
) -> None:
    tested = {key: image for image, key in keys[0].items() if key is not None}
    shared = [image for image, key in keys[1].items() if key in tested]
    if shared:
        first = files[0][tested[keys[1][shared[0]]]]
        more = f" (and {len(shared) - 1} more such images)" if len(shared) > 1 else ""
        raise UserError(
            f"{first} of the validation set {names[0]} is also in the training set {names[1]}, as "
            f"{files[1][shared[0]]}{more}, {what}"
        )


def look_alike(
    validation: Sequence[Fingerprint], training: Sequence[Fingerprint]
) -> tuple[int, list[tuple[int, int, int]]]:
    """How many pairs look alike, and the SHOWN most alike of them: (bits that differ, id in the validation
    set, id in the training set)."""
    count, pairs = 0, []
    for start, bits in distances(looks(list(validation)), looks(list(training))):
        found = np.flatnonzero(bits <= ALIKE)
        count += len(found)
        if len(found) > SHOWN:  # of frames of one scene, all
            found = found[np.argpartition(bits.ravel()[found], SHOWN)[:SHOWN]]
        rows, columns = np.unravel_index(found, bits.shape)
        for row, column in zip(rows.tolist(), columns.tolist(), strict=True):
            pairs.append((int(bits[row, column]), validation[start + row].id, training[column].id))
        pairs = sorted(pairs)[:SHOWN]
    return count, pairs
