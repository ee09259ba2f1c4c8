import subprocess
import sys

import pytest
import torch
from torch import nn
from torchvision.models import resnet18

from rnc.models import MODELS, features, frozen, num_features, outputs


@pytest.mark.parametrize(("name", "layers"), [("vgg11", 8), ("preactresnet18", 10)])
@pytest.mark.parametrize("size", [16, 32, 40])
def test_every_layer_has_features_and_the_last_are_the_classifiers(name, layers, size):
    model = MODELS[name](7, width=2)
    x = torch.rand(3, 3, size, size)
    logits, outputs = features(model, x, [*model.layers, "penultimate"])
    assert len(model.layers) == layers
    assert all(h.shape[0] == 3 and h.dim() == 2 for h in outputs.values())
    assert outputs["penultimate"].shape == (3, 16)
    assert torch.equal(logits, model.classifier(outputs["penultimate"]))


@pytest.mark.parametrize(("name", "parameters"), [("vgg11", 9.23e6), ("preactresnet18", 11.17e6)])
def test_full_width_has_the_size_that_is_known(name, parameters):
    count = sum(p.numel() for p in MODELS[name](10, width=64).parameters())
    assert count == pytest.approx(parameters, rel=0.005)


@pytest.mark.parametrize("name", MODELS)
def test_normalisation_is_inside(name):
    torch.manual_seed(0)
    plain = MODELS[name](10, width=2).eval()
    model = MODELS[name](10, width=2, mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7)).eval()
    own = {n: b for n, b in model.state_dict().items() if n.startswith("normalise")}
    model.load_state_dict(plain.state_dict() | own)
    x = torch.rand(2, 3, 16, 16)
    by_hand = (x - torch.tensor([0.1, 0.2, 0.3]).view(3, 1, 1)) / torch.tensor(
        [0.5, 0.6, 0.7]
    ).view(3, 1, 1)
    assert torch.allclose(model(x), plain(by_hand), atol=1e-6)


def test_features_work_on_any_network_and_leave_it_alone():
    model = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Linear(5, 2)).train()
    x = torch.randn(6, 4)
    before = {n: t.clone() for n, t in model.state_dict().items()}
    _, outputs = features(model, x, ["0"])
    assert torch.equal(outputs["0"], model[0](x))
    assert all(torch.equal(t, before[n]) for n, t in model.state_dict().items())
    assert model.training
    assert not model[0]._forward_hooks


def test_outputs_can_be_differentiated():
    model = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2))
    x = torch.randn(6, 4, requires_grad=True)
    logits, found = outputs(model, x, ["1"])
    (gradient,) = torch.autograd.grad(found["1"].sum(), x)
    by_hand = (model[0](x) > 0).float() @ model[0].weight
    assert torch.allclose(gradient, by_hand, atol=1e-6)
    assert torch.equal(logits, model(x))
    assert not features(model, x, ["1"])[1]["1"].requires_grad


def test_a_layer_before_an_in_place_operation_is_kept_as_it_was():
    torch.manual_seed(0)
    model = resnet18(num_classes=10).eval()  # its ReLUs work in place
    x = torch.rand(4, 3, 32, 32)
    _, outputs = features(model, x, ["bn1", "avgpool"])
    assert torch.equal(outputs["bn1"], model.bn1(model.conv1(x)).flatten(1))
    assert outputs["bn1"].min() < 0
    assert outputs["avgpool"].shape == (4, 512)


def test_an_unknown_layer_is_named():
    with pytest.raises(KeyError, match="no layer 'conv9'"):
        features(nn.Sequential(nn.Linear(2, 2)), torch.randn(1, 2), ["conv9"])


def test_an_unused_layer_is_named():
    class Idle(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.idle = nn.Linear(2, 2), nn.Linear(2, 2)

        def forward(self, x):
            return self.used(x)

    with pytest.raises(KeyError, match="'idle' but did not use it"):
        features(Idle(), torch.randn(1, 2), ["idle"])


def test_frozen_puts_each_mode_back():
    model = nn.Sequential(nn.BatchNorm1d(2), nn.BatchNorm1d(2)).train()
    model[1].eval()
    with frozen(model):
        assert not any(m.training for m in model.modules())
    assert [m.training for m in model.modules()] == [True, True, False]


@pytest.mark.parametrize("width", [2, 5])
@pytest.mark.parametrize("model", MODELS)
def test_the_number_of_features_is_known_beforehand(model, width):
    assert MODELS[model](10, width).classifier.in_features == num_features(width)


def test_the_library_is_imported_without_torchs_compiler():
    """Which takes seconds and 160 MB; an operation on the meta device would."""
    code = "import sys, rnc; print({'torch._dynamo', 'sympy', 'torchvision'} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "set()\n"
