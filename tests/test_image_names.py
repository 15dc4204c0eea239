"""Images by what other programs call them: with other folders before their names, or none, or as URLs."""

import pytest

from distill.program import UserError
from helpers.answers import corrected


def test_an_image_is_the_longest_name_that_its_path_ends_with(labels):
    names = ["x.png", "sub/x.png", "a b/ü#1.png"]
    for image, name in zip(labels["images"], names, strict=False):
        image["file_name"] = name
    paths = ["../files/sub/x.png", "../files/x.png", "ü#1.png"]
    images = [{"id": number, "file_name": path} for number, path in enumerate(paths)]
    result = corrected(labels, [{"images": images, "annotations": [], "categories": []}])
    seen = {image["id"] for image in labels["images"][:3]}
    kept = [a["image_id"] for a in labels["annotations"] if a["image_id"] not in seen]
    assert [a["image_id"] for a in result["annotations"]] == kept
    twice = [{"id": 0, "file_name": "x.png"}, {"id": 1, "file_name": "other/x.png"}]
    with pytest.raises(UserError, match="is there twice; export it with folders"):
        corrected(labels, [{"images": twice, "annotations": [], "categories": []}])


def test_a_name_without_its_folder_may_be_of_several_images(labels):
    names = ["x.png", "sub/x.png", "other/y.png"]
    for image, name in zip(labels["images"], names, strict=False):
        image["file_name"] = name
    top = [{"id": 0, "file_name": "./x.png"}, {"id": 1, "file_name": "y.png"}]
    corrected(labels, [{"images": top, "annotations": [], "categories": []}])
    one = [{"id": 0, "file_name": "x.png"}]  # sub/x.png, as likely
    with pytest.raises(UserError, match="several of the labels' images; export it with folders"):
        corrected(labels, [{"images": one, "annotations": [], "categories": []}])
    names = ["x.png", *(image["file_name"] for image in labels["images"][3:])]
    labels["images"][3]["file_name"] = f"sub/{names[1]}"
    # of a tool that took off all folders
    flat = [{"id": n, "file_name": name} for n, name in enumerate(names)]
    with pytest.raises(UserError, match=r"'x.png' is several of the labels' images"):
        corrected(labels, [{"images": flat, "annotations": [], "categories": []}])


def test_an_image_is_what_its_url_says(labels):
    labels["images"][2]["file_name"] = "a b/ü#1.png"
    url = {"data": {"image": "/data/local-files/?d=a%20b/%C3%BC%231.png"}, "annotations": [{"result": []}]}
    at = labels["images"][2]["id"]
    labels["annotations"][0]["image_id"] = at
    assert at not in {a["image_id"] for a in corrected(labels, [[url]])["annotations"]}
