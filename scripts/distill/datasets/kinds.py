"""The kinds of dataset, each a function from its config entry to one COCO dict with the same guarantees.

    {"info": {"description", "image_root", "kind", "skipped": [{"file_name", "reason"}], "repaired": {…}},
                                         (subset, union: "numbered", whether ids of images are of our making)
     "images": [{"id", "file_name", "width", "height", "hash"}], "annotations", "categories"}

Images are sorted by id, readable, and of the given size; `hash` is of the file's bytes. All categories with
keypoints share one definition with `flip_pairs`. What cannot be guaranteed is refused with a UserError.
To add a kind: a function and its line in `KINDS`.
"""

import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from unicodedata import is_normalized, normalize
from urllib.parse import unquote

from distill.datasets.checks import Problems, WrongSize
from distill.datasets.coco_check import check_coco, load_coco
from distill.datasets.composed import subset, union
from distill.datasets.images import FLAT_IMAGES, MISSING, SUFFIXES, Scan, list_files, scan_all, stated_sizes
from distill.program import UserError, log
from distill.strict import read_json


def build(name: str, spec: dict, sources: dict[str, dict], images_dir: Path | None = None) -> dict:
    """The COCO dict of one config entry, in which all options are given.

    name: of the dataset, for messages.
    spec: the entry, with all options; with `strip_annotations`, annotations and categories are left empty.
    sources: the datasets that `of` and `exclude` name, by name.
    images_dir: where kinds that make images put them.

    Raises UserError with one line that begins with the dataset's name.
    """
    kind = spec.get("kind")
    if kind not in KINDS:
        raise UserError(f"dataset {name}: unknown kind {kind!r}; there are {', '.join(KINDS)}")
    make, needed, optional = KINDS[kind]
    keys = set(spec) - {"kind"}
    if missing := needed - keys:
        raise UserError(f"dataset {name}: kind {kind} needs {', '.join(sorted(missing))}")
    if unknown := keys - needed - optional:
        raise UserError(f"dataset {name}: kind {kind} has no {', '.join(sorted(unknown))}")
    try:
        dataset = make(spec, sources, images_dir)
    except UserError as error:
        raise UserError(f"dataset {name}: {error}") from None
    if spec.get("strip_annotations"):
        dataset |= {"annotations": [], "categories": []}
    if not dataset["images"]:
        raise UserError(f"dataset {name}: no image is left in it")
    about = {"description": f"{name} ({kind})", "image_root": dataset["info"]["image_root"], "kind": kind}
    dataset["info"] = {**about, "skipped": [], "repaired": {}, **dataset["info"]}
    dataset["images"].sort(key=lambda image: image["id"])
    dataset["annotations"].sort(key=lambda annotation: annotation["id"])
    images = len(dataset["images"])
    if copies := images - len({image["hash"] for image in dataset["images"]}):
        log.info("%s: %d images are copies of others in it", name, copies)
    log.info("%s: %d images, %d annotations", name, images, len(dataset["annotations"]))
    return {key: dataset[key] for key in ("info", "images", "annotations", "categories")}


def _coco(spec: dict, sources: dict, images_dir: Path | None) -> dict:
    """An annotation file and its images. Of a labelled set, every image has to be readable and of its
    annotated size. With `strip_annotations`, or without any annotation in the file, its images may be of
    another size, and a fraction of them, `unreadable`, may be left out."""
    try:
        coco = load_coco(spec["annotations"], spec["strip_annotations"])
    except WrongSize as error:
        raise _wrong_size(spec, error) or error from None
    _check_root(spec["images"], coco["images"], spec["annotations"])
    images, skipped = _scanned(spec, spec["images"], coco["images"], labelled=bool(coco["annotations"]))
    if spec["keypoint_origin"] == "centre":
        _move_keypoints(coco["annotations"], 0.5)
    info = {"image_root": spec["images"], "skipped": skipped, "repaired": coco["repaired"]}
    return coco | {"info": info, "images": images}


def _move_keypoints(annotations: list[dict], by: float) -> None:
    """Adds a distance to x and y of the labelled keypoints, in place."""
    for annotation in annotations:
        points = annotation.get("keypoints", [])
        for at in range(0, len(points), 3):
            if points[at + 2]:
                points[at] += by
                points[at + 1] += by


def _wrong_size(spec: dict, error: WrongSize) -> UserError | None:
    """Where boxes do not fit into an image because it is annotated with a wrong size, says so."""
    (image,) = (i for i in read_json(spec["annotations"])["images"] if i["id"] == error.image_id)
    given = (image["width"], image["height"])
    if not (true := stated_sizes(os.path.join(spec["images"], image["file_name"]))) or given in true:
        return None
    what = f"image {image['id']}, {image['file_name']}"
    return UserError(
        f"{spec['annotations']}: {_of_other_size(what, max(true), given)}; its boxes do not fit into that"
    )


