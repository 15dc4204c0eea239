"""What somebody has, as entries of `datasets`: whose format it is in, and which images are there twice."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from distill.datasets.coco import Coco
from distill.datasets.fingerprints import Fingerprint, distances, fingerprints, looks
from distill.datasets.images import SUFFIXES, Scan, hash_bytes, list_files, scan_all
from distill.datasets.splits import ALIKE
from distill.datasets.videos import SUFFIXES as OF_VIDEOS
from distill.datasets.videos import count_frames
from distill.datasets.voc import has_xml, list_of, places
from distill.datasets.yolo import READ, files_of
from distill.files import read_bytes
from distill.program import UserError, log
from distill.strict import read_text, read_yaml

Entry = dict[str, Any]
SAMPLE = 300  # images, about
END = 0.1  # of files in their order
MOST = 0.8  # of the files that are in one stretch


def annotated(option: str, path: str, images: str | None, folder: str) -> Entry:
    """An entry for annotated images: a data.yaml of YOLO, a folder of PASCAL VOC, else a file of COCO.

    option: where `path` comes from, for messages.
    images: the folder of the images, for COCO alone; the others know it.
    folder: what the entry's paths are relative to.
    """
    if not os.path.exists(path):
        raise UserError(f"{option} {path}: there is no such file or folder")
    place = {"annotations": relative(path, folder)}
    if hint := _of_another_format(path):
        raise UserError(f"{option} {path}: {hint}")
    other = "yolo" if path.lower().endswith((".yaml", ".yml")) else "voc" if os.path.isdir(path) else None
    if other:
        return {"kind": other, **place}
    if images is None:
        raise UserError(
            f"{option} {path}: a file of COCO does not say where its images are; give --images FOLDER"
        )
    return {"kind": "coco", "images": relative(images, folder), **place}


def _of_another_format(path: str) -> str | None:
    """What to give in the place of a folder that is none of PASCAL VOC."""
    there = sorted(os.listdir(path)) if os.path.isdir(path) else []
    if not there or has_xml(path):
        return None
    if data := [name for name in there if name in ("data.yaml", "data.yml")]:
        return f"a folder of YOLO: give {os.path.join(path, data[0])}"
    if "labels" in there or "classes.txt" in there:
        return "files of YOLO without a data.yaml; write one, of three lines: train, val and names"
    if files := [name for name in there if name.endswith(".json")]:
        return f"a folder with a COCO file: give {os.path.join(path, files[0])}"
    return None


def own_validation(path: str, entry: Entry) -> tuple[Entry, Entry | None]:
    """The labelled part of an annotated dataset, without what its author tests on, and its validation part,
    if its author made one."""
    if entry["kind"] == "yolo":
        return entry, _validation_of_yolo(path, entry)
    if entry["kind"] != "voc":
        return entry, None
    if parts := _parts_of_voc(path):
        log.info("%s: the labelled images are those of its folder %s", path, parts[0])
        own, val = ({**entry, "annotations": os.path.join(entry["annotations"], part)} for part in parts)
        return own, val
    lists = {split: file for split in ("train", "trainval", "val") if (file := list_of(path, split))}
    lists = {split: file for split, file in lists.items() if read_text(file).strip()}
    learned = next((split for split in ("train", "trainval") if split in lists), None)
    if learned is None:
        return entry, None
    log.info("%s: the labelled images are those of %s", path, lists[learned])
    apart = learned == "train" and "val" in lists
    return {**entry, "split": learned}, {**entry, "split": "val"} if apart else None


def _parts_of_voc(path: str) -> tuple[str, str] | None:
    """The folders to learn from and to validate on, where there are such and nothing beside them, as Roboflow
    writes them."""
    if places(path)[0] != path or any(Path(path).glob("*.[xX][mM][lL]")):
        return None
    there = [name for name in ("train", "valid", "val") if has_xml(os.path.join(path, name))]
    return ("train", there[1]) if there[:1] == ["train"] and there[1:] else None


def _validation_of_yolo(path: str, entry: Entry) -> Entry | None:
    data = read_yaml(path, READ)
    if not isinstance(data, dict) or not data.get("val"):
        return None
    train = files_of(path, data, "train")
    try:
        val = files_of(path, data, "val")
    except UserError as error:  # Roboflow's names one also where it was not exported
        log.warning("%s; so a part of train is validated on", error)
        return None
    return {**entry, "split": "val"} if set(train) != set(val) else None


def unlabelled(path: str, folder: str) -> tuple[Entry, list[str]]:
    """An entry for a folder of images or of videos, whichever are more, and these files; others are warned
    of."""
    names = list_files(path, (*SUFFIXES, *OF_VIDEOS), "images or videos")
    kinds = {"images": SUFFIXES, "videos": OF_VIDEOS}
    found = {key: [n for n in names if n.lower().endswith(tuple(ends))] for key, ends in kinds.items()}
    key, other = sorted(found, key=lambda key: -len(found[key]))
    if found[other]:
        log.warning("%s: has %d %s too, which are left alone", path, len(found[other]), other)
    files = [os.path.join(path, name) for name in found[key]]
    return {"kind": "folder" if key == "images" else key, key: relative(path, folder)}, files


def frames(files: Sequence[str], most: int) -> int:
    """How many frames videos give of which so many each are taken, at most; those that cannot be read are
    warned of."""
    count, unreadable = 0, []
    for file in files:
        try:
            count += min(most, count_frames(Path(file)) or most)
        except UserError as error:
            unreadable.append(str(error))
    warn_of(unreadable, len(files), "videos")
    return count


def warn_of(unreadable: Sequence[str], total: int, what: str) -> None:
    """Says which files cannot be read. Raises UserError where none can be.

    unreadable: a message for each. total: how many were looked at, `what` they are.
    """
    if unreadable and len(unreadable) == total:
        raise UserError(f"--unlabelled: none of {total} {what} can be read; {unreadable[0]}")
    if unreadable:
        more = "the study takes one in a hundred; for more of them, raise `unreadable`, or take them out"
        log.warning("%d of %d %s cannot be read (%s): %s", len(unreadable), total, what, unreadable[0], more)


def shared(files: Sequence[str], datasets: Sequence[Coco]) -> dict[int, str]:
    """Which of these files are, byte for byte, images of the datasets: their places and hashes. Only those
    are read that are of the length of one of them."""
    hashes, lengths = set(), set()
    for dataset in datasets:
        root = dataset["info"]["image_root"]
        hashes |= {image["hash"] for image in dataset["images"]}
        lengths |= {os.path.getsize(os.path.join(root, image["file_name"])) for image in dataset["images"]}
    found = {}
    for place, path in enumerate(files):
        if os.path.isfile(path) and os.path.getsize(path) in lengths:
            found[place] = hash_bytes(read_bytes(path))
    return {place: digest for place, digest in found.items() if digest in hashes}


def stretch(places: Sequence[int], total: int) -> tuple[float, float] | None:
    """From where to where, in fractions, some of so many files are; near an end, to this end. None where
    there are none, or they are all over the files."""
    near = [place for place in places if abs(place - np.median(places)) <= total / 4]
    if not near or len(near) < MOST * len(
        places
    ):  # a few are frames that look like others, wherever these are
        return None
    start, end = min(near) / total, (max(near) + 1) / total
    return round(start, 6) if start > END else 0, round(end, 6) if end < 1 - END else 1


def aspect(sample: Mapping[str, Scan]) -> float:
    """Longer side by shorter one, which nine of ten images of a sample do not exceed."""
    sizes = [scan.size for scan in sample.values() if not scan.reason]
    return float(np.quantile([max(size) / min(size) for size in sizes], 0.9))


def scanned(files: Sequence[str]) -> dict[str, Scan]:
    """What a sample of image files is; of those that cannot be read it is warned."""
    sample = files[:: max(1, len(files) // SAMPLE)]
    root = os.path.commonpath([os.path.dirname(file) for file in sample])
    scans = scan_all([Path(file) for file in sample], f"some images of {root}")
    found = dict(zip(sample, scans, strict=True))
    warn_of([f"{file}: {scan.reason}" for file, scan in found.items() if scan.reason], len(found), "images")
    return found


def alike(sample: Mapping[str, Scan], datasets: Sequence[Coco], known: Sequence[Fingerprint]) -> int:
    """How many images of a sample look like images of known fingerprints without being files of the datasets:
    they were made smaller, or saved anew."""
    hashes = {image["hash"] for dataset in datasets for image in dataset["images"]}
    root = os.path.commonpath([os.path.dirname(os.path.abspath(file)) for file in sample] or ["/"])
    images = [
        {"id": n, "file_name": os.path.relpath(file, root), "width": scan.size[0], "height": scan.size[1]}
        for n, (file, scan) in enumerate(sample.items())
        if not scan.reason and scan.hash not in hashes
    ]
    mine, theirs = (looks(list(prints)) for prints in (fingerprints({"images": images}, Path(root)), known))
    return sum(int((bits <= ALIKE).any(axis=1).sum()) for _, bits in distances(mine, theirs))


def relative(path: str | Path, folder: str) -> str:
    """As a study has it, in which a leading ~ is somebody's home."""
    place = os.path.relpath(os.path.abspath(path), folder)
    return f"./{place}" if place.startswith("~") else place
