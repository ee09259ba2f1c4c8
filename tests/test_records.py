"""Records of a study and of all scales; and what a typed record says of its values."""

from dataclasses import replace

import numpy as np
import pytest

from rnc import Study, available, records, scales
from rnc.study import store
from rnc.study.record import Record
from rnc.study.records import by_scale
from rnc.study.settings import Attack, Evaluation
from rnc.study.store import Request


def record(training, evaluation=None):
    return Record(training, evaluation or Study.of().evaluation, {}, {})


@pytest.fixture(autouse=True)
def no_published_records(tmp_path, monkeypatch):
    monkeypatch.setenv("RNC_RECORDS", str(tmp_path / "records"))


def test_records_are_by_method_over_seeds_and_made_where_they_are_missing(empty_store, tiny):
    study = replace(tiny, seeds=(0, 1))
    assert available(study) == {}
    store.make(Request(study.training("st", 1), study.evaluation))
    assert [r.training.seed for r in available(study)["ST"]] == [1]
    found = records(study, "ST", "AT (frozen BN)")
    assert [(title, r.training.seed) for title, seeds in found.items() for r in seeds] == [
        ("ST", 0),
        ("ST", 1),
        ("AT (frozen BN)", 0),
        ("AT (frozen BN)", 1),
    ]
    assert available(study) == {"ST": found["ST"]}  # of the methods that a study compares


def test_an_unknown_method_is_named(tiny):
    with pytest.raises(ValueError, match="no method 'TRADE'; there are ST, AT, TRADES, TRADES"):
        records(tiny, "TRADE")


def test_a_record_gives_numbers(empty_store, tiny):
    one = store.make(Request(tiny.training("st"), tiny.evaluation))
    assert one.epochs == [0, 1, 2, 3]
    assert len(one.curve("pgd", "nc1")) == len(one.angles("leap")) == 4
    assert one.end("pgd", "nc1") == one["trajectory"]["pgd"]["nc1"][-1]
    assert one.angle("leap") == one["trajectory"]["leap"][-1]
    assert len(one.history("loss")) == 3
    assert one.num_classes == len(one.classes) == len(one.per_class("leap")) == 10
    assert len(one.swept("nc1")) == len(one.radii)
    assert len(one.layer_curve("clean", "nc1")) == len(one.layers["names"])
    assert 0 <= one.test("pgd") <= one.test("clean") <= 1
    one["trajectory"]["leap"][-1] = None  # what could not be formed
    assert np.isnan(one.angle("leap"))


def test_under_stronger_attacks_only_the_ends_are_replaced():
    values = {
        "trajectory": {
            "pgd": {"nc1": [1, 2], "nc2_angles": [0.1, 0.3]},
            "clean": {"loss": [3, 4]},
            "leap": [5, 6],
        },
        "leaping": {"leap": [7]},
        "layers": {
            "names": ["a", "b"],
            "pgd": {"nc1": [7, 8], "ncc_accuracy": [8, 9], "nc2_angles": [0.2, 0.3]},
        },
        "test": {"pgd": 1},
        "stronger": {
            "end": {"pgd": {"nc1": 20, "nc2_angles": 0.4}, "leap": 60},
            "leaping": {"leap": [70]},
            "layers": {"ncc_accuracy": [80, 90]},
        },
    }
    study = Study.of()
    before = {name: {"values": v, "environment": {"seconds": 1}} for name, v in values.items()}
    one = Record(study.training("st"), study.evaluation, {}, before)
    after = one.under_stronger()
    assert after["trajectory"] == {
        "pgd": {"nc1": [1, 20], "nc2_angles": [0.1, 0.4]},
        "clean": {"loss": [3, 4]},
        "leap": [5, 60],
    }
    assert after["leaping"] == {"leap": [70]}
    assert after["layers"] == {  # the last layer is the one whose ends these are
        "names": ["a", "b"],
        "pgd": {"nc1": [7, 8], "ncc_accuracy": [80, 90], "nc2_angles": [0.2, 0.4]},
    }
    assert one["trajectory"]["leap"] == [5, 6]
    assert after.measuring_seconds == one.measuring_seconds == 4  # stronger ones were asked for


def test_under_stronger_attacks_baselines_are_those_that_were_attacked_themselves():
    values = {
        "trajectory": {"pgd": {"nc2_angles": [0.3]}},
        "layers": {"pgd": {"ncc_accuracy": [0.5, 0.4], "nc2_angles": [0.2, 0.3]}},
        "baselines": {"layers": {"pgd": [0.6, 0.5]}, "pixels": {"clean": 0.9, "pgd": 0.7}},
        "stronger": {"end": {}, "leaping": {}, "layers": {"ncc_accuracy": [0.3, 0.0]}},
    }
    study = Study.of()
    assert study.evaluation.attack.eps == 8
    measured = {name: {"values": of} for name, of in values.items()}
    one = Record(study.training("st"), study.evaluation, {}, measured)
    unknown = one.under_stronger()
    assert np.isnan([unknown.pixels("pgd"), *unknown.untrained("pgd")]).all()
    assert unknown.pixels("clean") == 0.9
    measured["early"] = {
        "values": {"radii": [4, 8], "untrained": [0.4, 0.2], "pixels": [0.5, 0.1]}
    }
    known = one.under_stronger()
    assert known.pixels("pgd") == 0.1
    assert known.untrained("pgd")[0] == 0.2
    assert np.isnan(known.untrained("pgd")[1])


