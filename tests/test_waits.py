"""Nothing within an epoch or an attack waits for the device.

A GPU is given work ahead of time; each number that Python reads from it, and each shape that
depends on numbers, lets it run dry, and none can be captured as a graph. Every operation is
looked at, so that a CPU shows it.
"""

from dataclasses import replace

import pytest
import torch
from torch import Generator, Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from rnc.attacks import LOSSES, pgd
from rnc.study import data
from rnc.study.measurements.stronger import ncc_classifier
from rnc.study.measurements.subject import attacked
from rnc.study.methods import METHODS
from rnc.study.settings import Study
from rnc.study.training import build, reproducible, train

READ = {  # their result, or its shape, is a number that the device must have found
    "_local_scalar_dense", "nonzero", "masked_select", "equal", "is_nonzero", "bincount",
    "_unique2", "unique_dim", "unique_consecutive", "histc", "repeat_interleave",
}  # fmt: skip
COPIED = {"lift_fresh", "lift_fresh_copy", "lift"}  # from the host: torch.tensor, as_tensor
# of Python alone: on a CPU these run no operation
METHODS_THAT_READ = {
    "item", "tolist", "cpu", "numpy", "__bool__", "__float__", "__int__", "__index__", "__array__"
}  # fmt: skip


class Operations(TorchDispatchMode):
    """Collects those that wait."""

    def __init__(self, waits):
        super().__init__()
        self.waits = waits

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        indices = args[1] if name.startswith("index") and len(args) > 1 else ()
        masks = isinstance(indices, list | tuple) and any(
            isinstance(i, Tensor) and i.dtype in (torch.bool, torch.uint8) for i in indices
        )
        if name in READ | COPIED or masks:
            self.waits.append(name)
        return func(*args, **(kwargs or {}))


class Calls(TorchFunctionMode):
    """Collects the ways in which Python reads a tensor."""

    def __init__(self, waits):
        super().__init__()
        self.waits = waits

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if getattr(func, "__name__", "") in METHODS_THAT_READ:
            self.waits.append(func.__name__)
        return func(*args, **(kwargs or {}))


def waits(function, *arguments, **options):
    """What waits, or would on a GPU, while a function runs."""
    found = []
    with Calls(found), Operations(found):
        function(*arguments, **options)
    return found


@pytest.fixture(scope="module")
def images():
    return data.load("digits", per_class=3)


def study(model, norm="linf", precision="float32"):
    # torch's convolutions on a CPU spoil memory in trainings of narrower residual networks
    width = {"vgg11": 2, "preactresnet18": 8}[model]
    options = {"model": model, "norm": norm, "precision": precision}
    return Study.of(width=width, epochs=1, steps=2, **options)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x.sum().item(),
        lambda x: bool(x[0, 0] > 0),
        lambda x: float(x.sum()),
        lambda x: x.tolist(),
        lambda x: x.cpu(),
        lambda x: x.numpy(),
        lambda x: x[x > 0],
        lambda x: x.masked_select(x > 0),
        lambda x: x.nonzero(),
        lambda x: torch.equal(x, x + 1),
        lambda x: x.clone().index_put_((x > 0,), torch.zeros(())),
        lambda x: x + torch.tensor([1.0]),
        lambda x: torch.nn.functional.one_hot(x.long().abs(), 9),
    ],
)
def test_what_waits_is_seen(function, generator):
    assert waits(function, torch.randn(3, 3, generator=generator))


def test_what_does_not_wait_is_not():
    assert not waits(lambda: torch.zeros(3)[torch.arange(2)].where(torch.ones(2) > 0, 1.0).sum())


def epoch_waits(training, images):
    """Those of a training of one epoch, without what is around the epoch."""
    found = []
    objective = type(training.method).objective

    def looked(self, *arguments):
        found.append("a batch begins")
        return objective(self, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(training.method), "objective", looked)
        with Calls(found), Operations(found):
            train(training, images)
    first, last = (f(i for i, w in enumerate(found) if w == "a batch begins") for f in (min, max))
    assert first < last
    # up to the end of the last batch's objective, and what the epoch's end reads
    return [w for w in found[first:last] if w != "a batch begins"], found[last + 1]


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("model", ["vgg11", "preactresnet18"])
@pytest.mark.parametrize(
    ("method", "norm"),
    [(name, "linf") for name in METHODS] + [(m.name, "l2") for m in METHODS.values() if m.perturb],
)
def test_an_epoch_waits_once_for_its_history(images, method, norm, model, precision):
    training = study(model, norm, precision).training(method)
    within, after = epoch_waits(replace(training, batch=12), images)
    assert within == []
    assert after == "tolist"


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("model", ["vgg11", "preactresnet18"])
def test_an_attack_does_not_wait(images, model, norm, loss):
    settings = study(model, norm)
    network = build(settings.training("st"), images).eval()
    x, y = data.unit(images.x), images.y
    for targeted in (False, True):
        options = {"noise": Generator().manual_seed(0), "loss": loss, "targeted": targeted}
        assert not waits(attacked, network, x, y, settings.evaluation.attack, **options)


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("model", ["vgg11", "preactresnet18"])
def test_the_adaptive_attack_does_not_wait_and_runs_no_further_than_its_layer(images, model, norm):
    settings = study(model, norm)
    network = build(settings.training("st"), images).eval()
    x, y = data.unit(images.x), images.y
    used = []
    for name in {*network.layers, "penultimate", "classifier"}:
        network.get_submodule(name).register_forward_hook(
            lambda module, given, out, name=name: used.append(name)
        )
    for i, layer in enumerate(network.layers):
        with reproducible(x.device):
            ncc = ncc_classifier(network, layer, x, y, 10)
        used.clear()
        size = settings.evaluation.attack.size | {"loss": "margin", "check": False}
        assert not waits(pgd, ncc, x, y, generator=Generator().manual_seed(0), **size)
        assert used == list(network.layers[: i + 1]) * settings.evaluation.attack.steps
