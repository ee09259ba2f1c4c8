"""A captured step is used only if it is the step: stand-ins with one fault each are found out.

They run on a CPU, as what a GPU's graph would be if something in it were fixed that should not be.
"""

import contextlib
from dataclasses import replace

import pytest
import torch

from rnc.study import capture, data, store
from rnc.study import training as training_module
from rnc.study.capture import Disagrees, adopt, check, prepare
from rnc.study.methods import METHODS
from rnc.study.settings import Study
from rnc.study.step import Step
from rnc.study.store import Request
from rnc.study.training import build, reproducible, train

ATTACKED = ["at", "trades", "at-frozen", "trades-frozen"]


@pytest.fixture(scope="module")
def images():
    return data.load("digits", per_class=8)


@pytest.fixture(autouse=True)
def one_thread():
    with reproducible(torch.device("cpu")):
        yield


def stepped(images, method, precision="float32"):
    training = Study.of(width=2, epochs=2, per_class=8, precision=precision).training(method)
    attack = training.attack and replace(training.attack, steps=2)
    training = replace(training, attack=attack, batch=32)  # 80 images: 32, 32 and 16
    step = Step(training, build(training, images), images)
    step.begin(0)
    return step


def same_batch(step):
    """The place in the epoch is that of the capture."""

    def replay(size):
        order, at = step.order.clone(), step.at.clone()
        step.order.copy_(torch.arange(len(order)))
        step.at.zero_()
        step.body(size)
        step.order.copy_(order)
        step.at.copy_(at + size)

    return replay


def same_noise(step):
    state = step.noise.get_state()

    def replay(size):
        step.noise.set_state(state)
        step.body(size)
        step.noise.set_state(state)

    return replay


def fixed_rate(step):
    def replay(size):
        (group,) = step.optimiser.param_groups
        rate, group["lr"] = group["lr"], step.training.lr
        step.body(size)
        group["lr"] = rate

    return replay


def lost_momentum(step):
    """Each update is like the first one."""

    def replay(size):
        for momentum in step.momentum:
            momentum.zero_()
        step.body(size)

    return replay


def momentum_elsewhere(step):
    """The buffers that are kept are not those that the update uses."""

    def replay(size):
        kept = [momentum.clone() for momentum in step.momentum]
        step.body(size)
        for momentum, before in zip(step.momentum, kept, strict=True):
            momentum.copy_(before)

    return replay


def other_mode(step):
    """BatchNorm learns during the attack or the batch where it should not, or does not."""
    method = step.training.method
    other = {"train": "eval", "eval": "train", "frozen": "eval"}[method.batchnorm]
    wrong = replace(step.training, method=replace(method, batchnorm=other))

    def replay(size):
        right, step.training = step.training, wrong
        step.model.train()
        step.body(size)
        step.training = right

    return replay


def no_weight_moves(step):
    def replay(size):
        kept = step.state().weights
        step.body(size)
        with torch.no_grad():
            for weight, before in zip(step.parameters, kept, strict=True):
                weight.copy_(before)

    return replay


def other_loss(step):
    """One that leaves images, noise, counts and momentum as they should be."""

    def replay(size):
        images, step.images = step.images, replace(step.images, y=(step.images.y + 1) % 10)
        step.body(size)
        step.images = images

    return replay


FAULTS = [
    (same_batch, "other images", [*METHODS]),
    (same_noise, "other random numbers", ATTACKED),
    (fixed_rate, "weights that move at rate 0", [*METHODS]),
    (lost_momentum, "another momentum", [*METHODS]),
    (momentum_elsewhere, "another momentum", [*METHODS]),
    (no_weight_moves, "another step at a rate", [*METHODS]),
    (other_mode, "other buffers that move|another count", ATTACKED),
    (other_loss, "another loss|other (weights|momentum)", ["st", "mixup"]),
]


@pytest.mark.parametrize(
    ("method", "fault", "message"),
    [
        pytest.param(method, fault, message, id=f"{method}-{fault.__name__}")
        for fault, message, methods in FAULTS
        for method in methods
    ],
)
def test_each_fault_is_found(images, method, fault, message):
    step = stepped(images, method)
    with pytest.raises(Disagrees, match=f"({message}).* in a batch of (32|16)"):
        check(step, fault(step))


@pytest.mark.parametrize("fault", [same_batch, same_noise, fixed_rate, lost_momentum])
def test_faults_are_found_in_low_precision_too(images, fault):
    step = stepped(images, "at", "bfloat16")
    with pytest.raises(Disagrees):
        check(step, fault(step))


