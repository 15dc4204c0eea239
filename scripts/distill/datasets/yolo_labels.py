"""The files of labels of YOLO's images; and whether they are keypoints where a data.yaml says nothing of it.

A name that a Mac spells in other characters (accents as characters of their own) is the same name.
"""

import os
import unicodedata
from collections.abc import Iterable, Sequence
from contextlib import suppress
from itertools import islice

import numpy as np

from distill.datasets.images import SUFFIXES, files_in
from distill.program import UserError, log
from distill.strict import read_text

CORNERS = 9  # numbers of a turned box, which is an outline
SHOWN = 10_000  # lines tell outlines from keypoints
MOST = 1 / 2  # of the lines


def label_path(image: str) -> str:
    """Where the labels of an image are: in `labels` instead of the last folder that is called `images`."""
    head, found, tail = image.rpartition("/images/")
    return os.path.splitext(f"{head}/labels/{tail}" if found else image)[0] + ".txt"


def label_files(root: str, images: Sequence[str]) -> list[str | None]:
    """The files of labels of images (paths below `root`), None of those that have none. Says how many these
    are, and which files of labels no image has."""
    wanted = [label_path(image) for image in images]
    folders = [sorted({os.path.dirname(path) for path in paths}) for paths in (wanted, images)]
    texts = [path for folder in folders[0] for path in files_in(folder, (".txt",))]
    there = {_normal(path): path for path in texts} | {path: path for path in texts}
    found = [there.get(path, there.get(_normal(path))) for path in wanted]
    owned = {_normal(label_path(image)) for folder in folders[1] for image in files_in(folder, SUFFIXES)}
    lost = [path for path in texts if _normal(path) not in owned and _has_labels(path)]
    said = []
    if missing := found.count(None):
        said += [f"{missing} of {len(found)} images have no label file and count as empty"]
    if lost:
        said += [f"{len(lost)} label files belong to no image (the first is {lost[0]})"]
    if said:
        (log.warning if lost else log.info)("%s: %s", root, "; ".join(said))
    return found


def refuse_keypoints(root: str, paths: Iterable[str]) -> None:
    """Raises UserError where files of labels that would be read as outlines are of keypoints."""
    lines = (line.split() for path in paths for line in read_text(path).splitlines() if line.strip())
    rows: list[list[float]] = []
    for words in islice(lines, SHOWN):
        if len(words) <= CORNERS or len(words) != len(rows[0] if rows else words):
            return  # mostly at the first line: outlines differ in length
        try:
            rows.append([float(word) for word in words])
        except ValueError:
            return
    if rows and (shape := _posed(np.array(rows)[:, 1:])):
        what = "label files look like keypoints, not outlines"
        raise UserError(f"{root}: {what}: give `kpt_shape: {shape}` in data.yaml")


def _posed(lines: np.ndarray) -> list[int] | None:
    """The kpt_shape of YOLO, [K, 3], where most of the lines (N, n) are a box and x, y, v of keypoints, by
    their v; None of outlines."""
    points, odd = divmod(lines.shape[1] - 4, 3)
    posed = not odd and np.isin(lines[:, 6::3], (0, 1, 2)).all(axis=1).mean() > MOST
    return [points, 3] if posed else None


def _normal(path: str) -> str:
    return unicodedata.normalize("NFC", path)


def _has_labels(path: str) -> bool:
    """Whether there are labels in a text file, which may be a list of classes or a licence."""
    with suppress(UserError, ValueError):
        return any(len([float(word) for word in line.split()]) >= 5 for line in read_text(path).splitlines())
    return False
