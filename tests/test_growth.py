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
from rnc.study.store import Request


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
    store.make(Request(record.training, record.evaluation), publish=True)
    assert store.published_records() == [record]
    figure = plots.training_curves(found)
    assert {line.get_color() for line in figure.axes[0].get_lines()} == {"#000000"}
    assert "Noisy training" in tables.costs({"scale": found}).html
    asked = []
    monkeypatch.setattr(cli, "compute", lambda found, *rest: asked.extend(found))
    cli.main(["run", "--only", "noisy", "--width", "2"])
    assert [request.training.method for request in asked] == [method]


def test_a_measurement_is_one_function_and_only_it_is_made(tiny, monkeypatch):
    request = Request(tiny.training("st"), tiny.evaluation)
    before = store.make(request)
    declared = dict(MEASUREMENTS)

    @measurement(version=1, passes=lambda attack: 1)
    def brightness(subject, part):
        """Of each class."""
        return {"mean": [subject.x[subject.y == c].mean() for c in range(subject.num_classes)]}

    try:
        monkeypatch.setattr(store, "train", None)
        assert store.find(request) is None
        assert store.estimate(request, "cpu") < 1
        after = store.make(request)
        assert len(after["brightness"]["mean"]) == 10
        assert after.measured.items() > before.measured.items()
        assert request.path(MEASUREMENTS["brightness"]).name == "brightness.1.json"
    finally:
        MEASUREMENTS.clear()
        MEASUREMENTS.update(declared)


def test_a_data_set_is_one_entry(monkeypatch):
    generator = np.random.default_rng(0)

    def squares(per_class):
        y = torch.arange(3).repeat_interleave(8)
        x = torch.from_numpy(generator.random((24, 3, 16, 16), dtype=np.float32))
        return (x, y), (x, y), ("a", "b", "c")

    monkeypatch.setitem(DATASETS, "squares", DataSet("squares", squares, 3, 8, (3, 16, 16)))
    study = Study.of(dataset="squares", width=2, epochs=1, steps=1)
    assert str(study).startswith("squares; VGG11 of width 2")
    assert records(study, "ST")["ST"][0].classes == ["a", "b", "c"]
