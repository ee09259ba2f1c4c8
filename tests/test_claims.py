"""Verdicts follow the values, in both directions."""

import numpy as np
import pytest

from rnc.study.claims import CLAIMS, judge
from rnc.study.record import Record
from rnc.study.settings import Study

GOOD = {
    "accuracy": 1.0,
    "nc1": 0.3,
    "nc2_norms": 0.05,
    "nc2_angles": 0.05,
    "nc3": 0.1,
    "nc4": 0.0,
    "within": 1.0,
    "ncc_accuracy": 1.0,
}
GONE = GOOD | {"accuracy": 0.0, "nc1": 90.0, "nc2_angles": 0.3, "ncc_accuracy": 0.0}


def record(method, clean, pgd, seed=0, **angles):
    trajectory = {
        kind: {name: [9.0, value] for name, value in values.items()}
        for kind, values in (("clean", clean), ("pgd", pgd), ("gauss", clean))
    }
    angles = {"leap": 0.1, "targeted_angle": 0.3, "alignment": 0.1} | angles
    measured = {
        "trajectory": trajectory | {name: [1.0, value] for name, value in angles.items()},
        "leaping": {"vertex_angle": 1.68, "predicted_counts": [100, 0] + [25] * 8},
        "layers": {
            "clean": {"nc1": [9, 5, 1, 0.3], "ncc_accuracy": [0.8, 0.9, 1.0, 1.0]},
            "pgd": {"ncc_accuracy": [0.7, 0.6, 0.1, 0.0]},
        },
    }
    study = Study.of(seed=seed)
    trained = {
        "classes": list("0123456789"),
        "history": {"loss": [1.0] * 20, "accuracy": [0.99] * 20},
    }
    measured = {name: {"values": values} for name, values in measured.items()}
    return Record(study.training(method), study.evaluation, trained, measured)


def by_title(*records):
    found = {}
    for one in records:
        found.setdefault(one.training.method.title, []).append(one)
    return found


def seed_of_all(seed=0):
    weak = GOOD | {"nc1": 5.0, "nc2_angles": 0.25}
    return [
        record("st", GOOD, GONE, seed),
        record("at", GOOD | {"nc1": 0.5}, GOOD | {"nc1": 0.8}, seed),
        record("trades", weak, weak, seed),
        record("trades-frozen", weak, weak, seed),
    ]


@pytest.fixture
def records():
    """Measurements under which every claim holds."""
    return by_title(*seed_of_all())


def test_every_claim_can_hold(records):
    assert {v.verdict for v in judge(records)} == {"holds"}
    assert len(CLAIMS) == 13


BREAKS = {
    "C1": ("ST", ("trajectory", "clean", "nc1", -1), 2.0),
    "C2": ("ST", ("trajectory", "gauss", "nc1", -1), 2.0),
    "C3": ("ST", ("trajectory", "pgd", "nc2_angles", -1), 0.1),
    "C4": ("ST", ("trajectory", "leap", -1), 0.8),
    "C5": ("ST", ("trajectory", "targeted_angle", -1), 0.5),
    "C6": ("ST", ("leaping", "predicted_counts"), [30] * 10),
    "C7": ("AT", ("trajectory", "pgd", "nc3", -1), 0.5),
    "C8": ("AT", ("trajectory", "alignment", -1), 1.0),
    "C9": ("AT", ("trajectory", "clean", "nc1", -1), 0.1),
    "C10": ("AT", ("trajectory", "pgd", "ncc_accuracy", -1), 0.5),
    "C11": ("TRADES", ("trajectory", "pgd", "nc2_angles", -1), 0.05),
    "C11f": (
        "TRADES (frozen BN)",
        ("history", "loss"),
        [2 - i / 10 for i in range(20)],
    ),
    "C12": ("ST", ("layers", "pgd", "ncc_accuracy", -1), 0.9),
}


def put(one, path, value):
    """Changes a value deep in a record."""
    place = one.trained if path[0] == "history" else one.measured[path[0]]["values"]
    *steps, last = path if path[0] == "history" else path[1:]
    for step in steps:
        place = place[step]
    place[last] = value


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.id)
def test_every_claim_can_fail(records, claim):
    title, path, value = BREAKS[claim.id]
    put(records[title][0], path, value)
    (verdict,) = judge(records, claim.id)
    assert verdict.verdict == "does not hold here"


