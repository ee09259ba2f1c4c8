"""A step as a graph of a GPU, and whether that graph does what the step does.

Captured once for each size of batch, after which an update is one call: without it a GPU waits
for Python to name each of some thousand kernels. A graph repeats what was recorded, so whatever
was a number of Python then stays so for ever; hence `check`, before it is used.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from rnc.study.step import State, Step

LARGE = 1e6  # of momentum, beside which a gradient is nothing
RATE = 1e-6  # at which such a momentum moves a weight by about one
_one_at_a_time = threading.Lock()  # several networks may be trained by threads of one process


class CaptureFailed(RuntimeError):
    """A step could not be captured; its process is of no more use for a GPU."""


class Disagrees(Exception):
    """A captured step is not the step; says what differs."""


def prepare(step: Step) -> str | None:
    """Lets a step on a GPU run as graphs, if they do what it does, and else as it is.

    RNC_STEP=eager leaves it as it is. Its weights and its generator end where they were.

    Returns:
        For the record, how updates are made; None on a CPU, where there is one way.

    Raises:
        CaptureFailed: what a GPU cannot capture was asked of it.
    """
    if step.order.device.type != "cuda":
        return None
    if os.environ.get("RNC_STEP") == "eager":
        return "eager: RNC_STEP"
    step.begin(0)
    kept = step.state()
    try:
        with _one_at_a_time:
            graphs = capture(step)
    except RuntimeError as error:
        raise CaptureFailed(
            f"the step of {step.training} could not be captured ({error}); RNC_STEP=eager "
            f"trains without that"
        ) from error
    step.restore(kept)
    return adopt(step, lambda size: graphs[size].replay())


def adopt(step: Step, replay: Callable[[int], None]) -> str:
    """Lets a step run by a replay of it, if that agrees; says so on the standard error if not.

    Returns:
        For the record, how updates are made.
    """
    try:
        with step.running():
            check(step, replay)
    except Disagrees as difference:
        print(
            f"{step.training}: the captured step differs from the step ({difference}); going on "
            f"without it",
            file=sys.stderr,
        )
        step.stream = None
        return f"eager: {difference}"
    step.run = replay
    return "captured, checked"


def capture(step: Step) -> dict[int, torch.cuda.CUDAGraph]:
    """By size of batch, an update as a graph, on a stream that is the step's from now on.

    It changes the weights; nothing else may capture meanwhile.
    """
    graphs: dict[int, torch.cuda.CUDAGraph] = {}
    step.stream = torch.cuda.Stream(step.order.device)
    with step.running():  # the search for algorithms and all workspaces, on the stream captured
        for size in step.picked:
            for _ in range(3):
                step.at.fill_(step.place(size))
                step.body(size)
    for size in step.picked:
        step.at.fill_(step.place(size))
        step.optimiser.zero_grad(set_to_none=True)  # so that gradients are the graph's own
        graph = torch.cuda.CUDAGraph()
        if torch.__version__ < (2, 14):  # later ones do it themselves
            graph.register_generator_state(step.noise)
        # other threads may go on with their own streams
        with torch.cuda.graph(graph, stream=step.stream, capture_error_mode="thread_local"):
            step.body(size)
        graphs[size] = graph
    return graphs


@dataclass
class Trace:
    """What two updates did: after each, `picked`, `at`, `noise` and `sums`; `end` after both."""

    picked: list[Tensor]
    at: list[int]
    noise: list[Tensor]
    sums: list[Tensor]
    end: State


def check(step: Step, replay: Callable[[int], None]) -> None:
    """Looks whether a replay of a step does what its body does; leaves the step as it was.

    Which images it takes, the generator, the rate, the momentum and which buffers of BatchNorm
    move are compared exactly. Of the loss and of where two updates lead it is asked only that
    they are no further from the body's than the body's own are from each other, started anew or
    from weights changed in their last digit: an attack in low precision magnifies these.

    Args:
        step: with an epoch begun.
        replay: an update from the next batch, of a size.

    Raises:
        Disagrees: says what differs, and for which size of batch.
    """
    order, start = step.order.clone(), step.state()
    try:
        for size in step.picked:
            for probe in (_rate_and_momentum, _same_updates):
                step.restore(start)
                probe(step, replay, size)
    except Disagrees as difference:
        raise Disagrees(f"{difference}, in a batch of {size}") from None
    finally:
        step.set_rate(step.training.lr)
        step.order.copy_(order)
        step.restore(start)


def _same_updates(step: Step, replay: Callable[[int], None], size: int) -> None:
    start = step.state()
    ours, again = (_trace(step, step.body, size, start) for _ in range(2))
    nudged = _trace(step, step.body, size, start, nudge=True)
    theirs = _trace(step, replay, size, start)
    _demand(all(map(torch.equal, theirs.picked, ours.picked)), "other images")
    _demand(theirs.at == ours.at, "another place in the epoch")
    _demand(all(map(torch.equal, theirs.noise, ours.noise)), "other random numbers")
    own, other = (
        [not torch.equal(*pair) for pair in zip(start.buffers, end.buffers, strict=True)]
        for end in (ours.end, theirs.end)
    )
    _demand(own == other, "other buffers that move")
    whole = [i for i, buffer in enumerate(start.buffers) if not buffer.is_floating_point()]
    _demand(
        all(torch.equal(theirs.end.buffers[i], ours.end.buffers[i]) for i in whole),
        "another count of BatchNorm's batches",
    )
    loss = [float(trace.sums[0][0]) / size for trace in (ours, theirs)]
    _demand(abs(loss[1] - loss[0]) <= 1e-2 * max(1.0, abs(loss[0])), "another loss")
    for name in ("weights", "momentum", "buffers"):
        before = getattr(start, name)
        gaps = [
            _gap(getattr(trace.end, name), getattr(ours.end, name), before)
            for trace in (theirs, again, nudged)
        ]
        _demand(gaps[0] <= 3 * max(*gaps[1:], 1e-3), f"other {name}, by {gaps[0]:.2g}")


def _rate_and_momentum(step: Step, replay: Callable[[int], None], size: int) -> None:
    """Exactly, whatever the gradient is: at rate 0 weights stay; a momentum beside which it is
    nothing decays as SGD says, and weights move by rate times momentum."""
    for momentum in step.momentum:
        momentum.fill_(LARGE)
    before, decayed = step.state().weights, step.training.momentum * LARGE
    step.set_rate(0)
    step.at.fill_(step.place(size))
    replay(size)
    _demand(all(map(torch.equal, step.state().weights, before)), "weights that move at rate 0")
    _demand(all(_near(m, decayed) for m in step.momentum), "another momentum")
    step.set_rate(RATE)
    step.at.fill_(step.place(size))
    replay(size)
    pairs = zip(before, step.state().weights, step.momentum, strict=True)
    _demand(all(_near(a - b, RATE * m) for a, b, m in pairs), "another step at a rate")


@torch.no_grad()
def _trace(
    step: Step, run: Callable[[int], None], size: int, start: State, nudge: bool = False
) -> Trace:
    """Two updates from a state, of different images; `nudge` moves weights in the last digit."""
    step.restore(start)
    noise = Generator().manual_seed(0)
    if nudge:
        for weight in step.parameters:
            change = torch.finfo(weight.dtype).eps * torch.randn(weight.shape, generator=noise)
            weight.mul_(1 + change.to(weight.device))
    trace = Trace([], [], [], [], start)
    for i in range(2):
        # in another order, and if there is a second batch of the size from another place
        order = torch.randperm(len(step.order), generator=Generator().manual_seed(i))
        step.order.copy_(order)
        step.at.fill_(len(order) - size if i else step.place(size))
        with torch.enable_grad():
            run(size)
        trace.picked.append(step.picked[size].clone())
        trace.at.append(int(step.at))
        trace.noise.append(step.noise.get_state())
        trace.sums.append(step.sums.clone())
    trace.end = step.state()
    return trace


def _gap(a: list[Tensor], b: list[Tensor], start: list[Tensor]) -> float:
    """How far apart two ends are, in units of the way from the start to the second; of what is
    no whole number."""
    apart, way = (
        sum(
            float((s.double() - t.double()).square().sum())
            for s, t in zip(*pair, strict=True)
            if s.is_floating_point()
        )
        for pair in ((a, b), (b, start))
    )
    return (apart / way) ** 0.5 if way else float(apart > 0)


def _near(value: Tensor, expected: Tensor | float) -> bool:
    expected = torch.as_tensor(expected, dtype=value.dtype, device=value.device)
    return torch.allclose(value, expected.expand_as(value), rtol=1e-2)


def _demand(condition: bool, otherwise: str) -> None:
    if not condition:
        raise Disagrees(otherwise)
