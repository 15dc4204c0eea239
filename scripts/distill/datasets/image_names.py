"""The images of a dataset by what other programs call them: ids, file names, or the ends of file names."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import PurePosixPath
from typing import Any

from distill.datasets.coco import Coco
from distill.program import UserError

NUMBERED = ("folder", "videos", "yolo", "voc", "figures")  # kinds whose images have numbers of our making


def numbered(dataset: Mapping[str, Any]) -> bool:
    """Whether the ids of its images are of our making."""
    info = dataset.get("info", {})
    return info.get("numbered", info.get("kind") in NUMBERED)


class Images:
    """The images of a dataset, found by id or name.

    dataset: the COCO dict that is predicted.
    sources: those that it is made of. Their other images, and those that could not be read, may be predicted,
        too: they are passed over.
    """

    def __init__(self, dataset: Coco, sources: Sequence[Coco]) -> None:
        self.records = dataset["images"]
        self._place = {image["id"]: row for row, image in enumerate(self.records)}
        rows = {image["file_name"]: row for row, image in enumerate(self.records)}
        mine = {image.get("hash", image["file_name"]) for image in self.records}
        given = [image for source in sources for image in source["images"]]
        others = [image for image in given if image.get("hash", image["file_name"]) not in mine]
        self._others = {image["id"] for image in others}
        self._meant: dict[int, set[str]] = {}  # several where a union has given an image another id
        for image in [*self.records, *given]:
            self._meant.setdefault(image["id"], set()).add(image.get("hash", image["file_name"]))
        unread = [gone for one in (dataset, *sources) for gone in one.get("info", {}).get("skipped", ())]
        self._named = _names({**{image["file_name"]: -1 for image in [*others, *unread]}, **rows})
        theirs = [one for one in (dataset, *sources) if not numbered(one)]
        self._stated = {image["id"] for one in theirs for image in one["images"]}
        self._numbered = {int(name): row for name, row in self._named.items() if name.isdecimal()}

    def row(self, key: int | str) -> int:
        """Of an image in the dataset's list; −1 of one that only a source has.

        Raises KeyError, and UserError for a number that two images have as id, or one as id and one as name:
        where no annotation file of the user's says the ids, programs take the number in a file's name for it.
        """
        if isinstance(key, str):
            return _find(key, self._named)
        row = self._place[key] if key in self._place or key not in self._others else -1
        if row >= 0 and len(self._meant[key]) > 1:
            raise UserError(
                f"{key} is the id of two images, of datasets that have become one; give file_name"
            )
        if key not in self._stated and self._numbered.get(key, row) != row:
            raise UserError(f"{key} is the id of one image and the name of another; give file_name")
        return row


def _names(rows: Mapping[str, int]) -> dict[str, int | None]:
    """What files may be called: their path, also without its ending, or what follows its last /; None for a
    name that two have. A longer name comes before a shorter one."""
    table: dict[str, int | None] = {}
    for shorten in (
        lambda path: path.with_suffix("").name,
        lambda path: path.name,
        lambda path: path.with_suffix("").as_posix(),
        lambda path: path.as_posix(),
    ):
        short: dict[str, int | None] = {}
        for name, row in rows.items():
            key = shorten(PurePosixPath(name))
            short[key] = None if key in short else row
        table |= short
    return table


def _find(name: str, table: Mapping[str, int | None]) -> int:
    """The row of a name, or of its longest end that is one, as programs put folders before it. KeyError."""
    for end in ends(PurePosixPath(name).as_posix()):
        if (row := table.get(end)) is not None:
            return row
    raise KeyError(name)


def ends(name: str) -> Iterator[str]:
    """The name, and what follows each of its slashes, the longest first."""
    yield name
    yield from (name[at + 1 :] for at, character in enumerate(name) if character == "/")


class NamedImages:
    """Images found by what others call them: they put folders before a name or take them off.

    images: records.
    """

    def __init__(self, images: Sequence[dict[str, Any]]) -> None:
        self.named = {image["file_name"]: image for image in images}

    def fitting(self, name: str) -> list[dict[str, Any]]:
        """That of the file name, or of the longest that it ends with; else all that end so."""
        known = next((end for end in ends(name) if end in self.named), None)
        return self.ending(name) if known is None else [self.named[known]]

    def ending(self, name: str) -> list[dict[str, Any]]:
        """Those of the file name, in whatever folder."""
        return self._by_end.get(name, [])

    @cached_property
    def _by_end(self) -> dict[str, list[dict[str, Any]]]:
        result: dict[str, list[dict[str, Any]]] = {}
        for name, image in self.named.items():
            for end in ends(name):
                result.setdefault(end, []).append(image)
        return result
