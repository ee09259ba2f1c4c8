"""Networks by name with weights from a file, and one clear sentence for each mistake."""

import pickle
import re

import pytest
import safetensors.torch
import torch
from torch import nn

from rnc import ParameterError, networks
from rnc.models import features

SOURCE = """
from torch import nn


class Net(nn.Module):
    def __init__(self, classes=10, *, width=4):
        super().__init__()
        self.conv = nn.Conv2d(3, width, 3)
        self.bn = nn.BatchNorm2d(width)
        self.head = nn.ModuleDict({"fc": nn.Linear(width, classes)})

    def forward(self, x):
        return self.head["fc"](self.bn(self.conv(x)).relu().mean((2, 3)))


def broken():
    raise RuntimeError("no such width")


number = 3
words = dict
"""


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "net.py"
    path.write_text(SOURCE)
    return str(path)


@pytest.fixture
def weights(source):
    torch.manual_seed(3)
    return networks.load(f"{source}:Net").state_dict()


def test_a_network_of_a_module_or_a_file_is_made_with_its_arguments(source):
    made = networks.load("torchvision.models:resnet18(num_classes=7)")
    assert made.fc.out_features == 7
    assert not made.training
    assert networks.load(f"{source}:Net(5, width=6)").head["fc"].weight.shape == (5, 6)


@pytest.mark.parametrize("prefix", ["", "module.", "module.model."])
@pytest.mark.parametrize("within", [None, "state_dict", "model"])
def test_weights_are_found_within_checkpoints_and_under_prefixes(
    source, weights, tmp_path, prefix, within
):
    named = {prefix + name: tensor for name, tensor in weights.items()}
    torch.save(named if within is None else {within: named, "epoch": 3}, tmp_path / "w.pt")
    loaded = networks.load(f"{source}:Net", tmp_path / "w.pt").state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in weights.items())


def test_weights_may_be_safetensors(source, weights, tmp_path):
    safetensors.torch.save_file(weights, tmp_path / "w.safetensors")
    loaded = networks.load(f"{source}:Net", tmp_path / "w.safetensors").state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in weights.items())


def test_a_counter_of_batches_is_not_missed(source, weights, tmp_path):
    del weights["bn.num_batches_tracked"]  # as files from before PyTorch 0.4.1 have none
    torch.save(weights, tmp_path / "w.pt")
    networks.load(f"{source}:Net", tmp_path / "w.pt")


def test_normalisation_is_before_the_network_and_changes_no_name(source, weights, tmp_path):
    torch.save(weights, tmp_path / "w.pt")
    plain = networks.load(f"{source}:Net", tmp_path / "w.pt")
    normalised = networks.load(f"{source}:Net", tmp_path / "w.pt", "0.5,0.4,0.3", [0.2, 0.3, 0.4])
    x = torch.rand(4, 3, 8, 8)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in ([0.5, 0.4, 0.3], [0.2, 0.3, 0.4]))
    assert torch.allclose(normalised(x), plain((x - mean) / std), atol=1e-6)
    assert dict(normalised.named_modules()).keys() == dict(plain.named_modules()).keys()
    features(normalised, x, ["bn"])


@pytest.mark.parametrize(
    ("network", "message"),
    [
        ("resnet18", "network must be MODULE:NAME or FILE.py:NAME, .*; got 'resnet18'"),
        (None, "network must be MODULE:NAME .*; got None"),
        ("torchvison.models:resnet18", "there is no module 'torchvison'"),
        ("nothing.py:Net", "there is no file nothing.py"),
        ("FILE:Nett", "makes nothing named 'Nett'"),
        ("FILE:number", "makes nothing named 'number'"),
        ("FILE:words", "must make a torch.nn.Module; .* made dict"),
        ("FILE:Net(width=open('x'))", "must have numbers, words or lists in its brackets"),
        ("FILE:Net(depth=3)", r"could not be made: TypeError \(.*depth"),
        ("FILE:broken", r"could not be made: RuntimeError \(no such width\)"),
    ],
)
def test_a_mistake_in_the_name_is_said(source, network, message):
    with pytest.raises(ParameterError, match=message):
        networks.load(network and network.replace("FILE", source))


