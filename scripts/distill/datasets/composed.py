"""Datasets made of datasets: the kinds subset and union. No image is opened, copied or moved."""

import hashlib
import os
from pathlib import Path, PurePath, PurePosixPath

from distill.datasets.checks import Problems, make_whole, show, unique_ids
from distill.datasets.image_names import NamedImages, numbered
from distill.program import UserError, log
from distill.strict import as_list, read_json, read_text


def subset(spec: dict, sources: dict, images_dir: Path | None) -> dict:
    """Part of a dataset, with the annotations of that part. First `range` [a, b] keeps the images from
    fraction a to b in their order; then `exclude` takes out images that are, byte for byte, in other
    datasets, and `annotated` those without an annotation; then one of `fraction` (of what remains), `images`
    (a number), `ids` and `fold` (held: the k-th of K parts; rest: the others; [k, K] are `folds`) chooses. A
    key that is not given takes out nothing.

    A random choice ranks images by a hash of (seed, their bytes): it does not depend on their order, and
    with one seed a smaller choice is part of every larger one. Copies of an image are in one part.
    """
    source = _source(sources, spec["of"])
    pool = source["images"]
    if "range" in spec:
        pool = _range(pool, spec["range"])
    for other in as_list(spec["exclude"]):
        hashes = {image["hash"] for image in _source(sources, other)["images"]}
        rest = [image for image in pool if image["hash"] not in hashes]
        if len(rest) == len(pool):
            log.warning("exclude: %s has no image of %s", other, spec["of"])
        pool = rest
    if spec.get("annotated"):
        named = {annotation["image_id"] for annotation in source["annotations"]}
        pool = [image for image in pool if image["id"] in named]
        if not pool:
            raise UserError(f"annotated: no image of {spec['of']} has an annotation")
    ways = [way for way in ("fraction", "images", "ids", "fold") if way in spec]
    if len(ways) > 1:
        raise UserError(f"give one of {' and '.join(ways)}, not both")
    if ways == ["ids"]:
        pool = _listed(pool, spec["ids"], source, spec["of"])
    elif ways == ["fold"]:
        pool = _part(pool, spec)
    elif ways:
        pool = _drawn(pool, spec, spec["seed"])
    kept = {image["id"] for image in pool}
    return {
        "info": {"image_root": source["info"]["image_root"], "numbered": numbered(source)},
        "images": pool,
        "annotations": [a for a in source["annotations"] if a["image_id"] in kept],
        "categories": source["categories"],
    }


def _range(pool: list[dict], bounds: list[float]) -> list[dict]:
    if len(bounds) != 2 or not 0 <= bounds[0] < bounds[1] <= 1:
        raise UserError(f"range {bounds} is not [a, b] with 0 ≤ a < b ≤ 1")
    first, last = (int(bound * len(pool) + 0.5) for bound in bounds)
    return pool[first:last]


def _drawn(pool: list[dict], spec: dict, seed: int) -> list[dict]:
    if "fraction" in spec:
        if not 0 < spec["fraction"] <= 1:
            raise UserError(f"fraction {spec['fraction']} is not above 0 and at most 1")
        count = int(spec["fraction"] * len(pool) + 0.5)
    else:
        count = spec["images"]
    if not 0 < count <= len(pool):
        raise UserError(f"cannot draw {count} of {len(pool)} images of {spec['of']}")
    return sorted(pool, key=lambda image: (_rank(image, seed), image["id"]))[:count]