# Scales -------------------------------------------------------------------------------------


def test_scales_are_grouped_by_every_setting_but_method_and_seed():
    """A network that differs in precision, schedule or attack is of another scale."""
    small = Study.of("cifar10-small")
    found = [record(t) for seed in (2, 1) for t in small.trainings(seed=seed)]
    paper = Study.of(
        "paper", per_class=100, width=16, epochs=80, precision="float32", device="cpu"
    )
    assert paper.base.scale == small.base.scale  # by name they are the same
    found += [record(t) for t in paper.trainings("at", seed=1)]
    grouped = by_scale(found)
    assert len(grouped) == 2
    names = list(grouped)
    assert all(name.startswith("CIFAR-10, 100 images per class; VGG11") for name in names)
    assert ["drops (0.5, 0.75)" in name for name in names] == [True, False]
    assert ["attack of training PGD-5" in name for name in names] == [True, False]
    assert [name.endswith("; seeds 1, 2") for name in names] == [True, False]
    assert [len(seeds) for seeds in grouped[names[0]].values()] == [2, 2, 2, 2]
    assert [r.training.seed for r in grouped[names[0]]["AT"]] == [1, 2]
    assert list(grouped[names[1]]) == ["AT"]


def test_of_one_scale_the_name_says_no_more_than_it_needs():
    (name,) = by_scale(map(record, Study.of("cifar10-small").trainings()))
    assert name == (
        "CIFAR-10, 100 images per class; VGG11 of width 16; 80 epochs (640 updates); "
        "PGD-10, ℓ∞ ε = 8/255, α = 2/255; seed 1"
    )


def test_standard_training_stands_beside_every_attack_of_the_others():
    study = Study.of("cifar10-small")
    longer = replace(study.training("at"), attack=Attack("linf", 8, 2, 10))
    grouped = by_scale(map(record, [study.training("st"), study.training("at"), longer]))
    assert [list(found) for found in grouped.values()] == [["ST", "AT"]] * 2
    alone = by_scale([record(study.training("st"))])
    assert [list(found) for found in alone.values()] == [["ST"]]


def test_a_preset_that_trains_standard_training_longer_is_one_scale():
    quick = Study.of("quick", seeds=[1, 2])
    found = [record(t) for seed in (1, 2) for t in quick.trainings(seed=seed)]
    longer = record(replace(quick.training("at"), epochs=130))
    one, other = by_scale([longer, *found]).items()
    assert one[0] == str(quick)
    assert [len(seeds) for seeds in one[1].values()] == [2, 2, 2, 2]
    assert "130 epochs" in other[0]
    assert list(other[1]) == ["AT"]


def test_another_evaluation_is_another_scale_and_short_trainings_come_first():
    study = Study.of("cifar10-small")
    some = Evaluation(study.evaluation.attack, per_class=10)
    long = Study.of("cifar10-small", epochs=400).training("st")
    grouped = by_scale([record(long), record(study.training("st")), record(long, some)])
    assert ["400 epochs" in name for name in grouped] == [False, True, True]
    assert ["measured on 10 points" in name for name in grouped] == [False, False, True]


def test_a_published_scale_stands_beside_the_quick_one(empty_store, tiny):
    store.make(Request(tiny.training("st"), tiny.evaluation), publish=True)
    assert list(scales(tiny)) == [str(tiny)]  # and none of quick, of which there are no records
    assert scales(tiny)[str(tiny)]["ST"][0].training == tiny.training("st")


def test_a_published_scale_of_the_same_name_is_not_hidden(empty_store, tiny):
    """It differs in what names do not say, such as the drops of the learning rate."""
    others = [replace(t, drops=(0.5,)) for t in tiny.trainings("st", "at", "trades")]
    for other in others:
        store.make(Request(other, tiny.evaluation), publish=True)
    store.make(Request(tiny.training("st"), tiny.evaluation))
    own, published = scales(tiny).values()
    assert own["ST"][0].training == tiny.training("st")
    assert published["ST"][0].training == others[0]


def test_a_published_scale_of_two_methods_is_not_among_those_compared(empty_store, tiny):
    for training in tiny.trainings("st", "at"):
        store.make(Request(replace(training, drops=(0.5,)), tiny.evaluation), publish=True)
    assert scales(tiny) == {}
