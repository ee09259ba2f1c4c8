"""Verdicts follow the values, in both directions, and chance satisfies none of them."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from rnc import measure
from rnc.study import nulls
from rnc.study.claims import CLAIMS, Condition, judge
from rnc.study.findings import in_short
from rnc.study.record import Record
from rnc.study.settings import Study

GOOD = {
    "accuracy": 1.0,
    "nc1": 0.3,
    "nc2_norms": 0.05,
    "nc2_angles": 0.05,
    "nc2_norms_w": 0.05,
    "nc2_angles_w": 0.05,
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
        "changed": {
            "pgd": {"share": 1.0, "angle": [0.1] * 10, "length": [0.9] * 10, "nc1": 0.5},
            "targeted": {"share": 0.9, "angle": [0.15] * 10, "length": [0.9] * 10, "nc1": 0.5},
            "scatter_in_span": {"angle": [0.2] * 10, "length": [0.5] * 10, "nc1": 2.7},
            "scatter": {"angle": [0.6] * 10, "length": [0.2] * 10, "nc1": 3.1},
        },
        "ncc_attacked": {
            points: {"network": right, "ncc": right - 0.02}
            for points, right in (("train", 0.9), ("test", 0.5))
        },
        "geometry": {"test_pgd": {"accuracy": 0.5, "ncc_accuracy": 0.48}},
        "baselines": {
            "layers": {"clean": [0.6] * 4, "pgd": [0.3] * 4},
            "pixels": {"clean": 0.8, "pgd": 0.4},
        },
        "layers": {
            "clean": {
                "nc1": [9, 5, 1, 0.3],
                "ncc_accuracy": [0.8, 0.9, 1.0, 1.0],
                "nc2_angles": [0.08, 0.1, 0.1, 0.05],
            },
            "pgd": {"ncc_accuracy": [0.7, 0.6, 0.1, 0.0], "nc2_angles": [0.09, 0.2, 0.3, 0.4]},
        },
    }
    study = Study.of(seed=seed, epochs=20)
    trained = {
        "classes": list("0123456789"),
        "history": {"loss": [0.01] * 20, "accuracy": [0.995] * 20},
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
        record("at", GOOD | {"nc1": 0.5, "within": 2.0}, GOOD | {"nc1": 0.8}, seed),
        record("trades", weak, weak, seed),
        record("trades-frozen", weak, weak, seed),
    ]


@pytest.fixture
def records():
    """Measurements under which every claim holds."""
    return by_title(*seed_of_all())


def test_every_claim_can_hold(records):
    assert {v.verdict for v in judge(records)} == {"holds"}
    assert len(CLAIMS) == 15
    assert not any(v.failing_premises() for v in judge(records))


BREAKS = {
    "C1": ("ST", ("trajectory", "clean", "nc1", -1), 2.0),
    "C2": ("ST", ("trajectory", "gauss", "nc1", -1), 2.0),
    "C3": ("ST", ("trajectory", "pgd", "nc2_angles", -1), 0.1),
    "C4": ("ST", ("changed", "pgd", "nc1"), 2.6),
    "C5": ("ST", ("changed", "targeted", "length"), [0.5] * 10),
    "C6": ("ST", ("leaping", "predicted_counts"), [30] * 10),
    "C7": ("AT", ("trajectory", "pgd", "nc3", -1), 0.5),
    "C8": ("AT", ("trajectory", "alignment", -1), 1.0),
    "C9": ("AT", ("trajectory", "clean", "nc1", -1), 0.1),
    "C10": ("AT", ("trajectory", "pgd", "ncc_accuracy", -1), 0.5),
    "C10a": ("AT", ("ncc_attacked", "test", "ncc"), 0.3),
    "C11": ("TRADES (frozen BN)", ("trajectory", "pgd", None, -1), GOOD),
    "C11o": ("TRADES", ("trajectory", "pgd", None, -1), GOOD),
    "C12": ("ST", ("layers", "pgd", "ncc_accuracy", -1), 0.9),
    "C13": ("AT", ("trajectory", "gauss", "nc1", -1), 0.9),
}


def put(one, path, value):
    """Changes a value deep in a record."""
    place = one.trained if path[0] == "history" else one.measured[path[0]]["values"]
    *steps, last = path if path[0] == "history" else path[1:]
    if None in steps:  # all of the measures
        for name, one_value in value.items():
            place[steps[0]][name][last] = one_value
        return
    for step in steps:
        place = place[step]
    place[last] = value


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.id)
def test_every_claim_can_fail(records, claim):
    title, path, value = BREAKS[claim.id]
    put(records[title][0], path, value)
    (verdict,) = judge(records, claim.id)
    alone = len(claim.conditions) == 1
    assert verdict.verdict == ("does not hold here" if alone else "partly")
    assert not verdict.held().all()


UNMET = {
    "C1": ("ST", ("history", "loss"), [0.5] * 20),
    "C7": ("AT", ("history", "accuracy"), [0.9] * 20),
    "C2": ("ST", ("trajectory", "clean", "nc2_angles", -1), 0.3),
    "C3": ("ST", ("trajectory", "pgd", "accuracy", -1), 0.9),
    "C4": ("ST", ("trajectory", "pgd", "accuracy", -1), 0.9),
    "C5": ("ST", ("changed", "targeted", "share"), 0.2),
    "C6": ("ST", ("trajectory", "pgd", "accuracy", -1), 0.9),
    "C8": ("AT", ("trajectory", "pgd", "nc2_angles", -1), 0.15),
    "C9": ("ST", ("trajectory", "clean", "nc1", -1), 2.0),
    "C10": ("AT", ("trajectory", "pgd", "accuracy", -1), 0.03),
    "C10a": ("AT", ("ncc_attacked", "train", "network"), 0.4),
    "C11": ("TRADES (frozen BN)", ("history", "loss"), [0.069] * 20),
    "C11o": ("TRADES", ("history", "accuracy"), [0.9] * 20),
    "C12": ("ST", ("trajectory", "pgd", "accuracy", -1), 0.9),
    "C13": ("AT", ("trajectory", "clean", "nc1", -1), 20.0),
}


@pytest.mark.parametrize("claim", [c for c in CLAIMS if c.premises], ids=lambda claim: claim.id)
def test_a_claim_does_not_apply_where_a_premise_fails(records, claim):
    """An attack that takes nothing, simplices that are none, a training that has not converged."""
    title, path, value = UNMET[claim.id]
    put(records[title][0], path, value)
    (verdict,) = judge(records, claim.id)
    assert verdict.verdict == "not applicable"
    assert verdict.at_seeds == "not applicable (1 seed)"
    assert len(verdict.failing_premises()) == 1
    assert verdict.failing_premises()[0] in verdict.details()


def chance(method):
    """A network whose features know nothing of the classes, and what is derived from that."""
    generator = torch.Generator().manual_seed(1)
    h = torch.randn(300, 64, generator=generator)
    y = torch.arange(10).repeat(30)
    weight = torch.randn(10, 64, generator=generator)
    found = measure([(h, y)], 10, weight)
    names = ("nc1", "nc2_norms", "nc2_angles", "nc2_norms_w", "nc2_angles_w", "nc3", "within")
    ends = {name: getattr(found, name) for name in names}
    ends |= {"nc4": 0.9, "accuracy": 0.1, "ncc_accuracy": 0.1}
    one = record(method, ends, ends, leap=1.57, targeted_angle=1.57, alignment=1.57)
    one.measured["changed"]["values"]["pgd"] = {
        "share": 0.9, "angle": [0.2] * 10, "length": [0.5] * 10, "nc1": 2.7
    }  # fmt: skip
    guesses = {"network": 0.1, "ncc": 0.1}
    one.measured["ncc_attacked"]["values"] = {"train": guesses, "test": guesses}
    one.measured["leaping"]["values"]["predicted_counts"] = [33, 27] + [30] * 8
    return one


@pytest.mark.parametrize("claim", [c.id for c in CLAIMS if not c.id.startswith("C11")])
def test_no_condition_with_a_null_is_met_by_chance(claim):
    """No claim holds of features that are noise; C11 says that there is no collapse."""
    found = by_title(*map(chance, ("st", "at", "trades", "trades-frozen")))
    assert {v.verdict for v in judge(found, claim)} <= {
        "partly",
        "does not hold here",
        "not applicable",
    }


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.id)
def test_a_null_itself_never_satisfies_its_condition(records, claim):
    (verdict,) = judge(records, claim.id)
    for condition, row in zip(claim.conditions, verdict.nulls, strict=True):
        for null in row[~np.isnan(row)]:
            assert not condition.holds(null, null)


def test_a_test_without_a_null_is_one_that_chance_would_meet():
    """Random means pass for a simplex where features are many, and chance collapses nowhere."""
    bare = [(c.id, test.what) for c in CLAIMS for test in c.conditions if test.null is None]
    for id, what in bare:
        assert "NC2 angles" in what or (id[:3] == "C11" and what.endswith("collapse not met"))
    assert sorted(id for id, _ in bare) == ["C11"] * 2 + ["C11o"] * 2 + ["C12"] * 2 + ["C13"]


def test_noise_that_erases_the_classes_is_what_harmless_noise_is_set_off_from(records):
    (verdict,) = judge(records, "C13")
    at = records["AT"][0]
    n, k, d = sum(at.per_class("predicted_counts")), at.num_classes, at.training.num_features
    nc1, angles, accuracy = verdict.nulls[:, 0]
    assert nc1 == pytest.approx(n / (d - k) * (k - 1) / at.end("clean", "nc1"))
    assert accuracy == pytest.approx(at.end("clean", "accuracy") - 1 / k)
    assert np.isnan(angles)


def test_nulls_are_what_random_features_give():
    """At the numbers of points, classes and features that records have."""
    generator = torch.Generator().manual_seed(2)
    n, k, d = 600, 6, 40
    y, draws = torch.arange(k).repeat(n // k), []
    for _ in range(30):
        h = torch.randn(n, d, generator=generator)
        draws.append(measure([(h, y)], k, torch.randn(k, d, generator=generator)))
    mean = {name: np.mean([getattr(c, name) for c in draws]) for name in ("nc1", "nc3")}
    assert mean["nc1"] / (k - 1) == pytest.approx(nulls.nc1(n, k, d), rel=0.05)
    assert mean["nc3"] == pytest.approx(nulls.NC3, rel=0.05)
    for null, name in zip(nulls.nc2(k, d), ("nc2_norms", "nc2_angles"), strict=True):
        assert np.mean([getattr(c, name) for c in draws]) == pytest.approx(null, rel=0.1)
    counts = np.random.default_rng(5).multinomial(n, [1 / k] * k, size=1000)
    away = abs(counts - n / k).sum(1) / 2 / n
    assert np.mean(away > nulls.away_from_uniform(n, k)) == pytest.approx(0.01, abs=0.01)
    assert np.isnan(nulls.nc1(100, 10, 8))
    assert nulls.nc2(10, 128)[1] == pytest.approx(0.07, abs=0.001)


def test_spans_of_random_means_are_as_the_theory_says():
    """Of many features the angles are right ones and the spectrum is flat; of K - 1 there is one
    span. Between, for K = 2, the angle of two random lines in three dimensions is 1 rad."""
    spectrum, angles = nulls.subspaces(5, 50_000)
    assert spectrum == pytest.approx(np.full(4, 1 / 4), abs=0.02)
    assert angles == pytest.approx(np.full(4, np.pi / 2), abs=0.03)
    assert nulls.subspaces(5, 4)[1] == pytest.approx(np.zeros(4), abs=1e-6)
    assert nulls.subspaces(2, 3, draws=4000)[1] == pytest.approx([1.0], abs=0.02)


def test_the_rank_of_random_means_is_that_of_other_draws():
    ranks = []
    for means in np.random.default_rng(1).normal(size=(200, 10, 64)):
        values = np.linalg.svd(means - means.mean(0), compute_uv=False)[:9] ** 2
        shares = values / values.sum()
        ranks.append(np.exp(-(shares * np.log(shares)).sum()))
    assert nulls.rank(10, 64) == pytest.approx(np.mean(ranks), abs=0.03)
    assert nulls.rank(2, 10) == pytest.approx(1)


@pytest.mark.parametrize(
    ("classes", "mean"),
    # of the half-line, and of a third of the plane: E r times the mean of cos over +-60 degrees
    [(2, np.sqrt(2 / np.pi)), (3, np.sqrt(np.pi / 2) * np.sin(np.pi / 3) / (np.pi / 3))],
)
def test_scatter_sorted_by_a_simplex_is_as_diffuse_as_gaussian_sectors_are(classes, mean):
    between = mean**2 / (classes - 1)  # per direction
    expected = (1 - between) / between
    assert nulls.scattered(20_000, classes) == pytest.approx(expected, rel=0.01)
    assert np.isnan(nulls.scattered(0, classes))
    assert np.isnan(nulls.scattered(1, classes))


def test_the_null_of_targeted_points_is_that_of_as_many(records):
    changed = records["ST"][0].measured["changed"]["values"]
    changed["targeted"]["share"] = 0.05
    changed["scatter_in_span"]["nc1"] = 1e9  # of another number of points
    (verdict,) = judge(records, "C5")
    points = records["ST"][0].per_class("predicted_counts").sum()
    assert verdict.nulls[2, 0] == nulls.scattered(round(0.05 * points), 10)


@pytest.mark.parametrize("kind", ["scatter", "scatter_in_span"])
def test_points_that_leap_gather_more_than_either_kind_of_scatter(records, kind):
    assert all(v.verdict == "holds" for v in judge(records, "C4"))
    put(records["ST"][0], ("changed", kind, "nc1"), 0.4)
    (verdict,) = judge(records, "C4")
    assert verdict.held()[:, 0].tolist() == [True, True, False, False]


def test_a_strain_is_above_one_where_a_value_fails():
    def of(relation, bound, neutral=0.0):
        return Condition("angle", lambda seed: 0.0, relation, bound, neutral=neutral)

    assert of("<=", 0.1).strain(0.05) == pytest.approx(0.5)
    assert of("<=", 0.1).strain(-0.05) == 0
    assert of(">=", 0.1).strain(0.05) == pytest.approx(2)
    assert of(">=", 0.1).strain(-0.05) == np.inf
    assert of("<=", -0.8).strain(-0.4) == pytest.approx(2)
    assert of("<=", -0.8).strain(0.4) == np.inf
    assert of("<=", 2, neutral=1).strain(1.5) == pytest.approx(0.5)
    assert np.isnan(of(">=", 0).strain(1.0))
    assert np.isnan(of("<=", 1).strain(np.nan))


def test_within_the_bound_is_not_enough_where_chance_gives_as_much():
    few = Condition("angle", lambda seed: 0.0, "<=", 0.1)
    assert few.holds(0.08)
    assert not few.holds(0.08, 0.07)
    assert few.holds(0.06, 0.07)
    assert not few.holds(0.06, 0.07, factor=0.5)
    assert not few.holds(0.15, 0.2)
    assert few.holds(0.15, 0.2, factor=2)
    assert not few.holds(float("nan"))


def test_a_comparison_of_networks_wants_trainings_of_one_length(records):
    (st,) = records["ST"]
    records["ST"] = [replace(st, training=replace(st.training, epochs=40))]
    (verdict,) = judge(records, "C9")
    assert verdict.failing_premises() == ["epochs: ST / AT ≤ 1"]


def test_a_missed_condition_says_on_which_side_of_chance_it_is(records):
    put(records["ST"][0], ("trajectory", "clean", "nc1", -1), 2.0)
    put(records["ST"][0], ("trajectory", "clean", "nc2_angles", -1), 0.5)
    (verdict,) = judge(records, "C1")
    named = {c.what: verdict.direction(n) for n, c in enumerate(verdict.claim.conditions)}
    assert {what: side for what, side in named.items() if side} == {
        "ST, clean points: NC1/(K−1)": "in the claim's direction",
        "ST, clean points: NC2 angles": "not past chance in the claim's direction",
    }
    put(records["ST"][0], ("trajectory", "clean", "nc2_angles", -1), 0.01)
    assert in_short(judge(records, "C1")).endswith("chance 5.56: in the claim's direction.")


def test_bounds_of_counted_tests_are_scaled_not_the_count(records):
    """At half of the bounds AT meets no test of NC1 that TRADES could miss alone."""
    put(records["AT"][0], ("trajectory", "clean", None, -1), GOOD | {"nc1": 0.6})
    put(records["TRADES"][0], ("trajectory", "clean", None, -1), GOOD | {"nc1": 5.0})
    (verdict,) = judge(records, "C11o")
    alone = [c.what for c in verdict.claim.conditions].index(
        "TRADES, clean points: tests of collapse not met that AT meets"
    )
    assert verdict.values[alone, 0] == 1
    assert verdict.meets(alone)
    assert not verdict.meets(alone, 0.5)
    assert verdict.claim.conditions[alone].bound_at(0.5) == 1


def test_counts_of_tests_are_judged_against_as_many_missed_by_at(records):
    """TRADES and AT that miss one test each, and not the same, differ as two runs of one do."""
    put(records["AT"][0], ("trajectory", "clean", None, -1), GOOD | {"nc3": 0.5})
    put(records["TRADES"][0], ("trajectory", "clean", None, -1), GOOD | {"nc1": 5.0})
    (verdict,) = judge(records, "C11o")
    assert (verdict.values[1, 0], verdict.nulls[1, 0]) == (1, 1)
    assert not verdict.meets(1)
    assert verdict.direction(1) == "not past chance in the claim's direction"


def test_no_multiple_of_a_bound_goes_beyond_the_best_value():
    correlation = Condition("correlation", lambda seed: -1.0, "<=", -0.8, best=-1)
    assert correlation.bound_at(0.5) == -0.4
    assert correlation.bound_at(2) == -1
    assert correlation.holds(-1.0, factor=2)


@pytest.mark.parametrize("claim", ["C2", "C3", "C4", "C5"])
@pytest.mark.parametrize("measure", ["nc1", "nc2_norms", "nc2_angles", "nc3", "nc4"])
def test_collapse_must_be_there_to_be_broken(records, claim, measure):
    """Halfway between there and gone is not enough."""
    put(records["ST"][0], ("trajectory", "clean", measure, -1), 1.5 if measure == "nc1" else 0.21)
    (verdict,) = judge(records, claim)
    assert verdict.verdict == "not applicable"


@pytest.mark.parametrize(
    ("measure", "values"), [("nc1", (0.4, 0.35)), ("nc2_angles", (0.08, 0.07))]
)
def test_noise_that_does_as_much_as_the_attack_is_not_harmless(records, measure, values):
    for points, value in zip(("gauss", "pgd"), values, strict=True):
        put(records["ST"][0], ("trajectory", points, measure, -1), value)
    (verdict,) = judge(records, "C2")
    assert verdict.verdict == "partly"


def test_the_simplices_of_at_are_compared_where_it_collapses_as_C7_asks(records):
    put(records["AT"][0], ("trajectory", "pgd", "nc3", -1), 0.5)
    (verdict,) = judge(records, "C8")
    assert verdict.failing_premises() == ["tests of C7 that are met ≥ 12"]
    assert verdict.verdict == "not applicable"


def test_a_first_layer_that_keeps_less_than_the_pixels_has_learnt_nothing(records):
    assert judge(records, "C12")[0].verdict == "holds"
    put(records["ST"][0], ("baselines", "pixels", "pgd"), 0.95)
    (verdict,) = judge(records, "C12")
    assert (verdict.verdict, verdict.held().sum()) == ("partly", len(verdict.held()) - 1)


def test_a_verdict_hangs_on_its_bound_as_far_as_it_says(records):
    """Halved and doubled is the distance from where nothing is said, for a ratio 1."""
    put(records["ST"][0], ("trajectory", "gauss", "nc1", -1), 0.3 * 2.5)
    (verdict,) = judge(records, "C2")
    assert (verdict.answer(0.5), verdict.answer(), verdict.answer(2)) == (
        "partly", "partly", "holds",
    )  # fmt: skip
    put(records["ST"][0], ("trajectory", "gauss", "nc1", -1), 0.3 * 1.4)
    (verdict,) = judge(records, "C2")
    assert verdict.answer(0.5) == verdict.answer() == "holds"


def test_an_undefined_value_does_not_hold(records):
    put(records["ST"][0], ("changed", "pgd", "angle"), [None] * 10)
    assert judge(records, "C4")[0].verdict == "partly"


@pytest.mark.parametrize("nc1", [[None, 5, 1, 0.3], [1, 1, 1, 1]])
def test_depth_has_no_correlation_where_it_cannot_be_formed(records, nc1):
    """A missing value is not the largest, and a constant one has no rank."""
    put(records["ST"][0], ("layers", "clean", "nc1"), nc1)
    (verdict,) = judge(records, "C12")
    assert verdict.verdict == "partly"
    assert np.isnan(verdict.values[0, 0])


def test_a_dead_network_is_judged(records):
    """All its features are 0, and so is every variance."""
    for points in ("clean", "pgd", "gauss"):
        for name in ("within", "nc1", "ncc_accuracy"):
            put(records["ST"][0], ("trajectory", points, name, -1), 0.0)
    put(records["ST"][0], ("layers", "clean", "ncc_accuracy"), [0.0] * 4)
    verdicts = {v.claim.id: v.verdict for v in judge(records)}
    assert "holds" not in {verdicts[c] for c in ("C2", "C9", "C12")}


def test_no_attack_at_all_can_be_judged(records):
    """At radius 0 nothing leaps, and no claim about leaping holds of it."""
    put(records["ST"][0], ("trajectory", "pgd", None, -1), GOOD)
    nothing = {"share": 0.0, "angle": [None] * 10, "length": [None] * 10, "nc1": None}
    for group in ("pgd", "targeted", "scatter", "scatter_in_span"):
        records["ST"][0].measured["changed"]["values"][group] = nothing
    verdicts = {v.claim.id: v.verdict for v in judge(records)}
    assert {verdicts[c] for c in ("C3", "C4", "C5", "C6", "C12")} == {"not applicable"}
    # and a training of one epoch
    records["ST"][0].trained["history"] |= {"loss": [1.0], "accuracy": [1.0]}
    judge(records)


def test_an_unknown_claim_is_named(records):
    with pytest.raises(ValueError, match="no claim 'C99'; there are C1, C2"):
        judge(records, "C99")


def test_a_claim_must_hold_at_every_seed():
    good, worse = (record("st", GOOD, GONE, seed) for seed in (0, 1))
    put(worse, ("leaping", "predicted_counts"), [30] * 10)
    (alone,) = judge(by_title(good), "C6")
    assert alone.at_seeds == "holds (1 seed)"
    (verdict,) = judge(by_title(good, worse), "C6")
    assert verdict.at_seeds == "partly (all tests at 1 of 2 seeds)"
    (twice,) = judge(by_title(good, record("st", GOOD, GONE, seed=1)), "C6")
    assert twice.at_seeds == "holds (2 seeds)"


def test_where_it_applies_at_some_seeds_it_is_judged_by_those():
    good, other = (record("st", GOOD, GONE, seed) for seed in (0, 1))
    put(other, ("trajectory", "pgd", "accuracy", -1), 0.9)
    (verdict,) = judge(by_title(good, other), "C6")
    assert verdict.at_seeds == "holds (1 of 2 seeds, not applicable at the others)"
    assert verdict.failing_premises() == ["ST: share of accuracy left by the attack ≤ 0.5"]
    assert verdict.premises_held() == [("ST: share of accuracy left by the attack ≤ 0.5", False)]
    put(other, ("leaping", "predicted_counts"), [300, 0] + [0] * 8)
    (again,) = judge(by_title(good, other), "C6")
    assert again.measured() == judge(by_title(good), "C6")[0].measured()


def test_what_was_not_measured_is_said(records):
    del records["AT"]
    verdicts = {v.claim.id: v.verdict for v in judge(records)}
    assert verdicts["C1"] == "holds"
    assert {verdicts[c] for c in ("C7", "C8", "C9", "C10", "C10a", "C13")} == {"not measured"}
    assert "–" in judge(records, "C8")[0].details()


def test_values_are_shown_with_their_spread_over_seeds():
    found = by_title(record("st", GOOD, GONE, 0), record("st", GOOD, GONE, 1))
    put(found["ST"][1], ("changed", "pgd", "angle"), [1.0] * 10)
    (verdict,) = judge(found, "C4")
    mean, deviation = np.mean([0.1, 1.0]) / 1.68, np.std([0.1, 1.0], ddof=1) / 1.68
    assert verdict.measured()[0] == f"{mean:.3g} ± {deviation:.2g}"
    assert verdict.by_chance()[0] == f"{0.2 / 1.68:.3g}"
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
