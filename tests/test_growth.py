"""What the guide promises: a method, a measurement and a data set are each one entry."""

import numpy as np
import pytest
import torch

from rnc import cli, gaussian
from rnc.show import plots, tables
from rnc.study import store
from rnc.study.data import DATASETS, DataSet
from rnc.study.measurements import MEASUREMENTS
from rnc.study.measurements.measurement import measurement
from rnc.study.methods import METHODS, Method
from rnc.study.records import records
from rnc.study.settings import Study


@pytest.fixture(autouse=True)
def folders(empty_store, tmp_path, monkeypatch):
    monkeypatch.setenv("RNC_RECORDS", str(tmp_path / "records"))


def test_a_method_is_one_entry(tiny, monkeypatch):
    """Trained, measured, published, drawn, costed, and asked for on the command line."""

    def noise(model, x, y, *, eps, norm, generator, **rest):
        return gaussian(x, eps=eps, norm=norm, generator=generator)

    method = Method("noisy", "Noisy training", "#000000", noise)
    monkeypatch.setitem(METHODS, "noisy", method)
    found = records(tiny, "Noisy training")
    (record,) = found["Noisy training"]
    assert record.training.slug.startswith("digits-20-vgg11w2-noisy-linf8-s0-")
    store.publish(record.training, record.evaluation)
    assert store.published() == [record]
    figure = plots.training_curves(found)
    assert {line.get_color() for line in figure.axes[0].get_lines()} == {"#000000"}
    assert "Noisy training" in tables.costs({"scale": found}).html
    jobs = []
    monkeypatch.setattr(cli, "compute", lambda found, *rest: jobs.extend(found))
    cli.main(["run", "--only", "noisy", "--width", "2"])
    assert [job.training.method for job in jobs] == [method]


def test_a_measurement_is_one_function_and_only_it_is_made(tiny, monkeypatch):
    training = tiny.training("st")
    before = store.make(training, tiny.evaluation)
    declared = dict(MEASUREMENTS)

    @measurement(version=1, passes=lambda attack: 1)
    def brightness(subject, part):
        """Of each class."""
        return {"mean": [subject.x[subject.y == c].mean() for c in range(subject.num_classes)]}

    try:
        monkeypatch.setattr(store, "train", None)
        assert store.find(training, tiny.evaluation) is None
        assert store.estimate(training, tiny.evaluation, "cpu", ()) < 1
        after = store.make(training, tiny.evaluation)
        assert len(after["brightness"]["mean"]) == 10
        assert after.measured.items() > before.measured.items()
        whole = store._path(training, tiny.evaluation, MEASUREMENTS["brightness"])
        assert whole.name == "brightness.1.json"
    finally:
        MEASUREMENTS.clear()
        MEASUREMENTS.update(declared)


def test_a_data_set_is_one_entry(monkeypatch):
    generator = np.random.default_rng(0)

    def squares(per_class):
        y = torch.arange(3).repeat_interleave(8)
        x = torch.from_numpy(generator.random((24, 3, 16, 16), dtype=np.float32))
        return (x, y), (x, y), ("a", "b", "c")

    monkeypatch.setitem(DATASETS, "squares", DataSet("squares", squares, 3, 8, 8, (3, 16, 16)))
    study = Study.of(dataset="squares", width=2, epochs=1, steps=1)
    assert str(study).startswith("squares; VGG11 of width 2")
    assert records(study, "ST")["ST"][0].classes == ["a", "b", "c"]
