"""Which rows of a network's tensors stand for a category, or for a keypoint: to keep them by name.

They are those that there are more of in a network of one more: found so, they are known for any head. How
they lie is mmdet's convention: a softmax has the background last, YOLOv3 an anchor's box before its scores.
"""

from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from torch import Tensor

from distill.models import model as models
from distill.program import UserError

Shapes = Mapping[str, torch.Size]
BOXES = ("reg", "bbox")  # in the names of layers that have the numbers of a box for each category


@dataclass(frozen=True)
class Rows:
    """How names lie along one axis of a tensor.

    axis: which. each: rows of a name: its anchors, or the numbers of its box. others: rows beside the names',
    for each of `each`. together: the rows of a name lie together; else it has one in each group of all names.
    """

    axis: int
    each: int
    others: int
    together: bool

    def count(self, size: int) -> int | None:
        """How many names an axis of this length has, if it fits."""
        names, rest = divmod(size, self.each)
        return None if rest or names <= self.others else names - self.others

    def of_names(self, count: int) -> Tensor:
        """Where the rows of each of `count` names are: (count, each)."""
        name, number = torch.arange(count)[:, None], torch.arange(self.each)
        if self.together:
            return name * self.each + number
        first = self.others if self.others > 1 and self.each > 1 else 0  # of an anchor, its box is first
        return number * (count + self.others) + first + name

    def of_others(self, count: int) -> Tensor:
        """Where the other rows are, of a tensor of `count` names."""
        free = torch.ones(self.each * (count + self.others), dtype=torch.bool)
        free[self.of_names(count).flatten()] = False
        return torch.nonzero(free)[:, 0]


def of_network(cfg: Config) -> tuple[dict[str, Rows], dict[str, Rows]]:
    """The tensors of a config's network with rows of categories, and those with rows of keypoints.

    cfg: as it is read, not yet one of a dataset.
    """
    few, more, longer = (shapes(of_size(cfg, *size)) for size in ((2, 2), (3, 2), (2, 3)))
    return find(few, more), find(few, longer)


def of_size(cfg: Config, categories: int, keypoints: int) -> Config:
    """The config of a network of so many categories, and keypoints if it has any."""
    names = [str(number) for number in range(max(categories, keypoints))]
    copy = deepcopy(cfg)
    stand_ins = [{"name": name, "keypoints": names[:keypoints]} for name in names[:categories]]
    models.fit_to_dataset(copy, stand_ins, "the network")
    return copy


def shapes(cfg: Config) -> dict[str, torch.Size]:
    """Name and shape of every tensor of the config's network."""
    try:
        with torch.device("meta"):  # without values, which take their time
            network = models.build(cfg)
    except (RuntimeError, NotImplementedError):  # some compute what they are made of
        with torch.random.fork_rng(devices=[]):
            network = models.build(cfg)
    return {key: value.shape for key, value in network.state_dict().items()}


def find(few: Shapes, more: Shapes) -> dict[str, Rows]:
    """The tensors that differ between networks of two names and of three."""
    found = {}
    for tensor, shape in few.items():
        differ = [axis for axis, (a, b) in enumerate(zip(shape, more[tensor], strict=True)) if a != b]
        for axis in differ[:1]:
            each = more[tensor][axis] - shape[axis]
            layer = tensor.rpartition(".")[0].rpartition(".")[2]
            boxes = each > 1 and any(word in layer for word in BOXES)
            found[tensor] = Rows(axis, each, shape[axis] // each - 2, boxes)
    return found


def name_count(state: Mapping[str, Tensor], rows: Mapping[str, Rows]) -> int | None:
    """How many names the tensors `state` of a network are of; None where there are none, or they disagree."""
    present = ((value.shape, rows[tensor]) for tensor, value in state.items() if tensor in rows)
    counts = {row.count(shape[row.axis]) for shape, row in present if row.axis < len(shape)}
    return counts.pop() if len(counts) == 1 else None


def taken(
    value: Tensor, own: Tensor, rows: Rows, counts: tuple[int, int], pairs: Iterable[tuple[int, int]]
) -> Tensor | None:
    """The tensor `own` with the rows of another network's in it, of the names that both have.

    counts: names of `value` and of `own`. pairs: where a name is there, and here. Other rows, as the
    background's, are those of `value`.

    None where they are not of one layer.
    """
    theirs, mine = (tensor.transpose(0, rows.axis) for tensor in (value, own))
    if theirs.shape[1:] != mine.shape[1:] or rows.count(len(theirs)) != counts[0]:
        return None
    result = mine.clone()
    result[rows.of_others(counts[1])] = theirs[rows.of_others(counts[0])].to(mine)
    there, here = rows.of_names(counts[0]), rows.of_names(counts[1])
    for before, after in pairs:
        result[here[after]] = theirs[there[before]].to(mine)
    return result.transpose(0, rows.axis)


def categories_of(meta: Mapping[str, Any], folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Where each category of a model is among those of its network, and the other way round (else −1): an
    imported network keeps its own, whose names are `rows` of the meta. folder: of the model, for messages."""
    names = [category["name"] for category in meta["categories"]]
    if (rows := meta.get("rows")) is None:
        return np.arange(len(names)), np.arange(len(names))
    if not isinstance(rows, list) or not set(names) <= set(map(str, rows)):
        raise UserError(f"{folder}: model.pth lacks the names of what its network predicts; import it again")
    columns = [names.index(row) if row in names else -1 for row in rows]
    return np.array([rows.index(name) for name in names]), np.array(columns)
