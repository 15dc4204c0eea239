"""config.py of a model folder: the network's config as a file of plain values, which is never run.

It is Python for people and for mmdet's own tools. mmengine runs such a file, after it has put values of the
environment in the place of `{{$NAME:default}}` in its text; here it is parsed as data, whoever wrote it.
"""

import ast
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mmengine.config import Config

from distill.files import write_text
from distill.program import UserError

# A name that is registered. Others would be imported, or evaluated: `subprocess.Popen`, mmcv's `nms`.
_TYPE = re.compile(r"((mmdet|mmpose|mmpretrain)\.)?[A-Za-z_]\w*")
_SCOPES = ("mmdet", "mmpose", "mmpretrain")
# Registered, and they evaluate, run or unpickle what they are given: an expression, a config, a checkpoint.
RUNNING = {
    "AppearanceFreeLink", "BertModel", "CameraMotionCompensation", "Detectron2Wrapper", "DWPoseDistiller",
    "KnowledgeDistillationSingleStageDetector", "LAD", "OKSLoss", "PoseOKS",
}  # fmt: skip


def write(path: Path, cfg: Config) -> None:
    """Writes a config such that mmengine, which runs it, finds nothing in its text to substitute."""
    text = Config(cfg.to_dict()).pretty_text
    write_text(path, text.replace("{{", r"{\x7b"))  # two braces are next to each other in strings only


def read(path: Path) -> Config:
    """Reads a model folder's config. Raises UserError where it is anything but a network's plain values."""
    try:
        values = dict(map(_assigned, ast.parse(path.read_text(encoding="utf-8")).body))
        cfg = Config(values)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (SyntaxError, ValueError, TypeError, KeyError, RecursionError, MemoryError) as error:
        why = str(error).partition("\n")[0]
        raise UserError(f"{path}: a model's config is plain values and is not run ({why})") from None
    if not isinstance(values.get("model"), dict):
        raise UserError(f"{path}: has no `model`; it is not the config of a network")
    check_types(values["model"], path)
    return cfg


def _assigned(statement: ast.stmt) -> tuple[str, Any]:
    """Name and value of `name = value`. Raises ValueError where the value is more than a literal."""
    match statement:
        case ast.Assign(targets=[ast.Name(id=name)], value=value):
            return name, ast.literal_eval(_Displays().visit(value))
    raise ValueError(f"line {statement.lineno} assigns nothing")


class _Displays(ast.NodeTransformer):
    """dict(a=1) and dict({"a": 1}), as mmengine writes dictionaries, become {"a": 1}."""

    def visit_Call(self, call: ast.Call) -> ast.AST:
        self.generic_visit(call)
        match call:
            case ast.Call(func=ast.Name(id="dict"), args=[ast.Dict() as inner], keywords=[]):
                return inner
            case ast.Call(func=ast.Name(id="dict"), args=[], keywords=items) if all(i.arg for i in items):
                return ast.Dict([ast.Constant(i.arg) for i in items], [i.value for i in items])
        raise ValueError(f"line {call.lineno} calls something")


def check_types(value: Any, path: Path | str) -> None:
    """Refuses what would be imported, evaluated or read from other files where a network is built."""
    if isinstance(value, dict):
        for key, item in value.items():
            name = isinstance(item, str)
            if key == "type" and name:
                # A module of the name, say in the folder of the call, would be imported.
                if not _TYPE.fullmatch(item) or ("." not in item and find_spec(item)):
                    raise UserError(f"{path}: type {item!r} is not the name of a part of a network")
                if item.rpartition(".")[2] in RUNNING:
                    raise UserError(f"{path}: type {item!r} would run or load what its arguments name")
            if key == "_scope_" and name and item not in _SCOPES:
                raise UserError(f"{path}: _scope_ {item!r} is none of {', '.join(_SCOPES)}")
            if str(key).startswith("teacher_"):  # of mmdet's distillation: a config that it would run
                raise UserError(f"{path}: {key!r} names another model; a model's config describes its own")
            check_types(item, path)
    elif isinstance(value, (list, tuple)):
        for item in value:
            check_types(item, path)
