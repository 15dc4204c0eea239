"""Small datasets as other programs have them: of YOLO and of PASCAL VOC."""

from pathlib import Path

import yaml

from helpers.annotated import picture

OBJECT = """<object><name>{name}</name><pose>Left</pose><difficult>{difficult}</difficult><bndbox>
<xmin>{box[0]}</xmin><ymin>{box[1]}</ymin><xmax>{box[2]}</xmax><ymax>{box[3]}</ymax></bndbox></object>"""


def yolo(folder: Path, images: int = 3, **data: object) -> Path:
    """A data.yaml of images of 40x30, train/images/0.png …; each has a hand at x, y, w, h = 4, 6, 20, 12."""
    for i in range(images):
        picture(folder / f"train/images/{i}.png", i)
        label = folder / f"train/labels/{i}.txt"
        label.parent.mkdir(parents=True, exist_ok=True)
        label.write_text("0 0.35 0.4 0.5 0.4" + " 0.25 0.3 2 0.5 0.5 1 0 0 0" * ("kpt_shape" in data) + "\n")
    content = {"path": ".", "train": "train/images", "names": {0: "hand", 1: "cup"}, **data}
    (folder / "data.yaml").write_text(yaml.safe_dump(content))
    return folder / "data.yaml"


def annotation(objects: str, size: tuple[int, int] = (40, 30), name: str = "0.jpg") -> str:
    sized = f"<size><width>{size[0]}</width><height>{size[1]}</height><depth>3</depth></size>"
    return f"<annotation><filename>{name}</filename>{sized}{objects}</annotation>"


def voc(folder: Path, images: int = 3) -> Path:
    """A folder of images of 40x30; in each a hand from pixel 5 to 24 and 7 to 18, in 1 a difficult cup."""
    for i in range(images):
        picture(folder / f"JPEGImages/{i}.jpg", i)
        objects = OBJECT.format(name="hand", difficult=0, box=(5, 7, 24, 18))
        if i == 1:
            objects += OBJECT.format(name="cup", difficult=1, box=(1, 1, 40, 30))
        path = folder / f"Annotations/{i}.xml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(annotation(objects, name=f"{i}.jpg"))
    (folder / "ImageSets/Main").mkdir(parents=True)
    (folder / "ImageSets/Main/train.txt").write_text("0\n2  1\n")
    return folder
