"""What comments, docstrings and pages cite is there: files of this repository, and names of its modules."""

import ast
import importlib.util
import io
import os
import re
import tokenize
from pathlib import Path

from helpers import ROOT, SCRIPTS

TEXTS = {".md", ".smk", ".yaml", ".txt", ".toml", ".html", ".css", ".js", ""}  # all of these is read
OURS = {".ci", ".github"}  # of the hidden folders
GENERATED = {"results", "data", "logs", "__pycache__"}  # folders that git ignores
# A path that is no part of an invented one ({model}/config.py, ….yaml); or a name, § and a number.
CITATION = re.compile(
    r"(?<![\w./…{}<>*:+-])((?:[\w.-]+/)*[\w-][\w.+-]*\.(?:md|py|smk|yaml)|[\w.]+ §\s?\d[\d.]*)(?![\w/{])"
)
# What is rightly cited and not here: names that stand for any, artifacts, files of other projects.
ELSEWHERE = {
    "config/mine.yaml",  # the user's study
    "config/models/NAME.py",
    "mine.py",  # the user's model config
    "data.yaml",  # of a dataset of YOLO's, as the next three
    "mine/data.yaml",
    "mine-yolo/data.yaml",
    "yolo11n.yaml",
    "student.py",  # of an exported model
    "pascal_voc.py",  # torchvision's
    "data/utils.py",  # ultralytics'
    "timing.yaml",  # made by scripts/plan.py
    "config.py",  # of a trained model
    "core/test.py",  # Detectron's, as the next two
    "utils/boxes.py",
    "utils/keypoints.py",
    "config/defaults.py",  # detectron2's, as the next three
    "data/datasets/coco.py",
    "configs/Base-Keypoint-RCNN-FPN.yaml",
    "MODEL_ZOO.md",
}
# Configs of the installed packages, by their names: the pages cite them, and they go with a version.
PUBLISHED = {
    path.name
    for package in ("mmdet", "mmpose")
    for path in Path(importlib.util.find_spec(package).origin).parent.glob(".mim/configs/**/*.py")
}
# Not read: the changelog tells of what went; a changed comment in a model config trains its models again.
LEFT = {"CHANGELOG.md", "config/models/faster_rcnn_r50_fpn.py"}
NAME = re.compile(r"`(?:distill\.)?((?:[a-z]\w*\.)+)(\w+)`")  # `module.name`


def prose(code: str) -> str:
    """The comments and docstrings of a Python file."""
    tokens = tokenize.generate_tokens(io.StringIO(code).readline)
    found = [token.string for token in tokens if token.type == tokenize.COMMENT]
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    found += [
        ast.get_docstring(node) or "" for node in ast.walk(ast.parse(code)) if isinstance(node, documented)
    ]
    return "\n".join(found)


def read() -> dict[str, str]:
    """Path → text of every file of the repository that is text; of Python, the comments and docstrings."""
    result = {}
    for folder, inner, names in os.walk(ROOT):
        inner[:] = [name for name in inner if name in OURS or (name not in GENERATED and name[0] != ".")]
        for path in (Path(folder, name) for name in names):
            if path.suffix in TEXTS | {".py"}:
                text = path.read_text(encoding="utf-8", errors="ignore")
                result[path.relative_to(ROOT).as_posix()] = prose(text) if path.suffix == ".py" else text
    return result


SAID = read()


def is_here(cited: str, source: str) -> bool:
    """From the folder of the source, or from any other one: `models/heads.py`, `heads.py`."""
    beside = os.path.normpath(os.path.join(os.path.dirname(source), cited))
    return beside in SAID or any(f"/{name}".endswith(f"/{cited}") for name in SAID)


def missing(text: str, source: str) -> list[str]:
    """The citations of a text that lead nowhere."""
    cited = [name for name in CITATION.findall(text) if not name.startswith("results/")]
    return [name for name in cited if name not in ELSEWHERE | PUBLISHED and not is_here(name, source)]


def defined(path: Path) -> set[str]:
    """The names that a module defines, those in its classes included."""
    found = set()
    body = list(ast.parse(path.read_text()).body)
    for node in body:
        if isinstance(node, ast.ClassDef):
            body += node.body
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)):
            found.add(node.name)
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            found |= {target.id for target in ast.walk(node) if isinstance(target, ast.Name)}
    return found


MODULES = {path.stem: defined(path) for path in SCRIPTS.rglob("*.py")}
PACKAGES = {
    path.parent.name: {p.stem for p in path.parent.iterdir()} for path in SCRIPTS.rglob("__init__.py")
}


def unknown(text: str) -> list[str]:
    """The names `module.name` in a text that the module, or the package, one of ours, does not have."""
    found = []
    for path, name in NAME.findall(text):
        owner = path.split(".")[-2]
        has = MODULES.get(owner, set()) | PACKAGES.get(owner, set())
        if has and name not in has:
            found.append(f"{path}{name}")
    return found


def test_files_that_are_cited_are_there():
    said = {source: text for source, text in SAID.items() if source not in LEFT}
    wrong = {source: found for source, text in said.items() if (found := missing(text, source))}
    assert not wrong, "cite what is in the repository, or the paper; files of other projects: ELSEWHERE"


def test_names_of_modules_that_are_cited_are_there():
    said = {source: text for source, text in SAID.items() if source.startswith("scripts/")}
    assert not {source: found for source, text in said.items() if (found := unknown(text))}


def test_a_dead_citation_is_found():
    for text in (
        "see design.md",
        "(`docs/design.md`)",
        "[it](../design.md)",
        "of\nrules/design.smk.",
        "method §2",
    ):
        assert len(missing(text, "docs/gpu.md")) == 1, text
    for text in (
        "slurm.md",
        "../README.md",
        "models/heads.py",
        "{model}/gone.py",
        "….yaml",
        "results/x/gone.md",
        "retinanet_r18_fpn_1x_coco.py",
    ):
        assert not missing(text, "docs/gpu.md"), text
    assert prose('"""a.md"""\nx = "b.md"  # c.md\ndef f():\n    """d.md"""') == "# c.md\na.md\nd.md"
    assert unknown("`costs.gone`, `distill.labels.gone`") == ["costs.gone", "labels.gone"]
    assert not unknown("`costs.estimate`, `labels.candidates`, `distill.files`, `cfg.model`")


def test_what_is_allowed_to_be_elsewhere_is_cited_and_not_here():
    cited = {name for text in SAID.values() for name in CITATION.findall(text)}
    assert cited >= ELSEWHERE, ELSEWHERE - cited
    assert not [name for name in ELSEWHERE if is_here(name, "README.md")]
