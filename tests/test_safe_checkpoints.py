"""Files of networks are read and nothing in them is run: checkpoints, configs of model folders, settings."""

import ast
import json
import pickle
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.logging import MessageHub

from distill.files import read_json
from distill.models import config_file, settings
from distill.models import model as models
from distill.models.prediction import predict_boxes
from distill.models.published.array_pickle import read_arrays
from distill.models.published.formats import FORMATS
from distill.models.training import train
from distill.models.training_job import full_config
from distill.models.weights import read_weights
from distill.predictions.views import View
from distill.program import UserError
from helpers import ROOT
from helpers.checkpoints import published
from helpers.networks import training_job


@pytest.mark.parametrize("protocol", [2, 5])
def test_a_pickle_of_arrays_is_read(tmp_path, protocol):
    arrays = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.zeros((), np.int64)}
    found = read_arrays(published(tmp_path / "x.pkl", arrays, protocol))
    assert found.keys() == arrays.keys()
    assert all(np.array_equal(found[key], arrays[key]) for key in arrays)


class Evil:
    def __reduce__(self):
        return (exec, ("raise SystemExit",))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"model": {"a": Evil()}}, r"it holds builtins\.exec; only arrays are read"),
        ({"model": {"a": np.array([Evil()])}}, r"it holds builtins\.exec"),
        ({"model": {"a": np.array(["text"])}}, "'a' is not an array of numbers"),
        ({"blobs": {}}, "has no 'model'"),
        ([1], "has no 'model'"),
    ],
)
def test_a_pickle_of_anything_else_is_refused(tmp_path, content, message):
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(content))
    with pytest.raises(UserError, match=message) as error:
        read_arrays(tmp_path / "x.pkl")
    assert "\n" not in str(error.value)


def test_a_damaged_pickle_is_refused(tmp_path):
    path = published(tmp_path / "x.pkl", {"a": np.zeros(99)})
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(UserError, match="not a pickle of arrays"):
        read_arrays(path)


@pytest.mark.parametrize("zipped", [True, False])
def test_of_mmengines_own_checkpoint_the_tensors_are_read_and_nothing_is_run(tmp_path, zipped):
    class Trap:
        def __reduce__(self):
            return Path.touch, (tmp_path / "run",)

    hub = MessageHub("a training")
    hub.update_scalar("loss", 1.5)  # a HistoryBuffer, which refers to its own methods
    state = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2)).half().state_dict()
    content = {"meta": {"dataset_meta": {"classes": ("a", "b")}}, "state_dict": state}
    content |= {"message_hub": hub.state_dict(), "trap": Trap()}
    torch.save(content, tmp_path / "epoch_1.pth", _use_new_zipfile_serialization=zipped)
    found = read_weights(tmp_path / "epoch_1.pth")
    assert not (tmp_path / "run").exists()
    assert found["meta"] == content["meta"]
    assert found["state_dict"].keys() == state.keys()
    assert all(torch.equal(found["state_dict"][name], tensor) for name, tensor in state.items())


# mmengine puts what stands after the colon into the text of a config before it runs it.
RUN = '{{$NO_SUCH:x|\\\'+str(open("run","w")),#}}'


def test_mmengine_runs_the_name_that_these_tests_plant(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("config.py").write_text(Config({"classes": [RUN]}).pretty_text)
    Config.fromfile("config.py")
    assert Path("run").exists()


def test_the_name_of_a_category_is_never_run(tmp_path, monkeypatch, arrows):
    """Not by a training, its resumption, a prediction, nor by mmdet's tools with what is written."""
    monkeypatch.chdir(tmp_path)
    coco = read_json(arrows)
    coco["categories"][0]["name"] = RUN
    Path("hostile.json").write_text(json.dumps(coco))
    job = training_job(tmp_path, "keypoint_rcnn_tiny", Path("hostile.json"), iterations=2, checkpoint_every=1)
    train(job)
    first = job.work / "iter_1.pth"
    checkpoint = torch.load(job.work / "iter_2.pth", weights_only=True)
    checkpoint["meta"] |= {"iter": 1, "config": "open('run', 'w')"}
    (job.work / "iter_2.pth").unlink()
    torch.save(checkpoint, first)
    train(job)  # resumed
    assert read_json(job.output / "run.json")["resumes"] == 1
    predict_boxes(job.output, Path("hostile.json"), View(96), (0, 1), tmp_path / "boxes.json", device="cpu")
    for written in (job.output / "config.py", *job.work.glob("*.py")):
        assert Config.fromfile(written).model == config_file.read(written).model
    assert models.load(job.output, torch.device("cpu"))[1]["categories"][0]["name"] == RUN
    assert not Path("run").exists()


def test_a_config_is_written_for_mmengine_and_read_without_it(tmp_path):
    values = {"model": {"a": [1, (2,), -0.5], "b": {"a b": None}, "c": [{"d": {"1": "{{{$X:y}}"}}]}, "n": RUN}
    config_file.write(tmp_path / "config.py", Config(values))
    for cfg in (config_file.read(tmp_path / "config.py"), Config.fromfile(tmp_path / "config.py")):
        assert cfg.to_dict() == values
    # As it was written once:
    (tmp_path / "config.py").write_text(Config(values).pretty_text)
    assert config_file.read(tmp_path / "config.py").to_dict() == values


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import os", "line 1 assigns nothing"),
        ("model = {}\nmodel['a'] = open('run', 'w')", "line 2 assigns nothing"),
        ("model = dict(a=open('run', 'w'))", "line 1 calls something"),
        ("model = dict([('a', 1)])", "line 1 calls something"),
        ("model = dict(**{'a': 1})", "line 1 calls something"),
        ("model = dict(a=a)", "malformed node or string on line 1"),
        ("model = " + "[" * 9999, "too many nested"),
        ("model = dict(", "was never closed"),
        ("model = '\0'", "null bytes"),
        ("filename = 1", "reserved"),
        ("modle = dict()", "has no `model`"),
        ("model = dict(a=[dict(type='subprocess.Popen', args='touch run')])", "'subprocess.Popen' is not"),
        ("model = dict(nms=dict(type='open(\"run\", \"w\")'))", "is not the name of a part"),
        ("model = dict(type='antigravity')", "'antigravity' is not the name of a part"),
        ("model = dict(_scope_='antigravity')", "_scope_ 'antigravity'"),
        ("model = dict(type='mmengine.load', file='run.pkl')", "'mmengine.load' is not"),
        ("model = dict(a=dict(teacher_ckpt='run.pth'))", "'teacher_ckpt' names another model"),
        ("model = dict(type='LAD')", "'LAD' would run or load what its arguments name"),
        ("model = dict(a=dict(type='mmpose.OKSLoss', metainfo='run.py'))", "'mmpose.OKSLoss' would run"),
        ("model = dict(type='CameraMotionCompensation', warp_mode='open(\"run\", \"w\")')", "would run"),
    ],
)  # fmt: skip
def test_a_config_of_anything_but_values_is_refused(tmp_path, monkeypatch, text, message):
    monkeypatch.chdir(tmp_path)
    Path("config.py").write_text(text)
    with pytest.raises(UserError, match=message) as error:
        config_file.read(Path("config.py"))
    assert "\n" not in str(error.value)
    assert not Path("run").exists()


