"""What is fast, as ratios within one run: python tests/benchmarks/benchmark.py

Not collected by pytest: a timing on a busy machine proves nothing, a ratio within one run does.
"""

import argparse
import time

import torch

from rnc import data, measure, pgd
from rnc.config import Study
from rnc.training import attack_arguments, build, reproducible, train


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
    size = attack_arguments(study.attack)
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
    for training in Study.of().variants():
        began = time.perf_counter()
        train(training, images)
        spent = time.perf_counter() - began
        total += spent
        print(f"training {training.label}: {spent:.0f} s")
    print(f"all training of the quick preset, one thread: {total:.0f} s")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", default=["collapse", "attack", "quick_training"])
    with reproducible():
        for name in parser.parse_args().names:
            {"collapse": collapse, "attack": attack, "quick_training": quick_training}[name]()