def test_an_undefined_value_does_not_hold(records):
    put(records["ST"][0], ("trajectory", "leap", -1), None)
    assert judge(records, "C4")[0].verdict == "does not hold here"


@pytest.mark.parametrize("nc1", [[None, 5, 1, 0.3], [1, 1, 1, 1]])
def test_depth_has_no_correlation_where_it_cannot_be_formed(records, nc1):
    """A missing value is not the largest, and a constant one has no rank."""
    put(records["ST"][0], ("layers", "clean", "nc1"), nc1)
    (verdict,) = judge(records, "C12")
    assert verdict.verdict == "does not hold here"
    assert np.isnan(verdict.values[0, 0])


def test_a_dead_network_is_judged(records):
    """All its features are 0, and so is every variance."""
    for points in ("clean", "pgd", "gauss"):
        for name in ("within", "nc1", "ncc_accuracy"):
            put(records["ST"][0], ("trajectory", points, name, -1), 0.0)
    put(records["ST"][0], ("layers", "clean", "ncc_accuracy"), [0.0] * 4)
    verdicts = {v.claim.id: v.verdict for v in judge(records)}
    assert {verdicts[c] for c in ("C2", "C9", "C12")} == {"does not hold here"}


def test_no_attack_at_all_can_be_judged(records):
    """At radius 0 nothing leaps: every angle of attacked points is 0."""
    for name in ("leap", "alignment"):
        put(records["ST"][0], ("trajectory", name, -1), 0.0)
    verdicts = {v.claim.id: v.verdict for v in judge(records)}
    assert verdicts["C4"] == verdicts["C5"] == "holds"
    # and a training of one epoch
    records["ST"][0].trained["history"] |= {"loss": [1.0], "accuracy": [1.0]}
    judge(records)


def test_an_unknown_claim_is_named(records):
    with pytest.raises(ValueError, match="no claim 'C99'; there are C1, C2"):
        judge(records, "C99")


def test_a_claim_must_hold_at_every_seed():
    worse = record("st", GOOD, GONE, seed=1, leap=1.0)
    good = record("st", GOOD, GONE, seed=0)
    assert judge(by_title(good), "C4")[0].verdict == "holds"
    (verdict,) = judge(by_title(good, worse), "C4")
    assert verdict.verdict == "does not hold here"
    assert verdict.at_seeds == "does not hold here (1 of 2 seeds)"


def test_what_was_not_measured_is_said(records):
    del records["AT"]
    verdicts = {v.claim.id: v.verdict for v in judge(records)}
    assert verdicts["C1"] == "holds"
    assert {verdicts[c] for c in ("C7", "C8", "C9", "C10")} == {"not measured"}
    assert "–" in judge(records, "C8")[0].details()


def test_values_are_shown_with_their_spread_over_seeds():
    found = by_title(record("st", GOOD, GONE, 0), record("st", GOOD, GONE, 1, leap=1.0))
    (verdict,) = judge(found, "C4")
    mean, deviation = np.mean([0.1, 1.0]) / 1.68, np.std([0.1, 1.0], ddof=1) / 1.68
    assert verdict.measured() == [f"{mean:.3g} ± {deviation:.2g}"]
    assert [str(v) for v in judge(found, "C1", "C6")] == ["C1 holds", "C6 holds"]


def test_networks_are_compared_at_the_same_seed():
    """A claim is judged by the seeds that have all its networks, in whatever order they come."""
    spread = {0: 0.5, 1: 0.9}
    at = [record("at", GOOD | {"within": 2 * w}, GOOD, seed) for seed, w in spread.items()]
    st = [record("st", GOOD | {"within": w}, GONE, seed) for seed, w in spread.items()]
    alone = record("st", GOOD, GONE, seed=2)
    verdicts = {v.claim.id: v for v in judge(by_title(*at[::-1], *st, alone))}
    assert verdicts["C1"].values.shape[1] == 3
    assert verdicts["C7"].values.shape[1] == 2
    assert verdicts["C9"].values[0] == pytest.approx([2, 2])
