"""Datasets as PASCAL VOC has them: JPEGImages, an XML file for each image in Annotations, lists in ImageSets.

A box's corners are numbers of pixels, counted from 1, both inside: a box from 1 to W is as wide as the image
(detectron2's pascal_voc.py). `difficult` objects, which VOC does not evaluate, are crowd regions of COCO.
Other tools count from 0 and write edges (CVAT's datumaro: x + width): a corner at 0 anywhere in a folder, or
fractions in most of its boxes, say so. VOC2012 itself has a few fractions.

A folder without Annotations has XML files beside the images, as labelImg and Roboflow write them.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any
from xml.etree import ElementTree

from distill.datasets.checks import LARGEST, show
from distill.datasets.images import SUFFIXES, list_files, stated_size
from distill.files import read_bytes
from distill.program import UserError, cause, log
from distill.strict import is_line, read_text

DIFFICULT = {"0": 0, "false": 0, "unspecified": 0, "": 0, "1": 1, "true": 1}
_Found = tuple[list[tuple[str, list[float], int]], tuple[int, int] | None]


class _NoDoctype(ElementTree.TreeBuilder):
    """Refuses what could define entities: their expansion can fill any memory, or read other files."""

    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:
        raise UserError("has a DOCTYPE, by which a few lines may stand for terabytes; remove it")


def places(folder: str) -> tuple[str, str]:
    """The folders of the XML files and of the images, which others call annotations and images."""
    found = []
    for names in (("Annotations", "annotations"), ("JPEGImages", "images", "Images")):
        there = (path for name in names if os.path.isdir(path := os.path.join(folder, name)))
        found.append(next(there, os.path.join(folder, names[0])))
    return (found[0], found[1]) if has_xml(found[0]) else (folder, folder)


def has_xml(folder: str) -> bool:
    """Whether there are XML files below a folder; hidden ones are passed over, as by `list_files`."""
    found = (path.relative_to(folder) for path in Path(folder).rglob("*.[xX][mM][lL]"))
    return any(not any(part.startswith(".") for part in path.parts) for path in found)


def read_voc(folder: str, split: str | None, names: Sequence[str] = ()) -> dict[str, Any]:
    """The COCO dict of a folder, unchecked, without info.

    split: a list in ImageSets/Main (or ImageSets); None: all images that have an XML file.
    names: of the categories, numbered from 1. Without them all that any of the folder's files has, in the
        order of their names, so that all splits agree.

    Raises UserError with the file.
    """
    of_xml, of_images = places(folder)
    xml = list_files(of_xml, (".xml",), "annotations")
    files = {PurePosixPath(name).with_suffix("").as_posix(): name for name in xml}
    wanted = list(files) if split is None else _listed(folder, split, files)
    stems: dict[str, list[str]] = {}
    for image in list_files(of_images, SUFFIXES, "images"):
        stems.setdefault(PurePosixPath(image).with_suffix("").as_posix(), []).append(image)
    objects = {stem: _objects(os.path.join(of_xml, file)) for stem, file in files.items()}
    first = _first(objects.values(), folder)
    found_in = {name: stem for stem, (found, _) in objects.items() for name, *_ in found}
    if names and (unknown := sorted(found_in.keys() - set(names))):
        what = f"{show(unknown[0])} is none of `names`, {', '.join(map(show, names))}"
        raise UserError(f"{os.path.join(of_xml, files[found_in[unknown[0]]])}: {what}")
    ids = {name: number for number, name in enumerate(names or sorted(found_in), 1)}
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, stem in enumerate(wanted, 1):
        if len(found := stems.get(stem, [])) != 1:
            what = f"there are several images {', '.join(found)}" if found else "there is no image"
            raise UserError(f"{of_images}: {what} for {os.path.join(of_xml, files[stem])}")
        mine, size = objects[stem]
        size = size or stated_size(os.path.join(of_images, found[0])) or (1, 1)
        images.append({"id": number, "file_name": found[0], "width": size[0], "height": size[1]})
        for name, (x1, y1, x2, y2), difficult in mine:
            record = {"id": len(annotations) + 1, "image_id": number, "category_id": ids[name]}
            box = [x1 - first, y1 - first, x2 - x1 + first, y2 - y1 + first]
            annotations.append({**record, "bbox": box, "iscrowd": difficult})
    categories = [{"id": number, "name": name} for name, number in ids.items()]
    return {"images": images, "annotations": annotations, "categories": categories}


def _first(objects: Iterable[_Found], folder: str) -> int:
    """1 where corners are pixels that are counted from 1; 0 where they are edges, from 0."""
    boxes = [box for found, _ in objects for _, box, _ in found]
    fractions = sum(any(value % 1 for value in box) for box in boxes)
    zeros = sum(min(box) == 0 for box in boxes)
    if zeros or fractions > len(boxes) / 2:
        why = f"{zeros} of {len(boxes)} boxes have a corner at 0, {fractions} a fraction"
        log.warning(
            "%s: corners are read as edges that are counted from 0, not as pixels from 1: %s", folder, why
        )
        return 0
    return 1


def list_of(folder: str, split: str) -> str | None:
    """The file that lists the images of a split, if there is one."""
    paths = (os.path.join(folder, place, f"{split}.txt") for place in ("ImageSets/Main", "ImageSets"))
    return next(filter(os.path.exists, paths), None)


def _listed(folder: str, split: str, files: dict[str, str]) -> list[str]:
    """The images of a list, each line of which is a file name, or that and a number. VOC's are without folder
    and ending."""
    if (path := list_of(folder, split)) is None:
        raise UserError(f"{folder}: there is no list {split}.txt in ImageSets/Main")
    lines = [line.strip() for line in read_text(path).splitlines()]
    stems = list(dict.fromkeys(_stem(line, files) for line in lines if line))
    if unknown := [stem for stem in stems if stem not in files]:
        raise UserError(f"{path}: {show(unknown[0])} has no XML file")
    return stems


def _stem(line: str, files: Mapping[str, str]) -> str:
    """Which of the files a line of a list means; the line's first word where it is none."""
    word = line.split()[0]
    for name in (line, word):
        path = PurePosixPath(name)
        bare = path.with_suffix("") if path.suffix.lower() in (*SUFFIXES, ".xml") else path
        for parts in (path.parts, *(bare.parts[at:] for at in range(len(bare.parts)))):
            if (stem := "/".join(parts)) in files:
                return stem
    return word


