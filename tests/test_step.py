"""An update from static tensors is the plain one, bitwise."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch
from torch import Generator

from rnc.study import data
from rnc.study.files import digest
from rnc.study.methods import METHODS
from rnc.study.settings import Study
from rnc.study.step import Step, autocast
from rnc.study.training import build, reproducible


@pytest.fixture(scope="module")
def images():
    return data.load("digits", per_class=8)


def settings(method, model="vgg11", precision="float32", norm="linf"):
    # torch's convolutions on a CPU spoil memory in trainings of narrower residual networks
    width = {"vgg11": 2, "preactresnet18": 8}[model]
    options = {"model": model, "norm": norm, "precision": precision}
    training = Study.of(width=width, epochs=2, steps=2, per_class=8, **options).training(method)
    attack = training.attack and replace(training.attack, steps=2)
    # 80 images: two batches of 32, and 16
    return replace(training, attack=attack, drops=(0.5,), batch=32)


def plain(training, model, images, epochs):
    """The loop as one writes it down, and its history."""
    sgd = torch.optim.SGD(
        model.parameters(), training.lr, training.momentum, weight_decay=training.weight_decay
    )
    x, y, history = images.x, images.y, []
    for epoch in range(epochs):
        model.train()
        sgd.param_groups[0]["lr"] = training.learning_rate(epoch)
        seed = training.seed * 1_000_003 + epoch
        order = torch.randperm(len(y), generator=Generator().manual_seed(seed))
        noise = Generator().manual_seed(seed)
        loss_sum = correct = torch.zeros(())
        for batch in order.split(training.batch):
            drawn = training.method.draw([len(batch)], training.mixing, noise)
            attack = training.attack.size if training.attack else {}
            with autocast(training.precision, y.device):
                loss, logits = training.method.objective(
                    model, data.unit(x[batch]), y[batch], attack, training.beta, noise, *drawn
                )
            sgd.zero_grad()
            loss.backward()
            sgd.step()
            loss_sum = loss_sum + loss.detach() * len(batch)
            correct = correct + (logits.argmax(1) == y[batch]).sum()
        history.append({"loss": float(loss_sum) / len(y), "accuracy": float(correct) / len(y)})
    return history


@pytest.mark.parametrize(
    ("model", "precision"),
    [("vgg11", "float32"), ("vgg11", "bfloat16"), ("preactresnet18", "float32")],
)
@pytest.mark.parametrize("method", METHODS)
def test_an_epoch_of_steps_is_that_of_the_plain_loop(images, method, model, precision):
    training = settings(method, model, precision)
    one, two = (build(training, images) for _ in range(2))
    step = Step(training, two, images)
    assert step.batches == [32, 32, 16]
    with reproducible(images.y.device):
        expected = plain(training, one, images, 2)
        assert [step.epoch(number) for number in range(2)] == expected
    assert training.learning_rate(0) != training.learning_rate(1)
    assert digest(two.state_dict()) == digest(one.state_dict())


def test_steps_of_threads_side_by_side_are_those_of_one_after_the_other(images):
    trainings = [settings(method) for method in METHODS]
    alone, together = (
        [Step(training, build(training, images), images) for training in trainings] for _ in "ab"
    )
    with reproducible(images.y.device), ThreadPoolExecutor(len(trainings)) as pool:
        expected = [step.epoch(0) for step in alone]
        assert list(pool.map(lambda step: step.epoch(0), together)) == expected
    for one, two in zip(alone, together, strict=True):
        assert digest(one.model.state_dict()) == digest(two.model.state_dict())


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_images_as_bytes_are_taken_as_such(images, norm):
    training = settings("at", norm=norm)
    as_bytes = replace(images, x=(images.x * 255).round().byte())
    one, two = (build(training, images) for _ in range(2))
    with reproducible(images.y.device):
        expected = plain(training, one, replace(images, x=as_bytes.x / 255), 1)
        assert [Step(training, two, as_bytes).epoch(0)] == expected


@pytest.mark.parametrize("batch", [80, 128, 40])
def test_a_batch_that_divides_the_images_or_holds_them_all(images, batch):
    training = replace(settings("st"), batch=batch)
    one, two = (build(training, images) for _ in range(2))
    step = Step(training, two, images)
    assert step.batches == [min(batch, 80)] * (80 // min(batch, 80))
    with reproducible(images.y.device):
        assert [step.epoch(0)] == plain(training, one, images, 1)


@pytest.mark.parametrize("method", ["at", "trades-frozen", "mixup"])
def test_a_state_put_back_is_where_it_was_in_the_same_place(images, method):
    training = settings(method)
    step = Step(training, build(training, images), images)
    with reproducible(images.y.device):
        step.begin(0)
        step.run(32)
        kept, places = step.state(), [p.data_ptr() for p in step.parameters]
        step.run(32)
        first = step.state()
        step.restore(kept)
        step.run(32)
        again = step.state()
    assert [p.data_ptr() for p in step.parameters] == places
    for name in ("weights", "buffers", "momentum"):
        pairs = zip(getattr(first, name), getattr(again, name), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs)
    assert torch.equal(first.noise, again.noise)
    assert torch.equal(first.sums, again.sums)
    assert int(again.at) == 64


def test_the_fused_update_reads_a_rate_that_is_a_tensor():
    """What a GPU is given; a CPU has it too, and shows that the rate is not kept from before."""
    torch.manual_seed(0)
    start = torch.randn(40)
    ours, theirs = (start.clone().requires_grad_() for _ in range(2))
    rate = torch.tensor(0.1)
    fused = torch.optim.SGD([ours], lr=rate, momentum=0.9, weight_decay=0.1, fused=True)
    usual = torch.optim.SGD([theirs], lr=0.1, momentum=0.9, weight_decay=0.1)
    for value in (0.1, 0.1, 0.01):
        rate.fill_(value)
        usual.param_groups[0]["lr"] = value
        for weights, sgd in ((ours, fused), (theirs, usual)):
            sgd.zero_grad()
            weights.square().sum().backward()
            sgd.step()
    assert torch.allclose(ours, theirs, rtol=1e-5)
