"""Verdicts follow the values, in both directions."""

import copy

import numpy as np
import pytest

from rnc.claims import CLAIMS, Scales, judge

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


def record(clean, pgd, **angles):
    trajectory = {
        kind: {name: [9.0, value] for name, value in values.items()}
        for kind, values in (("clean", clean), ("pgd", pgd), ("gauss", clean))
    }
    angles = {"leap": 0.1, "targeted_angle": 0.3, "alignment": 0.1} | angles
    return {
        "history": {"loss": [1.0] * 20, "accuracy": [0.99] * 20},
        "trajectory": trajectory | {name: [1.0, value] for name, value in angles.items()},
        "final": {"vertex_angle": 1.68, "predicted_counts": [100, 0] + [25] * 8},
        "layers": {
            "clean": {"nc1": [9, 5, 1, 0.3], "ncc_accuracy": [0.8, 0.9, 1.0, 1.0]},
            "perturbed": {"ncc_accuracy": [0.7, 0.6, 0.1, 0.0]},
        },
    }


@pytest.fixture
def records():
    """Measurements under which every claim holds."""
    weak = GOOD | {"nc1": 5.0, "nc2_angles": 0.25}
    return {
        "ST": record(GOOD, GONE),
        "AT": record(GOOD | {"nc1": 0.5}, GOOD | {"nc1": 0.8}),
        "TRADES": record(weak, weak),
        "TRADES (frozen BN)": record(weak, weak),
    }


def test_every_claim_can_hold(records):
    assert {v.verdict for v in judge([records])} == {"holds"}
    assert len(CLAIMS) == 13


BREAKS = {
    "C1": ("ST", ("trajectory", "clean", "nc1", -1), 2.0),
    "C2": ("ST", ("trajectory", "gauss", "nc1", -1), 2.0),
    "C3": ("ST", ("trajectory", "pgd", "nc2_angles", -1), 0.1),
    "C4": ("ST", ("trajectory", "leap", -1), 0.8),
    "C5": ("ST", ("trajectory", "targeted_angle", -1), 0.5),
    "C6": ("ST", ("final", "predicted_counts"), [30] * 10),
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
    "C12": ("ST", ("layers", "perturbed", "ncc_accuracy", -1), 0.9),
}


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.id)
def test_every_claim_can_fail(records, claim):
    method, path, value = BREAKS[claim.id]
    place = records[method]
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    (verdict,) = judge([records], claim.id)
    assert verdict.verdict == "does not hold here"


def test_an_undefined_value_does_not_hold(records):
    records["ST"]["trajectory"]["leap"][-1] = None
    assert judge([records], "C4")[0].verdict == "does not hold here"


def test_no_attack_at_all_can_be_judged(records):
    """At radius 0 nothing leaps: every angle of attacked points is 0."""
    for name in ("leap", "alignment"):
        records["ST"]["trajectory"][name][-1] = 0.0
    verdicts = {v.claim.id: v.verdict for v in judge([records])}
    assert verdicts["C4"] == verdicts["C5"] == "holds"
    records["ST"]["history"] = {"loss": [1.0], "accuracy": [1.0]}  # and a training of one epoch
    judge([records])


def test_an_unknown_claim_is_named(records):
    with pytest.raises(ValueError, match="no claim 'C99'; there are C1, C2"):
        judge([records], "C99")


def test_a_claim_must_hold_at_every_seed(records):
    worse = copy.deepcopy(records)
    worse["ST"]["trajectory"]["leap"][-1] = 1.0
    assert judge([records, records], "C4")[0].verdict == "holds"
    assert judge([records, worse], "C4")[0].verdict == "does not hold here"


def test_what_was_not_measured_is_said(records):
    del records["AT"]
    verdicts = {v.claim.id: v.verdict for v in judge([records])}
    assert verdicts["C1"] == "holds"
    assert {verdicts[c] for c in ("C7", "C8", "C9", "C10")} == {"not measured"}
    assert "not measured" in judge([records])._repr_html_()
    assert "–" in judge([records], "C8")[0].details()


def test_the_table_shows_mean_and_spread_over_seeds(records):
    other = copy.deepcopy(records)
    other["ST"]["final"]["vertex_angle"] = 3.36
    html = judge([records, other], "C4")._repr_html_()
    assert "0.0446 ± 0.021" in html
    assert "leap angle / angle between vertices ≤ 0.25" in html
    assert str(judge([records], "C4", "C6")) == "C4 holds\nC6 holds"


def test_scales_stand_side_by_side_with_their_spread(records):
    other = copy.deepcopy(records)
    other["ST"]["trajectory"]["leap"][-1] = 1.0
    alone = {"ST": records["ST"]}
    scales = Scales(
        {
            "digits; VGG11; 65 epochs; seed 0": judge([records]),
            "CIFAR-10; VGG11; 80 epochs; seeds 1, 2": judge([records, other]),
            "CIFAR-10; VGG11; 400 epochs; seed 1": judge([alone]),
        }
    )
    by_claim = {v.claim.id: v for v in scales["CIFAR-10; VGG11; 80 epochs; seeds 1, 2"]}
    assert by_claim["C4"].at_seeds == "does not hold here (1 of 2 seeds)"
    assert by_claim["C3"].at_seeds == "holds"
    html = scales._repr_html_()
    for said in ("digits; VGG11; 65 epochs", "does not hold here (1 of 2 seeds)", "not measured"):
        assert said in html
    mean, deviation = np.mean([0.1, 1.0]) / 1.68, np.std([0.1, 1.0], ddof=1) / 1.68
    assert f"{mean:.3g} ± {deviation:.2g}" in html
    glance = scales.glance()
    assert "<th>CIFAR-10; VGG11; 80 epochs; seeds 1, 2</th>" in glance
    assert "href='../notebooks/03_attacks.html#verdicts'" in glance
    assert glance.count("✗") == 2  # C4, and C5, which compares with it
    assert str(scales).count("C4 holds") == 2


def test_a_claim_is_judged_by_the_seeds_that_have_its_networks(records):
    partial = {"ST": copy.deepcopy(records["ST"])}
    verdicts = {v.claim.id: v for v in judge([records, partial])}
    assert verdicts["C1"].values.shape[1] == 2
    assert verdicts["C7"].values.shape[1] == 1
    assert verdicts["C9"].verdict == "holds"
