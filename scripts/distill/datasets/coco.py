"""What signatures call the content of COCO files. `coco_check` says what is in ours."""

from collections.abc import Mapping
from typing import Any

Coco = Mapping[str, Any]  # a file (info, images, annotations, categories), or one record of these lists