def _of_other_size(what: str, true: tuple[int, int], given: tuple[int, int]) -> str:
    return f"{what}, is {true[0]}x{true[1]} pixels, annotated as {given[0]}x{given[1]}"


def _yolo(spec: dict, sources: dict, images_dir: Path | None) -> dict:
    """A split of a data.yaml; see `yolo`. Sizes are those of the images, of which labels are fractions."""
    from distill.datasets import yolo

    path, strip = spec["annotations"], spec["strip_annotations"]
    layout = yolo.read_layout(path, spec["split"])
    root = os.path.commonpath([os.path.dirname(file) for file in layout.files])
    images = [{"id": i, "file_name": os.path.relpath(file, root)} for i, file in enumerate(layout.files, 1)]
    images, skipped = _scanned(spec, root, images, labelled=not strip)
    annotations, repaired = ([], {}) if strip else yolo.read_annotations(layout, root, images)
    data = {"images": images, "annotations": annotations, "categories": layout.categories}
    coco = check_coco(path, data, strip, computed=True)
    info = {"image_root": root, "skipped": skipped, "repaired": repaired | coco["repaired"]}
    return coco | {"info": info, "images": images}


def _voc(spec: dict, sources: dict, images_dir: Path | None) -> dict:
    """A folder of PASCAL VOC, or a list of its images; see `voc`."""
    from distill.datasets.voc import places, read_voc

    folder, strip = spec["annotations"], spec["strip_annotations"]
    root = places(folder)[1]
    data = read_voc(folder, spec.get("split"), spec.get("names", ()))
    coco = check_coco(folder, data, strip, computed=True)
    _check_root(root, coco["images"], folder)
    if not (strip or coco["annotations"]):
        raise UserError(f"{folder}: no image in it has an object")
    images, skipped = _scanned(spec, root, coco["images"], labelled=not strip)
    info = {"image_root": root, "skipped": skipped, "repaired": coco["repaired"]}
    return coco | {"info": info, "images": images}


def _folder(spec: dict, sources: dict, images_dir: Path | None) -> dict:
    """All images below a folder, unlabelled; ids count the files in the order of their names."""
    names = list_files(spec["images"], SUFFIXES, "images")
    images = [{"id": i, "file_name": name} for i, name in enumerate(names, 1)]
    images, skipped = _scan_unlabelled(spec["images"], images, spec["unreadable"])
    return _unlabelled(spec["images"], images, skipped)


def _videos(spec: dict, sources: dict, images_dir: Path | None) -> dict:
    """Frames of each video below a folder, or of some videos drawn at random; see `videos`. Ids have a place
    for each frame that a video may have."""
    from distill.datasets.videos import extract_frames

    images: list[dict] = []
    skipped: list[dict] = []
    root, frames, count = spec["videos"], spec["frames"], spec.get("images")
    videos = extract_frames(root, spec["seed"], _needed(images_dir), frames, spec["at"], count)
    total = 0
    for total, found in enumerate(videos, 1):
        if "reason" in found[0]:
            skipped += found
        else:
            images += [{"id": (total - 1) * frames + i, **frame} for i, frame in enumerate(found, 1)]
    _limit_skipped(root, skipped, total, spec["unreadable"], "videos")
    return _unlabelled(str(images_dir), images, skipped)


def _figures(spec: dict, sources: dict, images_dir: Path | None) -> dict:
    """Generated images with annotations; see distill.datasets.figures."""
    from distill.datasets.figures import generate

    folder = _needed(images_dir)
    dataset = generate(folder, spec["images"], spec["seed"], spec["size"], spec["style"])
    images = _scan_labelled(str(folder), dataset["images"], str(folder))
    return dataset | {"info": {"image_root": str(folder)}, "images": images}


def _unlabelled(root: str, images: list[dict], skipped: list[dict]) -> dict:
    info = {"image_root": root, "skipped": skipped}
    return {"info": info, "images": images, "annotations": [], "categories": []}


def _needed(images_dir: Path | None) -> Path:
    if images_dir is None:
        raise UserError("needs a folder for its images: --images")
    return images_dir


def _check_root(root: str, images: list[dict], where: str) -> None:
    """Refuses symbolic links out of the image folder; file names were checked when they were read."""
    if not os.path.isdir(root):
        raise UserError(f"{root}: no such folder of images")
    inside = os.path.join(os.path.realpath(root), "")
    real_folder = cache(os.path.realpath)
    problems = Problems(where)
    for image in images:
        folder, name = os.path.split(os.path.join(root, image["file_name"]))
        path = os.path.join(real_folder(folder), name)
        if os.path.islink(path):
            path = os.path.realpath(path)
        if not path.startswith(inside):
            what = f"{image['file_name']!r} is a symbolic link out of {root}"
            problems.add(f"image {image['id']}: {what}; name the folder that the images lie in, or copy them")
    problems.refuse()