def _objects(path: str) -> _Found:
    """Name, corners (x1, y1, x2, y2) and difficulty (0 or 1) of the objects in a file, and the image's width
    and height; None where the file does not know them."""
    content = read_bytes(path)
    try:
        root = ElementTree.fromstring(content, parser=ElementTree.XMLParser(target=_NoDoctype()))
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise UserError(f"{path}: not an XML file ({cause(error)})") from None
    if root.tag != "annotation":
        raise UserError(f"{path}: not an annotation of PASCAL VOC; its element is <{root.tag:.40}>")
    found = []
    for number, element in enumerate(root.findall("object"), 1):
        where = f"{path}, object {number}"
        name = (element.findtext("name") or "").strip()
        if not name or not is_line(name):
            raise UserError(f"{where}: its name {show(name)} is not a line of text")
        x1, y1, x2, y2 = (
            _number(where, element, f"bndbox/{key}") for key in ("xmin", "ymin", "xmax", "ymax")
        )
        if x2 < x1 or y2 < y1:
            raise UserError(
                f"{where}: bndbox {x1:g}, {y1:g}, {x2:g}, {y2:g} has its corners the wrong way round"
            )
        difficult = (element.findtext("difficult") or "0").strip()
        if difficult.lower() not in DIFFICULT:
            raise UserError(f"{where}: difficult is {show(difficult)}, not 0 or 1")
        found.append((name, [x1, y1, x2, y2], DIFFICULT[difficult.lower()]))
    stated = [key for key in ("width", "height") if (root.findtext(f"size/{key}") or "").strip()]
    size = [_number(path, root, f"size/{key}") for key in stated]
    known = len(size) == 2 and min(size) >= 1
    return found, (int(size[0]), int(size[1])) if known else None


def _number(where: str, element: ElementTree.Element, key: str) -> float:
    text = (element.findtext(key) or "").strip()
    try:
        value = float(text)
    except ValueError:
        value = LARGEST
    if not -LARGEST < value < LARGEST:
        missing = element.find(key) is None
        raise UserError(f"{where}: {f'has no {key}' if missing else f'{key} is {show(text)}, not a number'}")
    return value
