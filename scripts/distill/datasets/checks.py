"""What checks of annotation files share: problems are counted, numbers are looked at before they are used."""

from pathlib import PurePosixPath
from reprlib import Repr
from typing import Annotated, Any

import msgspec

from distill.program import UserError

MAX_ID = 2**63 - 1  # ids are stored as 64-bit integers beside the heatmaps
MAX_SIDE = 10**6  # pixels; no format has more
LARGEST = 1e12  # of coordinates and areas; what is larger is no pixel, and may be too large for a float

# In files that are read back.
Id = Annotated[int, msgspec.Meta(ge=0, le=MAX_ID)]
Side = Annotated[int, msgspec.Meta(ge=1, le=MAX_SIDE)]
Number = Annotated[float, msgspec.Meta(ge=-LARGEST, le=LARGEST)]


_shortly = Repr()
_shortly.maxlevel, _shortly.maxstring, _shortly.maxlong, _shortly.maxother = 2, 80, 40, 60


def show(value: Any) -> str:
    """A value of a file in a message, whatever it is: of what is long or deep, the beginning."""
    return _shortly.repr(value)


class WrongSize(UserError):
    """Contradicts the size that an image is annotated with, which may be what is wrong."""

    def __init__(self, message: str, image_id: int) -> None:
        super().__init__(message)
        self.image_id = image_id


class Problems:
    """Gathers what is wrong with one file, so that a message can say how many more there are."""

    def __init__(self, where: Any) -> None:
        self.where, self.first, self.count = where, "", 0
        self.image_id: int | None = None

    def add(self, message: str, image_id: int | None = None) -> None:
        """image_id: the image whose size the first problem contradicts."""
        if not self.count:
            self.first, self.image_id = message, image_id
        self.count += 1

    def refuse(self) -> None:
        """Raises UserError if there was any."""
        if self.count:
            more = f" (and {self.count - 1} more such problems)" if self.count > 1 else ""
            message = f"{self.where}: {self.first}{more}"
            raise UserError(message) if self.image_id is None else WrongSize(message, self.image_id)


def leaves_root(name: str) -> bool:
    """Whether a file name is absolute or climbs out of its folder."""
    path = PurePosixPath(name)
    return path.is_absolute() or ".." in path.parts


def is_integer(value: Any) -> bool:
    """Whether a value of a file is a whole number, which true and false are not."""
    return isinstance(value, int) and not isinstance(value, bool)


def make_whole(records: list, keys: tuple[str, ...]) -> None:
    """Replaces 2.0 by 2: tools that keep tables write whole numbers so."""
    for record in records:
        for key in keys if isinstance(record, dict) else ():
            if isinstance(value := record.get(key), float) and value.is_integer():
                record[key] = int(value)


def unique_ids(records: list, what: str, problems: Problems) -> None:
    """Refuses at once what is not a record with a whole-numbered id of its own."""
    seen = set()
    for record in records:
        if not isinstance(record, dict):
            problems.add(f"{what} {show(record)} is not an object")
        elif "id" not in record:
            problems.add(f"{what} without an id: {show(record)}")
        elif not is_integer(record["id"]) or not 0 <= record["id"] <= MAX_ID:
            problems.add(f"{what} id {show(record['id'])} is not a whole number ≥ 0")
        elif record["id"] in seen:
            problems.add(f"{what} id {record['id']} is there twice")
        else:
            seen.add(record["id"])
    problems.refuse()


def are_numbers(values: Any, count: int) -> bool:
    """Whether a value of a file is a list of so many numbers, none of them absurd."""
    return (
        isinstance(values, list)
        and len(values) == count
        and all(type(v) in (int, float) and -LARGEST < v < LARGEST for v in values)  # which NaN is not
    )


def are_pairs(pairs: Any, low: int, high: int) -> bool:
    """Whether a value of a file is a list of pairs of different whole numbers from `low` to `high`."""

    def is_pair(pair: Any) -> bool:
        if not isinstance(pair, list) or len(pair) != 2:
            return False
        return all(is_integer(k) and low <= k <= high for k in pair) and pair[0] != pair[1]

    return isinstance(pairs, list) and all(map(is_pair, pairs))