def _scan(root: str, images: list[dict]) -> list[tuple[dict, Scan]]:
    paths = [Path(root, image["file_name"]) for image in images]
    found = list(zip(images, scan_all(paths, f"images of {root}"), strict=True))
    if flat := [image["file_name"] for image, scan in found if scan.flat]:
        log.warning("%s: %d %s (the first is %s)", root, len(flat), FLAT_IMAGES, flat[0])
    return found


def _record(image: dict, size: tuple[int, int], digest: str) -> dict:
    named = {"id": image["id"], "file_name": image["file_name"]}
    return named | {"width": size[0], "height": size[1], "hash": digest}


def _scanned(spec: dict, root: str, images: list[dict], labelled: bool) -> tuple[list[dict], list[dict]]:
    """The records of an annotation file's images; and of unlabelled ones what is skipped, up to a limit."""
    if labelled:
        return _scan_labelled(root, images, spec["annotations"]), []
    return _scan_unlabelled(root, images, spec["unreadable"])


def _scan_labelled(root: str, images: list[dict], where: str) -> list[dict]:
    problems, records, missing = Problems(where), [], []
    for image, scan in _scan(root, images):
        what = f"image {image['id']}, {image['file_name']}"
        size = (image.get("width", scan.size[0]), image.get("height", scan.size[1]))
        if scan.reason:
            place = f" at {os.path.join(root, image['file_name'])}" if scan.reason == MISSING else ""
            problems.add(f"{what}, {scan.reason}{place}: mend it, or take it and its annotations out")
            missing += [image["file_name"]] if scan.reason == MISSING else []
        elif size not in (scan.size, scan.raw_size):
            problems.add(_of_other_size(what, scan.size, size))
        else:
            records.append(_record(image, size, scan.hash))
    if len(missing) > len(images) / 2:
        first = f"the first is {missing[0]!r}{_called(root, missing[0])}"
        hint = f"file names go on from the folder of the images: give that folder, or mend the names; {first}"
        raise UserError(f"{where}: {len(missing)} of its {len(images)} images are not in {root}; {hint}")
    problems.refuse()
    return records


def _called(root: str, name: str) -> str:
    """What a folder has in the place of a file that is not there: other letters, slashes or escapes."""
    last = normalize("NFC", unquote(name.replace("\\", "/")).rpartition("/")[2]).casefold()
    found = (os.path.join(folder, file) for folder, _, files in os.walk(root) for file in files)
    path = next((p for p in found if normalize("NFC", os.path.basename(p)).casefold() == last), "")
    apart = "" if is_normalized("NFC", path) else ", whose accents are characters of their own"
    return f", there is {os.path.relpath(path, root)!r}{apart}" if path else ""


def _scan_unlabelled(root: str, images: list[dict], limit: float) -> tuple[list[dict], list[dict]]:
    records: list[dict] = []
    skipped: list[dict] = []
    for image, scan in _scan(root, images):
        if scan.reason:
            hint = _called(root, image["file_name"]) if scan.reason == MISSING and not skipped else ""
            skipped.append({"file_name": image["file_name"], "reason": scan.reason + hint})
            continue
        stored = (image.get("width"), image.get("height")) == scan.raw_size
        records.append(_record(image, scan.raw_size if stored else scan.size, scan.hash))
    _limit_skipped(root, skipped, len(images), limit, "images")
    return records, skipped


def _limit_skipped(root: str, skipped: list[dict], total: int, limit: float, what: str) -> None:
    if not skipped:
        return
    first = f"{skipped[0]['file_name']} {skipped[0]['reason']}"
    if len(skipped) > limit * total or len(skipped) == total:
        raise UserError(
            f"{root}: {len(skipped)} of {total} {what} cannot be read, more than the fraction {limit:g} that "
            f"`unreadable` allows; the first: {first}"
        )
    log.warning("%s: %d of %d %s left out as unreadable; first %s", root, len(skipped), total, what, first)


# kind: (function, needed keys, optional keys); needed are also those that have a default in the schema
_Kind = tuple[Callable[[dict, dict, Path | None], dict], set[str], set[str]]
KINDS: dict[str, _Kind] = {
    "coco": (
        _coco,
        {"images", "annotations", "keypoint_origin", "strip_annotations", "unreadable"},
        set(),
    ),
    "yolo": (_yolo, {"annotations", "split", "strip_annotations", "unreadable"}, set()),
    "voc": (_voc, {"annotations", "strip_annotations", "unreadable"}, {"split", "names"}),
    "folder": (_folder, {"images", "unreadable"}, set()),
    "subset": (
        subset,
        {"of", "exclude", "seed", "strip_annotations"},
        {"fraction", "images", "ids", "range", "fold", "folds", "annotated"},
    ),
    "union": (union, {"of", "strip_annotations"}, set()),
    "videos": (_videos, {"videos", "seed", "unreadable", "frames", "at"}, {"images"}),
    "figures": (_figures, {"images", "seed", "size", "style"}, set()),
}
