"""Files of a model in use: results by shard, so that an interrupted run goes on, and all of them as one."""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgspec

from distill.files import locked, read_json, write_json, write_text
from distill.models.application import Application
from distill.models.predictor import Predictor
from distill.models.provenance import digests
from distill.models.sources import Image, Source
from distill.predictions.coco_results import read_lines
from distill.program import UserError, log

RESULTS = "predictions"  # the last key of a shard
FORMAT = 2  # of the shards: those of another one are made anew
USED = "what "  # so begins the description of what results are about


def predict_files(
    predictor: Predictor,
    source: Source,
    used: Application,
    output: Path,
    each: Callable[[int], None],
    draw: Callable[[list[Image], list[dict]], None] | None = None,
    drawn: str = "",
    finish: Callable[[], None] | None = None,
) -> None:
    """Writes the COCO results of a source to `output`, and beside it (`about`) what they are about, as a
    dataset without annotations.

    each: told how many images are done, since the last time.
    draw: is given the images of a shard and their results.
    drawn: what drawings depend on besides: those of a finished shard are not made again.
    finish: is called when all is written. What fails until it has returned costs no results: they are still
        in the parts.

    Raises UserError where no image can be read, where a file cannot be written for a folder, and for an
    output that is not called .json, or that is there and is not of this program.
    """
    if output.suffix != ".json":  # which no image or video is
        raise UserError(f"{output}: --output names a file of JSON, such as {output.with_suffix('.json')}")
    for path in (output, about(output)):
        if path.is_dir():
            raise UserError(f"{path}: is a folder; --output names a file, such as {path / 'out.json'}")
    there = [path for path in (output, about(output)) if path.exists()]
    if there and not _is_ours(about(output)):
        raise UserError(f"{there[0]}: is there already, and not of this program; choose another --output")
    folder, lock = (output.with_name(f"{output.name}.{what}") for what in ("parts", "lock"))
    with locked(lock, f"is writing {output}", wait=False):
        stamps = _stamps(source)
        _claim(folder, _mark(predictor, source, used, drawn), stamps)
        _write_parts(folder, source, stamps, used, each, draw)
        try:
            _gather(folder, predictor, source, output)
        except UserError:  # what nobody can read may be mended until the next run
            shutil.rmtree(folder)
            raise
        if finish:
            finish()
        shutil.rmtree(folder)
        lock.unlink(missing_ok=True)


def _write_parts(
    folder: Path,
    source: Source,
    stamps: Mapping[int, str],
    used: Application,
    each: Callable[[int], None],
    draw: Callable[[list[Image], list[dict]], None] | None,
) -> None:
    """Predicts the shards that are not in the folder yet. Raises UserError where one is there no more."""
    done = frozenset(int(path.stem) for path in folder.glob("*.json"))
    for shard in sorted(done):
        head = read_lines(_shard(folder, shard), RESULTS)[0]
        each(len(head["images"]) + len(head["unreadable"]))
    if done:
        log.info("goes on after %d parts of %s", len(done), folder)
    written = set(done)
    found: list[tuple[Image, list[dict]]] = []
    lost: list[dict[str, str]] = []
    for part, (pairs, unreadable) in used.results(used.whole.parts(source, used.passes, done)):
        found += pairs
        lost += unreadable
        each(len(pairs) + len(unreadable))
        if part.ends == "shard":
            found.sort(key=lambda pair: pair[0]["id"])
            images = [image for image, _ in found]
            records = [record for _, mine in found for record in mine]
            if draw:
                draw(images, records)
            head = {"stamp": stamps.get(part.shard), "images": images, "unreadable": lost}
            write_json(_shard(folder, part.shard), {**head, RESULTS: records})
            written.add(part.shard)
            found, lost = [], []
    if gone := [shard for shard in sorted(written) if not _shard(folder, shard).exists()]:
        raise UserError(f"{_shard(folder, gone[0])}: is gone; run again to have it made again")


