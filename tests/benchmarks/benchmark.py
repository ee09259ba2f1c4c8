"""What is fast, as ratios within one run: python tests/benchmarks/benchmark.py

On a GPU: python tests/benchmarks/benchmark.py epoch --device cuda

Not collected by pytest: a timing on a busy machine proves nothing, a ratio within one run does.
"""

import argparse
import time

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from rnc import measure, pgd
from rnc.models import MODELS
from rnc.study import data
from rnc.study.capture import prepare
from rnc.study.settings import PRECISIONS, Study
from rnc.study.step import Step
from rnc.study.training import build, reproducible, train


def seconds(*functions, repeats=7):
    """Shortest wall time of each call, taken in turns: what else the machine does hits all."""
    times = [[] for _ in functions]
    for _ in range(repeats + 1):  # the first turn warms up
        for own, function in zip(times, functions, strict=True):
            began = time.perf_counter()
            function()
            own.append(time.perf_counter() - began)
    return [min(own[1:]) for own in times]


def outer_products(z):
    """Sum of one D x D outer product per sample, as the reference code forms Sigma_W."""
    within = torch.zeros(z.shape[1], z.shape[1])
    for part in z.split(13):  # a batch of 128 holds about 13 points of a class
        within += torch.matmul(part.unsqueeze(-1), part.unsqueeze(1)).sum(0)
    return within


def collapse():
    k, d, n, part = 10, 512, 50_000, 500
    g = torch.Generator().manual_seed(0)
    y = torch.arange(n) % k
    h = torch.randn(k, d, generator=g)[y] + torch.randn(n, d, generator=g)
    ours, slice_ = seconds(lambda: measure([(h, y)], k), lambda: outer_products(h[:part]))
    theirs = slice_ * n / part
    print(
        f"collapse of N = {n:,}, D = {d}, K = {k}: {ours:.2f} s; one outer product per sample "
        f"{theirs:.0f} s (from {part} points): {theirs / ours:.0f} times faster"
    )


def full_backward(model, x, y, size):
    """PGD by loss.backward(): the gradients of the weights are computed too."""
    adversarial = x.clone()
    for _ in range(size["steps"]):
        adversarial.requires_grad_()
        loss = torch.nn.functional.cross_entropy(model(adversarial), y, reduction="sum")
        loss.backward()
        step = size["alpha"] * adversarial.grad.sign()
        moved = torch.clamp(adversarial.detach() + step, x - size["eps"], x + size["eps"])
        adversarial = moved.clamp(0, 1)
    return adversarial


def attack():
    study, images = Study.of(), data.load("digits")
    size = study.evaluation.attack.size
    x, y = images.x[:128].contiguous(memory_format=torch.channels_last), images.y[:128]
    for width in (8, 64):
        model = build(Study.of(width=width).training("st"), images).eval()
        ours, full = seconds(
            lambda model=model: pgd(model, x, y, random_start=False, **size),
            lambda model=model: full_backward(model, x, y, size),
        )
        print(
            f"PGD-10 on 128 digits, VGG11 width {width}: {ours:.3f} s; with a full backward "
            f"pass {full:.3f} s: {full / ours:.2f} times faster"
        )


def quick_training():
    images, total = data.load("digits"), 0.0
    for training in Study.of().trainings():
        began = time.perf_counter()
        train(training, images)
        spent = time.perf_counter() - began
        total += spent
        print(f"training {training.method.title}: {spent:.0f} s")
    print(f"all training of the quick preset, one thread: {total:.0f} s")


def layout():
    """A step of training with the channels innermost, as ours, and outermost."""
    y = torch.zeros(128, dtype=torch.long)

    def step(model, x):
        F.cross_entropy(model(x), y).backward()

    for name, width in (("vgg11", 8), ("vgg11", 16), ("preactresnet18", 8)):
        own, other = (
            (
                MODELS[name](10, width).to(memory_format=form),
                torch.rand(128, 3, 32, 32).contiguous(memory_format=form),
            )
            for form in (torch.channels_last, torch.contiguous_format)
        )
        ours, theirs = seconds(lambda own=own: step(*own), lambda other=other: step(*other))
        print(
            f"a step of {MODELS[name].title} width {width}, 32 x 32, batch 128: channels last "
            f"{ours:.3f} s, channels first {theirs:.3f} s: {theirs / ours:.2f} times faster"
        )


