"""The pages for people: every link leads somewhere, and what the README tells one to write is a study."""

import re
from pathlib import Path

import pytest
import yaml

from distill.study.resolve import resolve
from helpers import ROOT

PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("config/*.md")]


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> set[str]:
    """Of the headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_programs_that_are_called_are_there(page):
    for name in re.findall(r"python ((?:scripts|tests/bench|envs)/\w+\.py)", page.read_text()):
        assert (ROOT / name).is_file(), name


def test_the_study_of_the_readme_can_be_run_with_each_of_its_variants():
    """The first block is a study, the second hides labels."""
    study, hide = (yaml.safe_load(block) for block in blocks(ROOT / "README.md", "yaml"))
    resolved = resolve(study, ROOT)
    assert resolved["models"].keys() == {"teacher", "supervised", "student"}
    usual = resolve({key: study[key] for key in study if key != "models"}, ROOT)
    assert usual["models"].keys() == {"teacher", "student"}
    hidden = resolve({**study, "datasets": {"val": study["datasets"]["val"], **hide}}, ROOT)
    assert hidden["datasets"]["unlabelled"]["strip_annotations"]
    for config, length in (("keypoint_rcnn_lite", 500), ("faster_rcnn_r50_fpn", "auto")):
        models = {name: {**model, "iterations": length} for name, model in study["models"].items()}
        model = {**study["model"], "config": config}
        assert resolve({**study, "model": model, "models": models}, ROOT)["models"]["student"]["labels"]


def test_blocks_of_other_pages_are_parts_of_a_study():
    study = yaml.safe_load(blocks(ROOT / "README.md", "yaml")[0])
    imported, corrected = (
        yaml.safe_load(blocks(ROOT / "docs" / page, "yaml")[0]) for page in ("studies.md", "exchange.md")
    )
    assert resolve({**study, **imported}, ROOT)["models"]["teacher"]["import"]["format"] == "torchvision"
    datasets = study["datasets"] | corrected["datasets"]
    models = study["models"] | {"student": study["models"]["student"] | corrected["models"]["student"]}
    assert resolve({**study, "datasets": datasets, "models": models}, ROOT)["models"]["student"]


def test_a_second_round_is_a_study():
    study = yaml.safe_load(blocks(ROOT / "README.md", "yaml")[0])
    again = yaml.safe_load(blocks(ROOT / "docs/from-images-to-student.md", "yaml")[0])
    datasets = study["datasets"] | again["datasets"]
    assert datasets["before"] == study["datasets"]["unlabelled"]
    assert again["model"].items() > {"config": study["model"]["config"]}.items()
    resolved = resolve({**study, "datasets": datasets, "model": {**study["model"], **again["model"]}}, ROOT)
    assert resolved["models"]["teacher"]["labelled"] == "labelled+corrected"
    assert resolved["datasets"]["labelled+corrected"]["of"] == ["labelled", "corrected"]
    assert resolved["datasets"]["corrected"]["annotations"] == "/path/to/seen.json"  # not below `data`
