"""Pose estimators of mmpose, small: configs of a user's own that inherit from its."""

from pathlib import Path

_HEAD = '_base_ = "mmpose::body_2d_keypoint/{base}"\n'
_PIPELINE = """
train_pipeline = [
    dict(type="LoadImage"), dict(type="GetBBoxCenterScale"),
    dict(type="RandomFlip", direction="horizontal"), dict(type="RandomHalfBody"),
    dict(type="RandomBBoxTransform", scale_factor=[0.8, 1.2], rotate_factor=30),
    dict(type="TopdownAffine", input_size=(64, 96), use_udp={udp}),
    dict(type="GenerateTarget", encoder=codec), dict(type="PackPoseInputs"),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
"""
_HRNET = """
codec = dict(type="{codec}", input_size=(64, 96), heatmap_size=(16, 24), sigma=1.5)
stages = {{
    f"stage{{n}}": dict(num_modules=1, num_branches=n, block="BASIC", num_blocks=(1,) * n,
                      num_channels=tuple(8 * 2**i for i in range(n)))
    for n in (2, 3, 4)
}}
stages["stage1"] = dict(num_modules=1, num_branches=1, block="BOTTLENECK", num_blocks=(1,), num_channels=(8,))
model = dict(backbone=dict(extra=stages, init_cfg=None), head=dict(in_channels=8, decoder=codec))
"""
CONFIGS = {
    "hrnet": _HEAD.format(base="topdown_heatmap/coco/td-hm_hrnet-w32_8xb64-210e_coco-256x192.py")
    + _HRNET.format(codec="MSRAHeatmap")
    + _PIPELINE.format(udp=False),
    "udp": _HEAD.format(base="topdown_heatmap/coco/td-hm_hrnet-w32_udp-8xb64-210e_coco-256x192.py")
    + _HRNET.format(codec="UDPHeatmap")
    + _PIPELINE.format(udp=True),
    "rtmpose": _HEAD.format(base="rtmpose/coco/rtmpose-t_8xb256-420e_coco-256x192.py")
    + """
codec = dict(type="SimCCLabel", input_size=(64, 96), sigma=(2.5, 2.9), simcc_split_ratio=2.0, normalize=False)
model = dict(
    backbone=dict(deepen_factor=0.17, widen_factor=0.125, norm_cfg=dict(type="BN"), init_cfg=None),
    head=dict(in_channels=128, input_size=(64, 96), in_featuremap_size=(2, 3), decoder=codec,
              final_layer_kernel_size=3, gau_cfg=dict(hidden_dims=32, s=16)))
"""
    + _PIPELINE.format(udp=False),
    "vitpose": _HEAD.format(base="topdown_heatmap/coco/td-hm_ViTPose-small_8xb64-210e_coco-256x192.py")
    + """
codec = dict(type="UDPHeatmap", input_size=(64, 96), heatmap_size=(16, 24), sigma=1.5)
arch = dict(embed_dims=32, num_layers=2, num_heads=2, feedforward_channels=64)
model = dict(
    backbone=dict(arch=arch, img_size=(96, 64), init_cfg=None), head=dict(in_channels=32, decoder=codec))
"""
    + _PIPELINE.format(udp=True),
    "deeppose": _HEAD.format(base="topdown_regression/coco/td-reg_res50_rle-8xb64-210e_coco-256x192.py"),
}


def config_of(folder: Path, name: str) -> Path:
    """The file of a small estimator, which is written into a folder."""
    path = Path(folder) / f"{name}.py"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(CONFIGS[name])
    return path
