"""The protocol of a kind of network."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal

from mmdet.models.detectors import BaseDetector
from mmengine.config import Config
from mmengine.structures import InstanceData
from torch import Tensor, nn

from distill.datasets.coco import Coco
from distill.models import augment, mixing
from distill.models.data import learned_images
from distill.predictions.crops import Crop
from distill.predictions.heatmap_file import Layout
from distill.program import UserError
from distill.study.limits import NEUTRAL
from distill.study.types import Task

Ability = Literal["refine", "background", "freeze_rpn", "weigh", "heatmaps", "crops"]
ASKED: dict[str, Ability] = {  # by options of a model that are not neutral
    "background": "background",
    "freeze_rpn": "freeze_rpn",
    "weight": "weigh",
    "regress": "weigh",
}


class Kind(ABC):
    """What is asked of one kind of network.

    task: what it predicts.
    can: what only some can. refine: score given boxes; background: leave it out of a generated image's loss;
        freeze_rpn: leave the region proposals as they are; weigh: instances in the loss; heatmaps: of
        keypoints in given boxes; crops: these are in frames of their own, so that `maps` takes the place of
        `heatmaps`.
    half: what is computed in bfloat16 where that is asked for: the whole network, but for its last layers in
        predictions; or what makes the features alone, so that heads are in float32.
    ours: whether its heads are written here, so that an exception in its training is a mistake of ours.
    """

    task: ClassVar[Task] = "boxes"
    can: ClassVar[frozenset[Ability]] = frozenset()
    half: ClassVar[Literal["network", "features"]] = "features"
    ours: ClassVar[bool] = False

    # --- its config ---

    @abstractmethod
    def settle(self, cfg: Config, categories: list[dict], source: str) -> None:
        """Makes the config one of a network for these categories that needs no download, in place.

        source: names the dataset in errors. Raises UserError where the network cannot learn such a dataset.
        """

    @abstractmethod
    def optimization(self, cfg: Config, spec: Mapping[str, Any], source: str) -> dict[str, Any]:
        """mmengine's `optim_wrapper` without its type, with the learning rate for the model's batch.

        spec: the model's options. source: names the config in errors.
        """

    def hooks(self, cfg: Config, iterations: int, source: str) -> list[dict[str, Any]]:
        """The hooks that the network itself needs in a training of so many iterations; all else that the
        config says about training goes. source: names the config in errors."""
        return []

    def check(self, spec: Mapping[str, Any], name: str) -> None:
        """Raises UserError for an option of a model that asks what such a network cannot do."""
        for option, usual in NEUTRAL.items():
            if spec[option] != usual and ASKED[option] not in self.can:
                raise UserError(f"model {name}: {option} is for the R-CNNs of config/models alone")

    # --- its network ---

    def arrange(self, network: BaseDetector) -> None:
        """Prepares a network whose tensors lie with their channels last."""
        return

    # --- its training ---

    def samples(
        self, cfg: Config, spec: Mapping[str, Any], strengths: str | dict[str, float], coco: Coco, name: str
    ) -> dict[str, Any]:
        """Config of a dataset of training samples, without its file; images with their instances.

        spec: the model's options.
        strengths: of `augment`, for this kind of images.
        coco: the labelled dataset.
        name: of the model.
        """
        keypoints, flip_indices = self.keypoints(cfg, coco)
        scales = [(spec["max_side"], side) for side in spec["scales"]]
        pipeline = [
            dict(type="LoadImage"),
            dict(type="LoadInstances", keypoints=keypoints),
            dict(type="RandomChoiceResize", scales=scales, resize_type="ResizeInstances", keep_ratio=True),
            dict(type="FlipInstances", prob=0.5, flip_indices=flip_indices),
            *mixing.pipeline(strengths),
            *augment.pipeline(strengths),
            dict(type="PackInstances"),
        ]
        # Without the categories' names: mmengine writes the config, and others run what it writes.
        metainfo = {} if flip_indices is None else {"flip_indices": flip_indices}
        return dict(type="CocoJson", pipeline=pipeline, metainfo=metainfo, posed=self.posed(spec))

    def learned(self, coco: Coco, spec: Mapping[str, Any]) -> int:
        """How many samples of a dataset are trained on. spec: the model's options."""
        return learned_images(coco, self.posed(spec))

    def posed(self, spec: Mapping[str, Any]) -> bool:
        """Whether images without a visible keypoint are left out of the training."""
        return self.task == "keypoints" and spec["unposed"] == "drop"

    def keypoints(self, cfg: Config, coco: Coco) -> tuple[int, list[int] | None]:
        """How many keypoints an instance has, and what mirroring makes of each."""
        return 0, None

    def freeze_rpn(self, network: BaseDetector) -> None:
        """Leaves the region proposals as they are."""
        raise NotImplementedError

    # --- its predictions ---

    @abstractmethod
    def last_layers(self, network: BaseDetector) -> list[nn.Module]:
        """The layers that give its scores, boxes and heatmaps: their outputs must be finite."""

    def sample_size(self, network: BaseDetector) -> tuple[int, int]:
        """Height and width of an image that the network can be tried on."""
        side = 2 * network.data_preprocessor.pad_size_divisor
        return side, side

    def raw(self, network: BaseDetector, inputs: Tensor) -> Any:
        """All that the network computes of inputs (N, 3, H, W) before anything is chosen by score."""
        return network.extract_feat(inputs)

    def boxes(self, network: BaseDetector, inputs: Tensor, samples: list) -> list[InstanceData]:
        """The boxes (`bboxes`, `scores`, `labels`) of each image, in pixels of the inputs.

        inputs: (N, 3, H, W), preprocessed. samples: mmdet's, of the same images.
        """
        return [sample.pred_instances for sample in network.predict(inputs, samples, rescale=False)]

    def refined(
        self, network: BaseDetector, inputs: Tensor, samples: list, regions: list[Tensor]
    ) -> list[InstanceData]:
        """The boxes and scores, of each category, that the network has for given boxes of each image."""
        raise NotImplementedError

    def both(
        self,
        network: BaseDetector,
        inputs: Tensor,
        samples: list,
        choose: Callable[[list[InstanceData]], list[Tensor]],
    ) -> Tensor:
        """`heatmaps` in the boxes that `choose` makes of `boxes`."""
        return self.heatmaps(network, inputs, choose(self.boxes(network, inputs, samples)))

    def heatmaps(self, network: BaseDetector, inputs: Tensor, regions: list[Tensor]) -> Tensor:
        """Heatmaps (N, K, h, w) of the keypoints in given boxes of each image."""
        raise NotImplementedError

    def crop(self, network: Any) -> Crop:
        """The geometry of the crops that the network sees, and of its heatmaps."""
        raise NotImplementedError

    def layout(self, network: Any) -> Layout:
        """What its heatmaps of crops are, and how keypoints are read off them."""
        raise NotImplementedError

    def maps(self, network: Any, inputs: Tensor) -> tuple[Tensor, ...]:
        """What it says of crops (n, 3, h, w), preprocessed: a heatmap (n, K, H, W), or x and y."""
        raise NotImplementedError
