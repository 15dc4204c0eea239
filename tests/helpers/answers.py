"""Labels of three images, and sound answers to them as other tools export them."""

from distill.labels import corrections

HAND = {"id": 3, "name": "hand", "keypoints": ["tip", "root"], "skeleton": [[1, 2]], "flip_pairs": []}
FACE = {"id": 7, "name": "face"}
LABELS = {
    "info": {"image_root": "images", "kind": "labels"},
    "images": [
        {"id": i, "file_name": f"{i}.png", "width": 200, "height": 100, "hash": "0"} for i in (1, 2, 3)
    ],
    "annotations": [
        {
            "id": 1,
            "image_id": 1,
            "category_id": 3,
            "bbox": [20, 10, 40, 50],
            "area": 2000,
            "iscrowd": 0,
            "score": 0.9,
        }
        | {"keypoints": [30, 20, 2, 50, 50, 2], "num_keypoints": 2, "keypoint_scores": [0.5, 0.6]},
        {
            "id": 2,
            "image_id": 2,
            "category_id": 7,
            "bbox": [0, 0, 100, 100],
            "area": 10000,
            "iscrowd": 0,
            "score": 0.8,
        },
    ],
    "categories": [HAND, FACE],
}
# COCO, as of CVAT: images 1 and 2 are listed, with other ids.
COCO = {
    "images": [{"id": 11, "file_name": "1.png"}, {"id": 12, "file_name": "set/2.png"}],
    "categories": [{"id": 1, "name": "hand", "keypoints": ["tip", "root"]}, {"id": 2, "name": "face"}],
    "annotations": [
        {
            "id": 1,
            "image_id": 11,
            "category_id": 1,
            "bbox": [20, 10, 40, 50],
            "keypoints": [30, 20, 2, 50, 50, 2],
        },
        {"id": 2, "image_id": 12, "category_id": 2, "bbox": [0, 0, 90, 90], "segmentation": []},
    ],
}
# Label Studio: image 1 with a box and its two keypoints, image 2 with a box; image 3 was skipped.
BOX = {
    "id": "b",
    "type": "rectanglelabels",
    "value": {"x": 10, "y": 10, "width": 20, "height": 50, "rotation": 0, "rectanglelabels": ["hand"]},
}
TIP = {
    "id": "p",
    "type": "keypointlabels",
    "parentID": "b",
    "value": {"x": 15, "y": 20, "width": 0.5, "keypointlabels": ["tip"]},
}
ROOT = {
    "id": "q",
    "type": "keypointlabels",
    "parentID": "b",
    "value": {"x": 25, "y": 50, "width": 0.5, "keypointlabels": ["root"]},
}
WHOLE = {
    "id": "c",
    "type": "rectanglelabels",
    "value": {"x": 0, "y": 0, "width": 50, "height": 100, "rectanglelabels": ["face"]},
}
TASKS = [
    {
        "id": 1,
        "data": {"image": "/x/1.png", "file_name": "1.png"},
        "annotations": [{"result": [BOX, TIP, ROOT]}],
    },
    {"id": 2, "data": {"image": "/data/set/2.png"}, "annotations": [{"result": [WHOLE]}]},
    {"id": 3, "data": {"file_name": "3.png"}, "annotations": [{"result": [WHOLE], "was_cancelled": True}]},
]


def corrected(labels: dict, answers: list) -> dict:
    return corrections.corrected(labels, {f"{number}.json": a for number, a in enumerate(answers, 1)})
