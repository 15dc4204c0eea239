"""The config of a model: where it is, and what its text says of the network without being run.

`config` is a name in config/models; or ends with .py: a path, or `mmdet::…` for a file that an installed
package ships. mmengine runs it where the model is trained; a study reads its text and that of its bases.
"""

import ast
import os
from collections.abc import Iterator
from difflib import get_close_matches
from functools import cache
from hashlib import blake2b
from importlib.util import find_spec
from pathlib import Path

from distill.program import UserError, cause
from distill.study.paths import in_data
from distill.study.references import known
from distill.study.types import Task

FOLDER = "config/models"
OF_CROPS = "TopdownPoseEstimator"
OF_KEYPOINTS = {"keypoint_head", OF_CROPS}
OUR_ROI_HEAD = "DistillRoIHead"


def is_outside(config: str) -> bool:
    """Whether it is not a name in config/models."""
    return config.endswith(".py")


def placed(config: str, data: str, root: Path, where: str) -> str:
    """A model's `config` with the path of a file from the project's folder on.

    data: the folder that relative paths start from. where: the key of the configuration, for messages.
    Raises UserError where there is no such file.
    """
    if not is_outside(config) and "::" not in config:
        known(config, sorted(path.stem for path in (root / FOLDER).glob("*.py")), where, "model config")
        return config
    if "::" not in config:
        config = in_data(config, data)
    if not os.path.isfile(path_of(config, root)):  # of a name that is too long neither
        near = path_of(config, root)
        close = get_close_matches(near.name, [path.name for path in near.parent.glob("*.py")], n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise UserError(f"{where}: there is no file {config}{hint}")
    return config


def path_of(config: str, root: Path = Path()) -> Path:
    """The file of a placed config. Raises UserError where its package is not installed."""
    if "::" in config:
        package, _, name = config.partition("::")
        found = find_spec(package) if package.isidentifier() else None
        if found is None or found.origin is None or ".." in name:
            raise UserError(f"{config}: the package {package} is not installed")
        return Path(found.origin).parent / ".mim/configs" / name
    return Path(config) if is_outside(config) else root / FOLDER / f"{config}.py"


def files(config: str, root: Path) -> list[str]:
    """The files that a config is made of, itself first, without those of packages. root: the project's
    folder, from which on its own files are named."""
    own = [path for path in _chain(config, root) if "::" not in path]
    return [os.path.relpath(path, root) if Path(path).is_relative_to(root) else path for path in own]


def packaged(config: str, root: Path) -> str | None:
    """A digest of the text that a config from outside has from installed packages, if it has any."""
    paths = [path for path in _chain(config, root) if "::" in path]
    if not paths or not is_outside(config):
        return None
    return blake2b(b"\0".join(path_of(path).read_bytes() for path in paths), digest_size=8).hexdigest()


def task(config: str, root: Path) -> Task:
    """What its network predicts."""
    return "keypoints" if OF_KEYPOINTS & _words(config, root) else "boxes"


def is_topdown(config: str, root: Path) -> bool:
    """Whether it is a pose estimator, which sees crops and needs another model's boxes."""
    return OF_CROPS in _words(config, root)


def is_our_rcnn(config: str, root: Path) -> bool:
    """Whether it is of config/models, or made from one that is."""
    return OUR_ROI_HEAD in _words(config, root)


@cache
def _chain(config: str, root: Path) -> list[str]:
    """The files of a config, itself first, each once; those of packages as `package::file`."""
    found: list[str] = []
    waiting = [config if is_outside(config) else str(root / FOLDER / f"{config}.py")]
    while waiting:
        path = waiting.pop(0)
        if path not in found:
            found.append(path)
            waiting[:0] = _bases(path)
    return found


@cache
def _words(config: str, root: Path) -> frozenset[str]:
    """All names of keys, and all texts, in a config and its bases."""
    nodes = [node for path in _chain(config, root) for node in ast.walk(_parsed(path))]
    words = {node.arg for node in nodes if isinstance(node, ast.keyword) and node.arg}
    return frozenset(
        words | {n.value for n in nodes if isinstance(n, ast.Constant) and isinstance(n.value, str)}
    )


@cache
def _parsed(path: str) -> ast.Module:
    try:
        return ast.parse(path_of(path).read_bytes())
    except OSError as error:
        raise UserError(f"{path}: cannot read the model config ({error.strerror})") from None
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise UserError(f"{path}: is no config of mmengine's ({cause(error)})") from None


def _bases(path: str) -> Iterator[str]:
    """What a config's `_base_` names, from the project's folder on."""
    for line in _parsed(path).body:
        if isinstance(line, ast.With):
            raise UserError(f"{path}: reads its bases by `with read_base()`; name them in `_base_` instead")
        if not (isinstance(line, ast.Assign) and getattr(line.targets[0], "id", "") == "_base_"):
            continue
        try:
            value = ast.literal_eval(line.value)
        except (ValueError, TypeError, RecursionError):
            value = None
        bases = [value] if isinstance(value, str) else value
        if not isinstance(bases, list | tuple) or not all(isinstance(base, str) for base in bases):
            raise UserError(f"{path}: its `_base_` is no text, and no list of texts")
        for base in bases:
            if "::" in base:
                yield base
            elif "::" in path:
                package, _, name = path.partition("::")
                yield f"{package}::{os.path.normpath(os.path.join(os.path.dirname(name), base))}"
            else:
                yield os.path.normpath(os.path.join(os.path.dirname(path), base))
