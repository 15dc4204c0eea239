"""What a proposed study makes of annotated images: whether it teaches, and tells, what it is to."""

from dataclasses import replace

import pytest

from distill.datasets.fingerprints import Fingerprint
from distill.program import UserError
from distill.study import facts, parts
from helpers.proposed import FACTS, study


def test_what_the_parts_of_the_labelled_images_lack_is_said():
    """Of ten images two are to validate on: those of the only emu are one of them, or not."""
    images = [{"id": n, "file_name": f"{n}.png", "hash": f"{n:064x}"} for n in range(10)]
    birds = [{"id": n, "image_id": n, "category_id": 1, "iscrowd": 0} for n in range(10)]
    categories = [{"id": 1, "name": "cat"}, {"id": 2, "name": "emu"}, {"id": 3, "name": "yak"}]
    specs, said = study(replace(FACTS, images=10))[0]["datasets"], []
    for image in images:
        emu = {"id": 99, "image_id": image["id"], "category_id": 2, "iscrowd": 0}
        given = {"info": {"image_root": "."}, "images": images, "categories": categories}
        made = parts.parts(specs, {**given, "annotations": [*birds, emu]})
        labelled, val = made["labelled"], made["val"]
        assert (len(labelled["images"]), len(val["images"])) == (8, 2)
        found = replace(FACTS, images=10, counts={"cat": 10, "emu": 1, "yak": 0})
        first, *more = parts.words(found, labelled, val)
        assert first.startswith("2 images to validate on: AP of so few says little")
        said += more
    assert len(said) == 2
    assert all(line.startswith("no object of emu is left to learn from, and some") for line in said)


@pytest.mark.parametrize("hide", [0.0, 0.5])
@pytest.mark.parametrize("frames", [False, True])
def test_copies_are_not_validated_on(frames, hide, caplog):
    """Those of the same file are left out; those of the same pixels are refused, as the run would."""
    images = [
        {"id": n, "file_name": f"{n}.png", "width": 9, "height": 9, "hash": f"{n:064x}"} for n in range(10)
    ]
    birds = [
        {"id": n, "image_id": n, "category_id": 1, "iscrowd": 0, "bbox": [0, 0, 5, 5]} for n in range(10)
    ]
    given = {"images": images, "annotations": birds, "categories": [{"id": 1, "name": "cat"}]}
    given["info"] = {"image_root": "."}

    def made(twins):
        images[7]["hash"] = images[8]["hash"] if twins else f"{7:064x}"
        found = replace(FACTS, images=10, frames=frames, parted=facts.facts_of(given, []).parted)
        return parts.parts(study(found, hide=hide)[0]["datasets"], given)

    def prints(*pixels):
        return [Fingerprint(n, pixels[0] if n in pixels[1:] else f"{n}", f"{1 << n:064x}") for n in range(10)]

    parts.check(made(twins=False), prints())
    assert "exclude: val has no image" not in caplog.text or not frames
    parts.check(made(twins=True), prints("same", 7, 8))
    tested = [image["id"] for image in made(twins=False)["val"]["images"]]
    other = next(n for n in range(10) if n not in tested)
    with pytest.raises(UserError, match=r"of the validation set val is also in .* unseen by `exclude`"):
        parts.check(made(twins=False), prints("same", tested[0], other))
