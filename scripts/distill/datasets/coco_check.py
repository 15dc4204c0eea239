"""A COCO annotation file as people write it → a clean one, which everything after it relies on.

Refused, in one line with the file, the id and the number of further such problems: what contradicts itself
(missing keys, duplicate ids, unknown images or categories, lists of a wrong length, boxes wholly outside
the image, file names that leave the image folder), and what as a whole looks like another convention.
Repaired, counted, logged and shown in the report: what COCO's own files have too (boxes over the image's
edge, boxes without area, keypoints outside the image, wrong num_keypoints). 2.0 may be written for 2.
"""

from collections import Counter
from pathlib import PurePosixPath
from typing import Any

from distill.datasets.checks import (
    MAX_SIDE,
    Problems,
    are_numbers,
    are_pairs,
    is_integer,
    leaves_root,
    make_whole,
    show,
    unique_ids,
)
from distill.datasets.coco_annotation import BOXLESS, Bad, Outside, checked
from distill.datasets.conventions import Conventions
from distill.datasets.keypoint_meta import contradiction, derive_flip_pairs, keypoint_meta
from distill.program import UserError, log
from distill.strict import is_line, read_json

LONGEST_NAME = 1000  # characters of a path; most file systems allow 255 of each part
FEW = 0.01  # of the annotations


def load_coco(path: str, strip: bool = False) -> dict:
    """Reads and checks an annotation file, without looking at the images.

    Returns {"images", "annotations", "categories", "repaired": {what: count}}, images and annotations sorted
    by id, with only the keys that the project uses. With `strip`, and of a file without `annotations`, these
    and the categories are empty. Images without any annotation need no width and height.

    Raises UserError; `WrongSize` where it is the size of an image that boxes contradict.
    """
    return check_coco(path, read_json(path), strip)


def check_coco(path: str, data: Any, strip: bool = False, computed: bool = False) -> dict:
    """As `load_coco`, of what an annotation file says; `computed`: of another format that was made one."""
    if not isinstance(data, dict) or not isinstance(data.get("images"), list):
        raise UserError(f'{path}: not a COCO annotation file: needs an object with a list "images"')
    for key in ("annotations", "categories"):
        if not isinstance(data.get(key, []), list):
            raise UserError(f'{path}: "{key}" is not a list')
    annotated = bool(data.get("annotations")) and not strip
    images = _images(path, data["images"], sized=annotated)
    # Categories and an empty list of annotations: the images hold nothing of these, as some of those that a
    # person has corrected. COCO's files of images that nobody annotated have no such list.
    empty = data.get("annotations") == [] and bool(data.get("categories")) and not strip
    if not (annotated or empty):
        return {"images": images, "annotations": [], "categories": [], "repaired": {}}
    categories = check_categories(path, _without_root(path, data))
    if empty:
        log.warning("%s: no annotation; its images hold nothing, unless strip_annotations is set", path)
    annotations, repaired = (
        ([], {}) if empty else _annotations(path, data["annotations"], images, categories, computed)
    )
    for what, count in repaired.items():
        log.info("%s: %d %s", path, count, what)
    return {"images": images, "annotations": annotations, "categories": categories, "repaired": repaired}


def _without_root(path: str, data: dict) -> list:
    """The categories but for what is none: Roboflow writes the project's name as number 0, above the others
    and without an annotation, even where one of them is called the same."""
    categories = data.get("categories", [])
    for root in (c for c in categories if isinstance(c, dict) and c.get("id") == 0):
        others = [c for c in categories if c is not root]
        name = root.get("name", root)
        above = any(isinstance(c, dict) and c.get("supercategory") == name for c in others)
        used = any(isinstance(a, dict) and a.get("category_id") == 0 for a in data["annotations"])
        if root.get("supercategory") == "none" and above and not used:
            log.info("%s: category 0, %s, is the others' and no class", path, show(name))
            return others
    return categories


def check_categories(where: Any, categories: list) -> list[dict]:
    """Checked copies, sorted by id, with id, name, supercategory and, where there are keypoints, keypoints,
    skeleton (1-based), flip_pairs (0-based; derived from the names where absent) and sigmas.
    Raises UserError."""
    problems = Problems(where)
    make_whole(categories, ("id",))
    unique_ids(categories, "category", problems)
    if not categories:
        problems.add("there are annotations but no categories")
    names = Counter(c["name"] for c in categories if isinstance(c.get("name"), str))
    kinds = (str, type(None))
    clean = []
    for category in categories:
        name = category.get("name")
        what = f"category {category.get('id')}"
        if not isinstance(name, str) or not name:
            problems.add(f"{what} has no name")
        elif not is_line(name):
            problems.add(f"{what}: the name {show(name)} is not a line of text")
        elif names[name] > 1:
            problems.add(f"{names[name]} categories are called {show(name)}")
        if not isinstance(category.get("supercategory"), kinds):
            problems.add(f"{what}: supercategory is not text")
        copy = {key: category[key] for key in ("id", "name", "supercategory") if key in category}
        if category.get("keypoints"):
            copy |= _keypoint_fields(category, what, problems)
        clean.append(copy)
    problems.refuse()
    clean.sort(key=lambda c: c["id"])
    try:
        meta = keypoint_meta({"categories": clean})
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
    if meta and not meta.flip_pairs:
        log.warning("%s: no left and right keypoints: mirroring an image swaps none (see flip_pairs)", where)
    return clean