def _part(pool: list[dict], spec: dict) -> list[dict]:
    """The images of part k of K, which are equal but for one image (and its copies); or all others."""
    part, parts = spec["folds"]
    ranks = sorted({_rank(image, spec["seed"]) for image in pool})
    if len(ranks) < parts:
        raise UserError(f"{len(ranks)} images of {spec['of']} do not make {parts} folds")
    held = set(ranks[part * len(ranks) // parts : (part + 1) * len(ranks) // parts])
    return [image for image in pool if (_rank(image, spec["seed"]) in held) == (spec["fold"] == "held")]


def _rank(image: dict, seed: int) -> bytes:
    return hashlib.blake2b(f"{seed}:{image['hash']}".encode(), digest_size=16).digest()


def _listed(pool: list[dict], ids: str | list, source: dict, of: str) -> list[dict]:
    """Images named in a file (one a line; # begins a comment but in a name) or a list: by file name, by id,
    or by file name without its suffix, in this order of precedence; or the images of a COCO file.
    Unknown ones are refused, and where the ids are of our making, numbers that are one image's id and another
    one's name; excluded ones stay out."""
    problems = Problems(ids if isinstance(ids, str) else "ids")
    if isinstance(ids, str) and ids.endswith(".json"):
        wanted = _of_coco(ids, source, problems)
    elif isinstance(ids, str):
        wanted = read_text(ids).splitlines()
    else:
        wanted = [str(item) for item in ids]
    table: dict[str, dict | None] = {}
    for image in source["images"]:
        stem = PurePosixPath(image["file_name"]).with_suffix("").as_posix()
        table[stem] = None if stem in table else image  # a name that two files share is no name
    by_id = {str(image["id"]): image for image in source["images"]}
    unclear = {k for k, image in by_id.items() if numbered(source) and table.get(k, image) is not image}
    table |= by_id
    table |= {image["file_name"]: image for image in source["images"]}
    kept = set()
    for item in wanted:
        without = item.split("#")[0].strip() if isinstance(ids, str) else item  # its comment
        if without in unclear:
            what = f"is the number of one image of {of} and the name of another"
            problems.add(f"{show(without)} {what}; give names with their endings")
        elif image := table.get(item) or table.get(without):
            kept.add(image["id"])
        elif without:
            problems.add(f"{show(without)} is no image of {of}")
    problems.refuse()
    return [image for image in pool if image["id"] in kept]


def _of_coco(path: str, source: dict, problems: Problems) -> list[str]:
    """The images of a COCO file, by id: the same photograph has another file name in COCO 2014. Where the
    ids of the source, or of some of its images, are of our making, by file name; one of both may have folders
    before it, the file's a prefix where the id is the same, too."""
    named = read_json(path)
    if not isinstance(named, dict) or not isinstance(named.get("images"), list):
        raise UserError(f'{path}: not a COCO annotation file: needs an object with a list "images"')
    make_whole(named["images"], ("id",))
    unique_ids(named["images"], "image", problems)
    if not numbered(source):
        return [str(image["id"]) for image in named["images"]]
    images, of_id = NamedImages(source["images"]), {i["id"]: i["file_name"] for i in source["images"]}
    wanted = []
    for image in named["images"]:
        name, same = str(image.get("file_name")), of_id.get(image["id"])
        fits = [found["file_name"] for found in images.fitting(name)]
        if not fits and same and name.endswith(PurePosixPath(same).name):
            fits = [same]
        if len(fits) > 1:
            problems.add(f"{show(name)} may be {' or '.join(map(show, fits[:2]))}")
        wanted.append(fits[0] if fits else name)
    return wanted


def union(spec: dict, sources: dict, images_dir: Path | None) -> dict:
    """The images of all members. Of an image that is, byte for byte, in several members, the first member's
    stays. Members have to agree on their categories, if any has an object: objects of a category that one of
    them lacks would be taught as background. Their numbers become those of the first member. Where ids of
    images collide, the later member's are shifted. `image_root` is the members' common folder."""
    names = spec["of"]
    members = [_source(sources, name) for name in names]
    if not members:
        raise UserError("a union needs members: of")
    number: dict[str, int] = {}
    if not spec["strip_annotations"] and any(member["annotations"] for member in members):
        for name, member in zip(names[1:], members[1:], strict=True):
            _same_categories(names[0], members[0]["categories"], name, member["categories"])
        number = {category["name"]: category["id"] for category in members[0]["categories"]}
    root, prefixes = _common_root([member["info"]["image_root"] for member in members])
    images: list[dict] = []
    annotations: list[dict] = []
    hashes: set[str] = set()
    for name, member, prefix in zip(names, members, prefixes, strict=True):
        kept = [image for image in member["images"] if image["hash"] not in hashes]
        if copies := len(member["images"]) - len(kept):
            log.info("%d images of %s left out: the same files are in earlier members", copies, name)
        shift = _shift(images, kept)
        ids = {image["id"]: image["id"] + shift for image in kept}
        own = [a for a in member["annotations"] if a["image_id"] in ids]
        ours = {c["id"]: number.get(c["name"], c["id"]) for c in member["categories"]}
        own = [a | {"category_id": ours[a["category_id"]]} for a in own]
        shift = _shift(annotations, own)
        annotations += [a | {"id": a["id"] + shift, "image_id": ids[a["image_id"]]} for a in own]
        for image in kept:
            file_name = PurePosixPath(prefix, image["file_name"]).as_posix()
            images.append(image | {"id": ids[image["id"]], "file_name": file_name})
        hashes |= {image["hash"] for image in kept}
    return {
        "info": {"image_root": root, "numbered": any(map(numbered, members))},
        "images": images,
        "annotations": annotations,
        "categories": members[0]["categories"],
    }


def _shift(before: list[dict], new: list[dict]) -> int:
    """What is added to the new ids: 0, or where some collide, so much that they start after the others."""
    taken = {record["id"] for record in before}
    collide = any(record["id"] in taken for record in new)
    return max(taken) + 1 - min(record["id"] for record in new) if collide else 0


def _same_categories(first: str, one: list[dict], second: str, other: list[dict]) -> None:
    def names(categories: list[dict]) -> str:
        return ", ".join(f"{c['id']} {c['name']}" for c in categories) or "none"

    if sorted(c["name"] for c in one) != sorted(c["name"] for c in other):
        hint = "" if one and other else " (an unlabelled member would count as images without instances)"
        raise UserError(
            f"{first} and {second} have different categories: {names(one)}; {names(other)}{hint}: "
            "make them the same, or set strip_annotations"
        )
    by_name = {c["name"]: c for c in other}
    for a in one:
        b = by_name[a["name"]]
        for key in ("keypoints", "flip_pairs", "sigmas"):
            if a.get(key) != b.get(key):
                raise UserError(f"{first} and {second} disagree on {key} of category {a['name']!r}")


def _common_root(roots: list[str]) -> tuple[str, list[str]]:
    """The innermost folder above all `roots`, and the way from it down to each."""
    if len(set(roots)) == 1:
        return roots[0], [""] * len(roots)
    roots = [os.path.normpath(root) for root in roots]
    if len({os.path.isabs(root) for root in roots}) == 1:
        common = os.path.commonpath(roots) or "."
        ways = [os.path.relpath(root, common) for root in roots]
        if not any(PurePath(way).parts[:1] == ("..",) for way in ways):
            return common, ways
    return _common_root([os.path.abspath(root) for root in roots])


def _source(sources: dict[str, dict], name: str) -> dict:
    if name not in sources:
        raise UserError(f"refers to the dataset {name}, which is not given (--source {name}=path)")
    return sources[name]