def matrix_rate(device):
    """Multiply-adds of bfloat16 matrices, in FLOP/s."""
    n = 8192 if device == "cuda" else 256
    a, b = (torch.randn(n, n, device=device, dtype=torch.bfloat16) for _ in range(2))
    return 2 * n**3 / seconds(lambda: finished(a @ b))[0]


def finished(result):
    """Waits until a GPU has done what it was given."""
    if result.is_cuda:
        torch.cuda.synchronize()


class Operations(TorchDispatchMode):
    """Counts floating-point operations of products and convolutions, as torch's FlopCounterMode
    does; that one also asks which module they are of, and cannot in the gradient of an attack."""

    total = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        if count := flop_registry.get(func.overloadpacket):
            self.total += count(*args, **kwargs, out_val=out)
        return out


def operations(training, model, shape):
    """Floating-point operations of an update, its attack included, from a batch of a shape B x C x
    H x W: counted in the operations themselves, of which none is done. `model` gives the network.
    """
    noise = torch.Generator()
    drawn = training.method.draw([shape[0]], training.mixing, noise)
    attack = training.attack.size if training.attack else {}
    with FakeTensorMode(allow_non_fake_inputs=True), Operations() as counter:
        network, x, y = model().train(), torch.empty(shape), torch.zeros(shape[0]).long()
        loss, _ = training.method.objective(network, x, y, attack, training.beta, noise, *drawn)
        loss.backward()
    return counter.total


def epoch(device):
    """An epoch of PGD-10 AT on CIFAR-10's number of images (a CPU: narrow, one batch)."""
    count, width = (50_000, 64) if device == "cuda" else (128, 16)
    rate, g = matrix_rate(device), torch.Generator().manual_seed(0)
    x = torch.randint(256, (count, 3, 32, 32), dtype=torch.uint8, generator=g)
    x = x.to(device, memory_format=torch.channels_last)
    y = torch.randint(10, (count,), generator=g).to(device)
    images = data.Images(x, y, x[:0], y[:0], tuple("0123456789"), (0.5,) * 3, (0.25,) * 3)
    for model in MODELS:
        spent = {}
        for precision in PRECISIONS:
            study = Study.of("paper", model=model, width=width, precision=precision, device=device)
            training = study.training("at")
            network = build(training, images)
            step = Step(training, network, images)
            work = sum(
                operations(training, lambda name=model: MODELS[name](10, width), (b, *x.shape[1:]))
                for b in step.batches
            )
            with reproducible(y.device):
                how = prepare(step) or "eager"
                with step.running():
                    for number in range(2):  # the first one warms up
                        began = time.perf_counter()
                        step.epoch(number)
                        spent[precision] = time.perf_counter() - began
            print(
                f"AT epoch of {MODELS[model].title} width {width}, {count:,} images, {precision}, "
                f"{how}: {spent[precision]:.1f} s, {count / spent[precision]:,.0f} images/s, "
                f"{work / 1e12:,.1f} TFLOP, {work / spent[precision] / rate:.0%} of the bfloat16 "
                f"matrix rate ({rate / 1e12:.2g} TFLOP/s)"
            )
        print(f"    bfloat16 is {spent['float32'] / spent['bfloat16']:.2f} times faster")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu", help="of the benchmark of an epoch")
    device = parser.parse_known_args()[0].device
    benchmarks = {f.__name__: f for f in (collapse, attack, layout, quick_training)}
    benchmarks["epoch"] = lambda: epoch(device)
    parser.add_argument("names", nargs="*", choices=benchmarks, default=list(benchmarks))
    with reproducible(torch.device("cpu")):
        for name in parser.parse_args().names:
            benchmarks[name]()