def test_code_of_the_readers_own_that_fails_is_named(tmp_path):
    (tmp_path / "bad.py").write_text("1 / 0")
    with pytest.raises(ParameterError, match=r"ends with ZeroDivisionError \(division by zero\)"):
        networks.load(f"{tmp_path / 'bad.py'}:Net")


def changed(weights: dict, **changes) -> dict:
    return {n: t for n, t in (weights | changes).items() if t is not None}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"conv.bias": None}, "do not fit .*: they lack conv.bias$"),
        ({"extra": torch.zeros(1)}, "the network has no extra$"),
        (
            {"head.fc.weight": torch.zeros(100, 4)},
            r"of another shape is head.fc.weight \(100 x 4 there, 10 x 4 here\)",
        ),
        ({f"e{i}": torch.zeros(1) for i in range(5)}, "the network has no e0, e1, e2 and 2 more"),
    ],
)
def test_weights_that_do_not_fit_are_named(source, weights, tmp_path, changes, message):
    torch.save(changed(weights, **changes), tmp_path / "w.pt")
    with pytest.raises(ParameterError, match=message):
        networks.load(f"{source}:Net", tmp_path / "w.pt")


class Code:
    def __reduce__(self):
        return (print, ("this was run",))


def test_a_file_of_weights_is_read_and_not_run(source, weights, tmp_path, capsys):
    path = tmp_path / "w.pt"
    path.write_bytes(pickle.dumps(Code(), protocol=2))
    for write, message in (
        (lambda: None, "must hold tensors alone"),
        (lambda: torch.save(nn.Linear(2, 2), path), "must hold tensors alone"),
        (lambda: torch.save({"epoch": 3, "loss": 0.1}, path), "holds epoch, loss"),
        (lambda: torch.save([1, 2], path), "holds list"),
        (lambda: path.write_bytes(b""), "damaged"),
        (path.unlink, "w.pt cannot .No such file"),
    ):
        write()
        with pytest.raises(ParameterError, match=message):
            networks.load(f"{source}:Net", path)
    assert "this was run" not in capsys.readouterr().out
    (tmp_path / "w.safetensors").write_bytes(b"no")
    with pytest.raises(ParameterError, match="damaged"):
        networks.load(f"{source}:Net", tmp_path / "w.safetensors")


@pytest.mark.parametrize(
    ("mean", "std", "message"),
    [
        ("0.5", None, "mean and std must be given together; got '0.5' and None"),
        ("a,b", "1", "mean must be numbers for each channel .*; got 'a,b'"),
        ("0.5", "0,1", "std must be more than 0; got '0,1'"),
    ],
)
def test_a_mistake_in_the_normalisation_is_said(source, mean, std, message):
    with pytest.raises(ParameterError, match=message):
        networks.load(f"{source}:Net", mean=mean, std=std)


def test_the_classifier_and_the_layers_before_it_are_found(source):
    x = torch.rand(2, 3, 32, 32)
    own = networks.load(f"{source}:Net")
    assert networks.classifier_of(own, x) == "head.fc"
    assert networks.layers_before(own, x, "head.fc") == ["conv", "bn"]
    vgg = networks.load("torchvision.models:vgg11_bn(num_classes=10)")
    assert networks.classifier_of(vgg, x) == "classifier.6"
    before = networks.layers_before(vgg, x, "classifier.6")
    assert before == ["features", "avgpool", *(f"classifier.{i}" for i in range(6))]
    assert networks.layers_before(nn.Sequential(nn.Flatten(), nn.Linear(3072, 2)), x, "1") == ["0"]
    with pytest.raises(ParameterError, match=re.escape("ran no torch.nn.Linear")):
        networks.classifier_of(nn.Flatten(), x)


def test_what_a_layer_is_given_can_be_read(source):
    x = torch.rand(2, 3, 8, 8)
    own = networks.load(f"{source}:Net")
    _, read = features(own, x, ["bn", "head.fc.input"])
    with torch.no_grad():
        assert torch.allclose(read["head.fc.input"], own.bn(own.conv(x)).relu().mean((2, 3)))
    with pytest.raises(KeyError, match=re.escape("the network has no layer 'fc.input'")):
        features(own, x, ["fc.input"])
