"""What a proposed study makes of annotated images: whether it teaches, and tells, what it is to."""

from dataclasses import replace

from distill.study import parts
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
        labelled, val = parts.parts(specs, {**given, "annotations": [*birds, emu]})
        assert (len(labelled["images"]), len(val["images"])) == (8, 2)
        found = replace(FACTS, images=10, counts={"cat": 10, "emu": 1, "yak": 0})
        first, *more = parts.words(found, labelled, val)
        assert first.startswith("2 images to validate on: AP of so few says little")
        said += more
    assert len(said) == 2
    assert all(line.startswith("no object of emu is left to learn from, and some") for line in said)
