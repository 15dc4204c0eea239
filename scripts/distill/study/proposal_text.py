"""A proposed study as people read it: a configuration with comments, and what is to be said of it."""

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from distill.study import proposal
from distill.study.facts import Facts, plural
from distill.study.proposal import PASSES, SMALL, Sources

OPTIONS = ("merge", "calibrate")
COMMENTS = {
    "model": "The network, and how it is trained; lengths in iterations, sides in pixels.",
    "datasets": "What is learned from, what is to be labelled, and what tells how good a model is.",
    "views": "Shorter sides in pixels: of the usual view, and of those that are merged into labels.",
    "merge": "A box scores by how many views find it, and how surely.",
    "calibrate": "Of rare categories only predictions that are as sure as others become labels.",
    "models": "The student's baseline is the supervised model: trained as long, on labelled images alone.",
}


def words(study: Mapping[str, Any], found: Facts, sources: Sources, device: str) -> list[str]:
    """What is to be said of a proposed study, a line each.

    study: as `config` gives it. found, sources: what it was made from.
    device: cpu or gpu.
    """
    lines = []
    side = study["views"]["plain"][0]["scale"]
    if (pixels := found.sizes[0] * side) < SMALL[device] / 2:
        of_gpu = proposal.training_side(found, "gpu", max(found.aspect, sources.aspect))
        bears = device == "cpu" and of_gpu > side
        hint = "cut the images into tiles" + ", or use a GPU, which bears larger ones" * bears
        if side >= found.side:  # they are shown as large as they are
            hint = "take the images larger"
        lines.append(f"small objects have about {pixels:.2g} pixels in training, too few to be found: {hint}")
    if sources.copies[0]:
        what = "look like images to validate on, or their neighbours in a video: take such copies out"
        lines.append(f"of {plural(sources.copies[1], 'unlabelled image')}, {sources.copies[0]} {what}")
    if found.frames and sources.val is None and (sources.unlabelled or {}).get("kind") == "videos":
        what = "the last fifth of the labelled frames is validated on: give other videos, or --val"
        lines.append(f"if the unlabelled videos are those of the labelled frames, {what}")
    labelled, others = proposal.amounts(found, sources)
    if others < labelled:
        beside = f"only {plural(round(others), 'unlabelled image')} beside {round(labelled)} labelled ones"
        lines.append(f"{beside}: a student can hardly gain; give several times as many, or --hide 0.8")
    if "calibrate" in study:
        lines.append("where objects are few, only predictions that are as sure as others become labels")
    iterations, given = study["model"]["iterations"], sources.unlabelled_images
    return lines + [
        f"{images} of {given} unlabelled images are taken: in {iterations} iterations a student draws about"
        f" {PASSES * images}; for more of them, raise `images` and all `iterations`"
        for entry in study["datasets"].values()
        if entry.get("of") == "pool" and (images := entry.get("images"))
    ]


def text(study: Mapping[str, Any], seen: Sequence[str]) -> str:
    """The configuration as YAML, with comments. seen: lines for its beginning."""
    lines = [f"# {line}" for line in seen]
    for key, value in study.items():
        lines += ["", f"# {COMMENTS[key]}"] if key in COMMENTS else []
        if isinstance(value, dict) and key not in ("model", *OPTIONS):
            lines.append(f"{key}:")
            lines += [f"  {flow({name: item})}" for name, item in value.items()]
        else:
            lines.append(flow({key: value}))
    return "\n".join(lines) + "\n"


def flow(entry: Mapping[str, Any]) -> str:
    """A key and its value as a line of YAML, with the value in braces or brackets."""
    whole = yaml.safe_dump(entry, default_flow_style=True, sort_keys=False, width=10**6, allow_unicode=True)
    return whole.strip()[1:-1]
