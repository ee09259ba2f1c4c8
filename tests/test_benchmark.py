"""What a benchmark says of its work is counted, and the count is right."""

from dataclasses import replace

import benchmark
import pytest
from torch import nn

from rnc.models import MODELS
from rnc.study.settings import Attack, Study


def one_layer():
    """A convolution to 8 channels with the mean over the map of each as a logit."""
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.AdaptiveAvgPool2d(1), nn.Flatten())


# two operations for each of 5 images, each pixel, each output channel and each weight of one
FORWARD = 2 * 5 * 16 * 16 * 8 * (3 * 3 * 3)


@pytest.mark.parametrize(
    ("method", "passes"),
    [
        ("st", 2),  # forward, and the gradient of the weights; nobody asks for the images'
        ("mixup", 2),
        ("at", 3 * 2 + 2),  # forward, and the gradient of the images, in each of three steps
        (
            "trades",
            1 + 3 * 2 + 2 * 2,
        ),  # what the attack goes away from; two batches are trained on
    ],
)
def test_the_work_of_one_layer_is_that_counted_by_hand(method, passes):
    training = Study.of("paper", device="cpu").training(method)
    attack = training.attack and Attack("linf", 8, 2, 3)
    training = replace(training, attack=attack)
    found = benchmark.operations(training, one_layer, (5, 3, 16, 16))
    assert found == passes * FORWARD


@pytest.mark.parametrize("model", MODELS)
def test_the_work_grows_with_the_batch_and_the_steps(model):
    training = Study.of("paper", model=model, device="cpu").training("at")

    def work(steps, batch):
        attack = Attack("linf", 8, 2, steps)
        shape = (batch, 3, 32, 32)
        return benchmark.operations(
            replace(training, attack=attack), lambda: MODELS[model](10, 8), shape
        )

    assert work(2, 20) == 2 * work(2, 10)
    assert work(3, 10) - work(2, 10) == work(2, 10) - work(1, 10) > 0