# What runs or unpickles an argument, and parts that do it only when initialised, as none received is.
_RUNS = {
    *("exec", "system", "Popen", "import_module", "fromfile", "get_config", "parse_pose_metainfo"),
    *("load", "load_checkpoint", "_load_checkpoint", "load_url", "from_pretrained", "init_detector"),
}  # fmt: skip
_INITIAL = {"DetectoRS_ResNet", "PretrainedInit", "PyramidVisionTransformer", "SwinTransformer"}


def test_all_parts_of_networks_that_run_their_arguments_are_known():
    found = set()
    for package in ("mmdet.models", "mmpose.models", "mmcv.cnn", "mmcv.ops", "mmengine.model"):
        for path in Path(find_spec(package).submodule_search_locations[0]).rglob("*.py"):
            for part in ast.walk(ast.parse(path.read_text())):
                if isinstance(part, ast.ClassDef) and any(map(_registers, part.decorator_list)):
                    calls = (call.func for call in ast.walk(part) if isinstance(call, ast.Call))
                    names = {getattr(func, "id", f".{getattr(func, 'attr', '')}") for func in calls}
                    if "eval" in names or _RUNS & {name.removeprefix(".") for name in names}:
                        found.add(part.name)
    assert found - _INITIAL == config_file.RUNNING


def _registers(decorator):
    return any(r in ast.unparse(decorator) for r in ("MODELS.", "TASK_UTILS.", "INITIALIZERS."))


def test_a_config_of_a_study_is_not_filled_from_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("SOMETHING", "changed")
    (tmp_path / "c.py").write_text("a = '{{$SOMETHING:as it is}} {{ fileBasename }}'")
    assert models.load_config(tmp_path / "c.py").a == "{{$SOMETHING:as it is}} {{ fileBasename }}"


@pytest.mark.parametrize(
    ("planted", "message"),
    [
        ({"backbone": {"type": "subprocess.Popen", "args": "touch run"}}, "settings.backbone"),
        ({"backbone": {"_delete_": True}}, "settings.backbone"),
        ({"rpn_head": {"loss_bbox": {"type": "subprocess.Popen"}}}, "'subprocess.Popen' is not one of"),
        ({"data_preprocessor": {"mean": [float("nan")] * 3}}, "not JSON compliant"),
        ({"data_preprocessor": {"mean": torch.zeros(3)}}, "not JSON serializable"),
        ({"backbone.type": "subprocess.Popen"}, "'backbone.type' was unexpected"),
        (["model"], "is not of type 'object'"),
    ],
)
def test_settings_that_no_import_writes_are_refused(
    tmp_path, monkeypatch, arrows, keypoint_model, planted, message
):
    """They are merged into the network's config, where a `type` may be any name that can be imported."""
    monkeypatch.chdir(tmp_path)
    checkpoint = torch.load(keypoint_model / "model.pth", weights_only=True)
    checkpoint["meta"]["settings"] = planted
    torch.save(checkpoint, "weights.pth")
    job = replace(training_job(tmp_path, "keypoint_rcnn_tiny", arrows), init=Path("weights.pth"))
    with pytest.raises(
        UserError, match=rf"^weights.pth: its meta is not of an imported model .*{message}"
    ) as error:
        full_config(job, 0)
    assert "\n" not in str(error.value)
    assert not Path("run").exists()


@pytest.mark.parametrize("format", FORMATS)
def test_settings_that_imports_write_are_taken(format):
    """Those of mmdet from what its checkpoints say of their config."""
    for config in ("keypoint_rcnn_r50_fpn", "keypoint_rcnn_x101_32x8d_fpn"):
        cfg = models.load_config(ROOT / f"config/models/{config}.py")
        said = {"cfg": "mean=[1.5, 2, 3],\n std=(1.0, 1.0, 1.0,), to_rgb=False, style='caffe'"}
        found = FORMATS[format].settings(cfg, {}, said)
        assert len(found) > 1
        assert settings.checked(json.loads(json.dumps(found)), Path("x.pth")) == found