@pytest.mark.parametrize("size", [32, 16])
def test_a_fault_in_one_size_of_batch_is_found(images, size):
    step = stepped(images, "st")
    wrong = lost_momentum(step)
    with pytest.raises(Disagrees, match=f"in a batch of {size}"):
        check(step, lambda given: (wrong if given == size else step.body)(given))


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("method", METHODS)
def test_the_step_itself_passes_and_is_left_as_it_was(images, method, precision):
    step = stepped(images, method, precision)
    step.body(32)
    before, order = step.state(), step.order.clone()
    check(step, step.body)
    after = step.state()
    for name in ("weights", "buffers", "momentum"):
        pairs = zip(getattr(before, name), getattr(after, name), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs)
    assert torch.equal(after.noise, before.noise)
    assert torch.equal(step.order, order)
    assert int(step.at) == 32


@pytest.mark.parametrize("method", ["st", "at", "trades"])
def test_what_rounds_in_another_way_passes(images, method):
    """As two runs on a GPU do, whose sums have no fixed order."""
    step = stepped(images, method)
    noise = torch.Generator().manual_seed(5)

    def replay(size):
        with torch.no_grad():
            for weight in step.parameters:
                weight.mul_(1 + 1e-7 * torch.randn(weight.shape, generator=noise))
        step.body(size)

    def still_at_rate_zero(size):
        # at rate 0 nothing that a graph rounds reaches the weights
        (step.body if step.optimiser.param_groups[0]["lr"] == 0 else replay)(size)

    check(step, still_at_rate_zero)


def test_what_agrees_is_used_and_what_differs_is_said_and_not_used(images, capsys):
    step = stepped(images, "at")
    replay = same_noise(step)
    assert adopt(step, replay) == "eager: other random numbers, in a batch of 32"
    assert "PGD" not in (said := capsys.readouterr().err)
    assert "AT, seed 0: the captured step differs from the step (other random numbers" in said
    assert step.run == step.body
    seen = []

    def good(size):
        seen.append(size)
        step.body(size)

    assert adopt(step, good) == "captured, checked"
    seen.clear()
    step.epoch(0)
    assert seen == [32, 32, 16]
    assert not capsys.readouterr().err


def test_on_a_cpu_there_is_one_way_and_the_record_says_nothing(tiny, empty_store):
    training = tiny.training("st")
    small = data.load("digits", per_class=20)
    assert prepare(Step(training, build(training, small), small)) is None
    record = store.make(Request(training, tiny.evaluation))
    assert "step" not in record.trained["environment"]


def test_the_record_notes_how_updates_were_made(tiny, empty_store, monkeypatch):
    monkeypatch.setattr(training_module, "prepare", lambda step: "eager: another loss")
    record = store.make(Request(tiny.training("st"), tiny.evaluation))
    assert record.trained["environment"]["step"] == "eager: another loss"


def test_a_training_by_a_replay_is_the_same_training(images, monkeypatch):
    training = stepped(images, "trades").training
    expected = train(training, images)
    monkeypatch.setattr(training_module, "prepare", lambda step: adopt(step, step.body))
    found = train(training, images)
    assert found.step == "captured, checked"
    assert found.history == expected.history
    assert all(torch.equal(t, expected.model[name]) for name, t in found.model.items())


def test_a_graph_is_captured_for_each_size_after_a_warm_up(images, monkeypatch):
    """The order of what is asked of a GPU, with all of it replaced."""
    asked = []

    class Stream:
        def __init__(self, device=None):
            pass

        def wait_stream(self, other):
            asked.append("wait")

        def synchronize(self):
            asked.append("rest")

    class Graph:
        def replay(self):
            pass

    @contextlib.contextmanager
    def on(stream):
        yield

    @contextlib.contextmanager
    def graph(graph, stream, capture_error_mode):
        assert isinstance(stream, Stream)
        assert all(p.grad is None for p in step.parameters)
        asked.append("begin")
        yield
        asked.append("end")

    replaced = {"Stream": Stream, "CUDAGraph": Graph, "stream": on, "graph": graph}
    for name, stand_in in replaced.items():
        monkeypatch.setattr(torch.cuda, name, stand_in)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: None)
    step = stepped(images, "st")
    body = step.body
    monkeypatch.setattr(step, "body", lambda size: (asked.append(size), body(size)))
    assert set(capture.capture(step)) == {32, 16}
    sizes = list(step.picked)
    with pytest.raises(ValueError, match="within"), step.running():
        raise ValueError("within")
    assert asked[-2:] == ["wait", "rest"], "what comes next is on another stream"
    del asked[-2:]
    warm = [size for size in sizes for _ in range(3)]
    captured = [word for size in sizes for word in ("begin", size, "end")]
    assert asked == ["wait", *warm, "rest", *captured]
