"""Settings of an imported model: where its training differed from our config.

They go with its weights, in the meta of model.pth, into every training that starts from them. What is merged
into a config decides what is built, and a `type` in it may be any name that can be imported: of a file only
what `published` writes is taken.
"""

import json
from pathlib import Path
from typing import Any

import jsonschema

from distill.program import UserError


def _keys(**properties: dict) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "additionalProperties": False}


_NUMBER = {"type": "number"}
_COUNT = {"type": "integer", "minimum": 0}
_FLAG = {"type": "boolean"}
_CHANNELS = {"type": "array", "items": _NUMBER, "minItems": 3, "maxItems": 3}
_LOSS = _keys(type={"enum": ["SmoothL1Loss"]}, beta=_NUMBER)
_POOLING = _keys(roi_layer=_keys(sampling_ratio=_COUNT, aligned=_FLAG))
SCHEMA = _keys(
    data_preprocessor=_keys(mean=_CHANNELS, std=_CHANNELS, bgr_to_rgb=_FLAG),
    backbone=_keys(style={"enum": ["pytorch", "caffe"]}, norm_cfg=_keys(eps=_NUMBER)),
    rpn_head=_keys(
        anchor_generator=_keys(type={"enum": ["TorchvisionAnchorGenerator"]}),
        loss_bbox=_LOSS,
    ),
    roi_head=_keys(
        bbox_roi_extractor=_POOLING,
        keypoint_roi_extractor=_POOLING,
        bbox_head=_keys(loss_bbox=_LOSS),
    ),
    train_cfg=_keys(rpn_proposal=_keys(max_per_img=_COUNT)),
    test_cfg=_keys(rpn=_keys(min_bbox_size=_NUMBER)),
)


def checked(settings: Any, path: Path) -> dict[str, Any]:
    """The settings of a file. Raises UserError where they are not such as an import writes."""
    try:
        json.dumps(settings, allow_nan=False)
        jsonschema.validate(settings, SCHEMA)
    except jsonschema.ValidationError as error:
        where = ".".join(["settings", *map(str, error.absolute_path)])
        why = f"{where}: {error.message.splitlines()[0]:.200}"
    except (TypeError, ValueError, RecursionError) as error:
        why = f"settings: {error}"
    else:
        return settings
    raise UserError(f"{path}: its meta is not of an imported model ({why}); import its checkpoint again")