def about(output: Path) -> Path:
    """out.json → out.images.json: which image is which, and the categories; COCO(…).loadRes(out.json)."""
    return output.with_name(f"{output.stem}.images.json")


def _is_ours(path: Path) -> bool:
    """Whether this program has written what a result is about."""
    try:
        said = read_json(path)["info"]["description"]
    except (UserError, KeyError, TypeError):
        return False
    return isinstance(said, str) and said.startswith(USED)


def _shard(folder: Path, number: int) -> Path:
    return folder / f"{number:06d}.json"


def _mark(predictor: Predictor, source: Source, used: Application, drawn: str) -> str:
    """A digest of all that results depend on, but for the images themselves."""
    plan = used.plan
    video = source.root / source.names[0] if source.video else None
    what = {
        "format": (FORMAT, source.length),
        "models": [
            digests({name: one.folder / name for name in ("model.pth", "config.py")})
            for one in (predictor, used.finder)
            if one
        ],
        "images": str((video or source.root).absolute()),
        "video": (video.stat().st_size, video.stat().st_mtime_ns) if video else None,
        "views": [view.name for view in (plan.plain, *plan.views)],
        "options": [asdict(plan.options), plan.fixed_boxes, used.min_score, predictor.amp, drawn],
    }
    return hashlib.sha256(json.dumps(what).encode()).hexdigest()


def _stamps(source: Source) -> dict[int, str]:
    """By shard, a digest of the names, sizes and times of its files; of a video, see `_mark`."""
    stamps = {}
    for shard in range(0 if source.video else -(-len(source.names) // source.length)):
        files = []
        for name in source.shard(shard):
            with suppress(OSError):  # it is gone since it was listed
                status = (source.root / name).stat()
                files.append((name, status.st_size, status.st_mtime_ns))
        stamps[shard] = hashlib.sha256(json.dumps(files).encode()).hexdigest()
    return stamps


def _claim(folder: Path, mark: str, stamps: Mapping[int, str]) -> None:
    """Empties the folder of what another run has left, and of parts of other images than those of now."""
    note, parts = folder / "mark.txt", sorted(folder.glob("*.json"))
    mine = note.is_file() and note.read_text(errors="replace") == mark
    if not mine:
        gone, why = parts, "of another model, video or options"
    else:
        heads = ((path, read_lines(path, RESULTS)[0]) for path in parts)
        gone = [path for path, head in heads if head.get("stamp") != stamps.get(int(path.stem))]
        why = "of other images than there are now"
    if gone:
        log.warning("%s: removed what is %s, files: %d", folder, why, len(gone))
    for path in gone:
        path.unlink()
    if not mine:
        write_text(note, mark)


def _gather(folder: Path, predictor: Predictor, source: Source, output: Path) -> None:
    paths = sorted(folder.glob("*.json"))
    unreadable = [one for path in paths for one in read_lines(path, RESULTS)[0]["unreadable"]]
    names = [category["name"] for category in predictor.meta["categories"]]
    if not any(read_lines(path, RESULTS)[0]["images"] for path in paths):
        first = f"{unreadable[0]['file_name']} {unreadable[0]['reason']}" if unreadable else "it is empty"
        raise UserError(f"{source.root}: no image of it can be read; {first}")
    for one in unreadable:
        log.warning("left out: %(file_name)s, %(reason)s", one)
    info = {
        "description": f"{USED}{predictor.meta['model']} was used on, for {', '.join(names)}",
        "image_root": str(source.root),
        "skipped": unreadable,
    }

    def images() -> Iterator[dict[str, Any]]:
        for path in paths:
            yield from read_lines(path, RESULTS)[0]["images"]

    def records() -> Iterator[msgspec.Raw]:
        for path in paths:
            for block in read_lines(path, RESULTS)[1]:
                yield from map(msgspec.Raw, block.split(b",\n"))

    categories = predictor.meta["categories"]
    write_json(about(output), {"info": info, "images": images(), "annotations": [], "categories": categories})
    write_json(output, records())