def _keypoint_fields(category: dict, what: str, problems: Problems) -> dict:
    names = category["keypoints"]
    if not isinstance(names, list) or not all(isinstance(n, str) and n and is_line(n) for n in names):
        problems.add(f"{what}: keypoints is not a list of names")
        return {}
    if len(set(names)) < len(names):
        problems.add(f"{what}: keypoint {Counter(names).most_common(1)[0][0]!r} is named twice")
        return {}
    count = len(names)
    fields: dict = {"keypoints": names}
    skeleton = category.get("skeleton") or []
    if not are_pairs(skeleton, 1, count):
        from_zero = "; it seems to count from 0" if are_pairs(skeleton, 0, count - 1) else ""
        pairs_from = f"is not a list of pairs of keypoints counted from 1 to {count}"
        problems.add(f"{what}: skeleton {pairs_from}{from_zero}")
    fields["skeleton"] = skeleton
    pairs = category.get("flip_pairs")
    pairs = derive_flip_pairs(names) if pairs is None else pairs
    if not are_pairs(pairs, 0, count - 1) or len({k for pair in pairs for k in pair}) < 2 * len(pairs):
        problems.add(f"{what}: flip_pairs is not a list of disjoint pairs of keypoints counted from 0")
    elif message := contradiction(names, pairs):
        problems.add(f"{what}: {message}")
    else:
        fields["flip_pairs"] = sorted(sorted(pair) for pair in pairs)
    if (sigmas := category.get("sigmas")) is not None:
        if not are_numbers(sigmas, count) or min(sigmas) <= 0:
            problems.add(f"{what}: sigmas is not a list of {count} positive numbers")
        fields["sigmas"] = sigmas
    return fields


def _images(path: str, images: list, sized: bool) -> list[dict]:
    problems = Problems(path)
    make_whole(images, ("id", "width", "height"))
    unique_ids(images, "image", problems)
    needed = ("id", "file_name", "width", "height") if sized else ("id", "file_name")
    seen: dict[str, Any] = {}
    clean = []
    for image in images:
        what = f"image {image.get('id')}"
        if missing := [key for key in needed if image.get(key) is None]:
            problems.add(f"{what} has no {', '.join(missing)}")
            continue
        name = image["file_name"]
        if not isinstance(name, str) or not is_line(name) or not 0 < len(name) <= LONGEST_NAME:
            problems.add(f"{what}: file_name {show(name)} is not a file name")
            continue
        if leaves_root(name):
            hint = f"names go on from that folder, as {show(PurePosixPath(name).name)}"
            problems.add(f"{what}: file_name {name!r} leaves the image folder; {hint}")
            continue
        name = PurePosixPath(name).as_posix()
        if name in seen:
            problems.add(f"images {seen[name]} and {image['id']} are the same file {name!r}")
        seen[name] = image["id"]
        copy = {"id": image["id"], "file_name": name}
        for key in ("width", "height"):
            if image.get(key) is not None:
                if not is_integer(image[key]) or not 1 <= image[key] <= MAX_SIDE:
                    problems.add(f"{what}: {key} {show(image[key])} is not a positive whole number")
                copy[key] = image[key]
        clean.append(copy)
    if not images:
        problems.add("there are no images")
    problems.refuse()
    return sorted(clean, key=lambda image: image["id"])


def _annotations(
    path: str, annotations: list, images: list, categories: list, computed: bool
) -> tuple[list[dict], dict]:
    problems, conventions = Problems(path), Conventions()
    repaired: Counter[str] = Counter()
    make_whole(annotations, ("id", "image_id", "category_id"))
    unique_ids(annotations, "annotation", problems)
    sizes = {image["id"]: (image["width"], image["height"]) for image in images}
    kinds = {category["id"]: category for category in categories}
    clean = []
    for a in annotations:
        what = f"annotation {a.get('id')}"
        if missing := [key for key in ("image_id", "category_id", "bbox") if a.get(key) is None]:
            problems.add(f"{what} has no {', '.join(missing)}")
        elif not _known(a["image_id"], sizes):
            problems.add(f"{what} is of the unknown image {show(a['image_id'])}")
        elif not _known(a["category_id"], kinds):
            problems.add(f"{what} is of the unknown category {show(a['category_id'])}")
        else:
            size = sizes[a["image_id"]]
            try:
                copy = checked(a, size, kinds[a["category_id"]], repaired)
            except Bad as error:
                doubtful = a["image_id"] if isinstance(error, Outside) else None
                problems.add(f"{what} (image {a['image_id']}): {error}", doubtful)
                continue
            if copy:
                clean.append(copy)
                conventions.add(a if "keypoints" in copy else {**a, "keypoints": None}, size)
    if (boxless := repaired.get(f"{BOXLESS}, left out", 0)) > FEW * len(annotations):
        problems.add(f"{boxless} {BOXLESS}: give them boxes around the objects")
    problems.refuse()
    conventions.refuse(path, computed)
    clean.sort(key=lambda a: a["id"])
    if clean and clean[0]["id"] < 1:  # pycocotools takes a match with annotation 0 for no match
        shift = 1 - clean[0]["id"]
        for a in clean:
            a["id"] += shift
        repaired["annotation ids shifted to start at 1"] = len(clean)
    return clean, dict(repaired)


def _known(key: Any, table: dict) -> bool:
    return is_integer(key) and key in table
