"""The page on which readers attack: what a browser is given is the network."""

import base64
import json

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from rnc.models import VGG11, features
from rnc.show import playground
from rnc.show.playground import Playground, exported, shadow
from rnc.study import store
from rnc.study.data import load, unit
from rnc.study.settings import Study

LOGITS = 0.005  # how far float16 weights may move logits, as a part of their largest


def content(script):
    """What a script gives the page."""
    name, value = script.removeprefix("window.").split(" = ", 1)
    assert name == "RNC_NETWORKS"
    return json.loads(value.rstrip().removesuffix(";"))


def restored(one):
    """An exported network, read as a browser reads it: from images to logits."""
    numbers = np.frombuffer(base64.b64decode(one["weights"]), "<f2").astype(np.float32)
    parts = torch.from_numpy(numbers)

    def take(*shape):
        nonlocal parts
        size = int(np.prod(shape))
        found, parts = parts[:size].view(shape), parts[size:]
        return found

    convs = [(take(*c["shape"]), take(c["shape"][3]), c["pool"]) for c in one["convs"]]
    width = one["convs"][-1]["shape"][3]
    classes = len(parts) // (width + 1)
    weight, bias = take(width, classes), take(classes)
    assert len(parts) == 0
    mean, std = (torch.tensor(one[name]).view(-1, 1, 1) for name in ("mean", "std"))

    def network(x):
        h = (x - mean) / std
        for filters, offset, pool in convs:
            h = F.conv2d(h, filters.permute(3, 2, 0, 1), offset, padding=1)
            h = F.relu(F.max_pool2d(h, 2) if pool and h.shape[-1] > 1 else h)
        return h.mean((2, 3)) @ weight + bias

    return network


@pytest.fixture
def model(generator):
    """An untrained network with statistics of BatchNorm that no data have."""
    torch.manual_seed(0)
    model = VGG11(10, 4, mean=(0.4, 0.5, 0.6), std=(0.1, 0.2, 0.3)).eval()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            for tensor in (module.weight.data, module.running_var):
                tensor.uniform_(0.5, 1.5, generator=generator)
            for tensor in (module.bias.data, module.running_mean):
                tensor.normal_(0, 0.3, generator=generator)
    model.classifier.weight.data.normal_(0, 1, generator=generator)
    model.classifier.bias.data.normal_(0, 1, generator=generator)
    return model


def test_a_network_survives_folding_and_float16(model, generator):
    x = torch.rand(50, 3, 16, 16, generator=generator)
    with torch.no_grad():
        expected = model(x)
    found = restored(json.loads(json.dumps(exported(model))))(x)
    assert expected.std(0).min() > 0.01  # the images are not all one to it
    assert (found - expected).abs().max() <= LOGITS * expected.abs().max()


def test_a_weight_that_float16_cannot_hold_is_refused(model):
    model.classifier.bias.data[0] = 1e6
    with pytest.raises(ValueError, match="too large"), np.errstate(over="ignore"):
        exported(model)


def test_exporting_leaves_the_network_as_it_was(model):
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model.train()
    exported(model)
    assert model.training
    assert all(module.training for module in model.modules())
    assert all(tensor.equal(before[name]) for name, tensor in model.state_dict().items())


def test_class_means_lie_on_the_corners_of_a_regular_polygon(model):
    images = load("digits")
    drawn = shadow(model, images)
    _, found = features(model, unit(images.x), ["penultimate"])
    means = torch.stack([found["penultimate"][images.y == c].mean(0) for c in range(10)])
    plane, origin, corners = (torch.tensor(drawn[name]) for name in ("plane", "origin", "corners"))
    torch.testing.assert_close(means @ plane + origin, corners, atol=0.01, rtol=0)
    sides = (corners - corners.roll(1, 0)).norm(dim=1)
    torch.testing.assert_close(sides, sides[:1].expand(10), atol=1e-4, rtol=0)
    assert len(drawn["cloud"]) == 10 * playground.CLOUD


def test_its_networks_are_those_of_the_store(tiny, empty_store):
    found = Playground.of(tiny)
    images = load("digits")
    assert set(found.networks) == {"ST", "AT"}
    for name, model in zip(("st", "at"), found.networks.values(), strict=True):
        training = tiny.training(name)
        assert list(empty_store.glob(f"v1/{training.slug}/training.json"))
        weights = store.trained(training, images)
        assert all(t.equal(weights[key]) for key, t in model.state_dict().items())
        assert not model.training


@pytest.fixture
def small(model):
    """The page with made-up networks."""
    images = load("digits")
    networks = {"ST": model, "AT": model}
    return Playground(Study.of(), images, networks, playground._chosen(images, networks))


def test_the_page_has_every_network_class_and_setting(small):
    html, given = small.page().html, content(small.script())
    assert set(given["networks"]) == {"ST", "AT"}
    assert [image["label"] for image in given["images"]] == list(range(10))
    first = small.images.x_test[small.chosen[0], 0]
    assert given["images"][0]["pixels"] == pytest.approx(first.flatten().tolist(), abs=1e-5)
    assert html.count('name="network"') == 2
    assert html.count('name="image"') == 11  # and the reader's own
    assert html.count('name="guess"') == 10
    assert 'max="16" step="1" value="8"' in html
    assert "://" not in html
    for title, before, after in [(title, *names) for title, *_, names in small._stills()]:
        assert f"{title} takes the image for {before} and the attacked image for {after}" in html


def test_page_and_weights_are_light():
    """With the width of the quick preset."""
    weights = exported(VGG11(10, Study.of().base.width).eval())["weights"]
    assert 2 * len(weights) < 1_000_000


def test_the_images_are_known_where_there_is_one(small):
    images, model = small.images, small.networks["ST"]
    with torch.no_grad():
        right = model(images.x_test).argmax(1) == images.y_test
    able = [bool(right[images.y_test == c].any()) for c in range(10)]
    assert any(able)
    assert right[small.chosen].tolist() == able


def test_the_still_shows_both_networks(small):
    axes = small.still().axes
    assert len(axes) == 6
    assert [a.get_title().split(":")[0] for a in axes[::3]] == ["ST", "AT"]
