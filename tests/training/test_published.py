"""Weights of others: the right ones are taken up exactly, and nothing in a file is executed."""

import hashlib
import os
import pickle
import sys
from collections import OrderedDict
from types import ModuleType

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from engine.errors import CheckpointError
from engine.nets.densenet import DenseNet121
from training import config, published
from training.classifier import fresh_classifier
from training.config import ClassifierSection
from training.errors import TrainingError

NUM_PATHOLOGIES = 18


class DenseNet(nn.Module):
    """The layout in which TorchXRayVision pickles its networks: features, classes, thresholds."""

    def __init__(self):
        super().__init__()
        parts = OrderedDict(DenseNet121().features.items())
        stem = OrderedDict(conv0=parts.pop("conv0"), norm0=parts.pop("norm0"))
        stem["relu0"], stem["pool0"] = nn.ReLU(), nn.MaxPool2d(3, stride=2, padding=1)
        self.features = nn.Sequential(OrderedDict([*stem.items(), *parts.items()]))
        self.classifier = nn.Linear(1024, NUM_PATHOLOGIES)
        self.register_buffer("op_threshs", torch.rand(NUM_PATHOLOGIES))

    def forward(self, x):
        return F.adaptive_avg_pool2d(F.relu(self.features(x)), 1).flatten(1)


class Bomb:
    """Makes a directory when it is unpickled by the book."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(params=[True, False], ids=["zip", "old container"])
def published_file(request, tmp_path, monkeypatch):
    """A whole pickled network whose class is gone when the file is read."""
    torch.manual_seed(0)
    net = DenseNet()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
    package, stand_in = ModuleType("torchxrayvision"), ModuleType("torchxrayvision.models")
    stand_in.DenseNet, stand_in.__file__ = DenseNet, __file__
    path = tmp_path / "densenet.pt"
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, package.__name__, package)
        patch.setitem(sys.modules, stand_in.__name__, stand_in)
        patch.setattr(DenseNet, "__module__", stand_in.__name__)
        torch.save(net, path, _use_new_zipfile_serialization=request.param)
    return path, net.eval()


def test_a_pickled_densenet_is_taken_up_without_its_class(published_file):
    path, net = published_file
    settings = ClassifierSection(weights=str(path), weights_sha256=sha256(path))
    ours = fresh_classifier(settings).eval()
    films = torch.rand(1, 1, 224, 224) * 2 - 1
    with torch.no_grad():
        torch.testing.assert_close(ours.features(films), net(films * 1024))
    assert "torchxrayvision" not in sys.modules


def test_another_file_than_the_one_stated_is_refused(tmp_path):
    path = tmp_path / "weights.pt"
    torch.save({"a": torch.ones(1)}, path)
    right = sha256(path)
    assert published.read(str(path), right).keys() == {"a"}
    for wrong in ("", "0" * 64):
        with pytest.raises(TrainingError, match=right):
            published.read(str(path), wrong)


@pytest.mark.parametrize("container", ["zip", "old container", "bare pickle"])
def test_nothing_in_a_file_is_executed(container, tmp_path):
    path, crater = tmp_path / "weights.pt", tmp_path / "crater"
    content = {"state_dict": {"a": torch.ones(2)}, "callbacks": Bomb(crater)}
    if container == "bare pickle":
        path.write_bytes(pickle.dumps(Bomb(crater)))
        with pytest.raises(CheckpointError, match=r"no file of torch\.save"):
            published.read(str(path), sha256(path))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=container == "zip")
        found = published.read(str(path), sha256(path))
        assert torch.equal(found["a"], torch.ones(2))
    assert not crater.exists()
    pickle.loads(pickle.dumps(Bomb(crater)))
    assert crater.exists(), "the bomb is none, so the test proves nothing"


def test_a_file_without_tensors_is_refused(tmp_path):
    path = tmp_path / "weights.pt"
    torch.save({"state_dict": {"epoch": 3}}, path)
    with pytest.raises(TrainingError, match="holds no tensors"):
        published.read(str(path), sha256(path))


def test_weights_of_another_network_are_refused_by_name():
    weights = dict(DenseNet121().state_dict())
    weights["features.conv0.weight"] = torch.zeros(64, 3, 7, 7)
    with pytest.raises(CheckpointError, match=r"features\.conv0\.weight"):
        DenseNet121().load_published(weights)
    del weights["features.conv0.weight"]
    with pytest.raises(CheckpointError, match=r"features\.conv0\.weight"):
        DenseNet121().load_published(weights)


def test_a_name_may_point_into_an_installed_package():
    assert published.resolve("json/decoder.py").name == "decoder.py"
    with pytest.raises(TrainingError, match=r"no weights at json/nothing\.pt"):
        published.resolve("json/nothing.pt")


def test_the_demo_recipe_starts_from_the_weights_that_it_names():
    settings = config.load("demo").classifier
    weights = published.read(settings.weights, settings.weights_sha256)
    started = fresh_classifier(settings).backbone.state_dict()
    assert all(torch.equal(started[key], weights[key]) for key in started)
    assert {key for key in weights if key not in started} == {"_fc.weight", "_fc.bias"}
