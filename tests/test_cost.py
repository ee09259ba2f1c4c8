"""What a run costs, counted; the time of one pass is set to a second."""

from dataclasses import replace

import pytest

from rnc.study import cost, data, store
from rnc.study.measurements import MEASUREMENTS
from rnc.study.settings import Study

STANDARD = [m for m in MEASUREMENTS.values() if m.when(Study.of().evaluation)]


@pytest.fixture
def passes(monkeypatch):
    monkeypatch.setattr(cost, "_pass_seconds", lambda *arguments: 1.0)
    return lambda training, study, measured=STANDARD, trains=True: cost.seconds(
        training, study.evaluation, "cpu", measured, trains
    )


def test_an_epoch_costs_what_its_method_does(passes):
    """Per image and epoch: 3 passes of ST; AT with 5 steps 13; TRADES 17."""
    study = Study.of("cifar10-small")
    for training, each in zip(study.trainings(), (3, 13, 17, 17), strict=True):
        # the same number of snapshots, so that only epochs differ
        longer = replace(training, epochs=training.epochs + 1)
        assert len(training.snapshots()) == len(longer.snapshots())
        assert passes(longer, study) - passes(training, study) == 1000 * each


def test_cost_grows_with_images_and_steps(passes):
    study = Study.of("cifar10-small")
    more = Study.of("cifar10-small", per_class=200, steps=20)
    assert passes(more.training("st"), study) == 2 * passes(study.training("st"), study)
    assert passes(study.training("st"), more) > passes(study.training("st"), study)


def test_what_is_measured_on_a_part_of_the_points_costs_that_part(passes):
    study = Study.of("cifar10-small")
    some = Study.of("cifar10-small", measured_per_class=10)
    measured = [passes(study.training("st"), s, trains=False) for s in (study, some)]
    assert measured[0] == 10 * measured[1]


def test_what_is_measured_on_all_points_costs_all_of_them(passes):
    some = Study.of("cifar10-small", measured_per_class=10)
    everything = [MEASUREMENTS["everything"]]
    assert passes(some.training("st"), some, everything, trains=False) == 1000 * (2 * 10 + 2)


def test_training_and_measurements_are_counted_by_themselves(passes):
    study = Study.of("cifar10-small")
    training = study.training("st")
    trains = passes(training, study, [])
    assert trains == 1000 * 80 * 3
    assert trains + passes(training, study, trains=False) == passes(training, study)
    # 50 steps, two losses, thrice; ten steps for eleven more: two passes each, 1000 images
    stronger = passes(training, study, [MEASUREMENTS["stronger"]], trains=False)
    assert stronger == 1000 * (50 * 2 * 3 + 10 * 11) * 2


def test_cifar_is_not_loaded_for_an_estimate(passes, monkeypatch):
    monkeypatch.setattr(data, "load", None)
    study = Study.of("paper")
    assert passes(study.training("st"), study) > 400 * 50_000 * 3


def test_a_pass_takes_time(tiny):
    assert cost.seconds(tiny.training("st"), tiny.evaluation, "cpu", STANDARD, True) > 0


def test_networks_of_a_list_are_timed_once(monkeypatch, empty_store):
    """Whatever their method, length, seed and evaluation; another width by itself."""
    cost._pass_seconds.cache_clear()
    for width in (2, 3):
        for more in ({}, {"epochs": 9, "seed": 3, "eps": 4, "measured_per_class": 5}):
            study = Study.of(width=width, per_class=9, steps=1, **more)
            for training in study.trainings():
                assert store.estimate(store.Request(training, study.evaluation), "cpu") > 0
    found = cost._pass_seconds.cache_info()
    assert (found.misses, found.hits) == (2, 14)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(3.2, "3 s"), (119, "119 s"), (600, "10 min"), (9000, "2.5 h"), (259200, "3 days")],
)
def test_times_are_spoken(seconds, words):
    assert cost.spoken(seconds) == words
