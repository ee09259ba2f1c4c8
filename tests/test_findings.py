"""Sentences say what the records hold; each can be said both ways, and prose says none."""

import copy
import itertools
import re
import string
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from test_claims import BREAKS, GONE, GOOD, by_title, put, record, seed_of_all

from rnc import say
from rnc.study import folders, store
from rnc.study.claims import judge
from rnc.study.findings import (
    FINDINGS,
    NOTHING,
    changes,
    draws,
    drift,
    in_short,
    lettered,
    over_lengths,
    over_weights,
    summary,
    under_stronger,
)
from rnc.study.findings.beyond import value_at_loss
from rnc.study.findings.finding import span
from rnc.study.findings.series import parted_by_luck
from rnc.study.records import by_scale

ROOT = Path(__file__).resolve().parents[1]


PAST = {  # what a record holds on demand
    "checks": {
        "values": {"radii": [8, 128], "accuracy": [0, 0], "starts": [1.0, 0.99], "transfer": 1.0}
    },
    "autoattack": {
        "values": {
            points: {"points": 100, "clean": 1.0, "pgd": 0.5, "autoattack": 0.48}
            for points in ("train", "test")
        }
    },
    "early": {
        "values": {
            "radii": [4, 8],
            "clean": {"first": 0.6},
            "first": [0.3, 0.2],
            "untrained": [0.4, 0.3],
            "pixels": [0.5, 0.4],
            "last": [0.1, 0.0],
        }
    },
    "generalisation": {"values": {"test_pgd": {"accuracy": [0.3, 0.25], "nc1": [9.0, 50.0]}}},
}


@pytest.fixture
def records():
    """One seed under which every claim holds, with all that findings look at."""
    found = by_title(*seed_of_all(), record("at-frozen", GOOD, GOOD | {"nc1": 2.0}))
    for (one,) in found.values():
        sizes = {"clean_norms": [1.0] * 10, "predicted_norms": [1.0] * 10}
        leaping = one.measured["leaping"]["values"]
        leaping |= sizes | {"perturbed_norms": [0.3] * 10, "targeted_success": 0.6}
        for points in ("clean", "gauss", "pgd"):
            one.measured["trajectory"]["values"][points]["loss"] = [2.0, 0.01]
        one.measured.update(
            {
                "sweep": {
                    "values": {"eps": [0, 8, 16], "accuracy": [1, 0, 0], "nc1": [1, 90, 99]}
                },
                "test": {"values": {"clean": 0.9, "pgd": 0.5}},
                "stronger": {
                    "values": {
                        "end": {"pgd": {"accuracy": one.end("pgd", "accuracy")}},
                        "layers": {"ncc_accuracy": [0.2, 0.1, 0.0, 0.0]},
                        "leaping": leaping | {"targeted_success": 0.8},
                    }
                },
            }
        )
        one.measured.update(PAST)
        one.measured["trajectory"]["values"]["epochs"] = [0, 1]
        one.measured["sweep"]["values"]["changed"] = {
            "pgd": {
                "share": [0.0, 1.0, 1.0],
                "nc1": [None, 0.5, 0.4],
                "angle": [None, 0.2, 0.1],
                "length": [None, 0.8, 1.5],
            },
            "scatter": {"nc1": [None, 3.0, 3.0]},
            "scatter_in_span": {
                "share": [0.0, 1.0, 1.0],
                "nc1": [None, 2.0, 2.0],
                "angle": [None, 0.3, 0.3],
                "length": [None, 0.5, 0.5],
            },
        }
        one.measured["trajectory"]["values"]["pgd"] |= {"kl": [0, 0.1], "logit_norm": [1, 9.0]}
        geometry = one.measured["geometry"]["values"]
        for points, cdnv, rank, angle in (("clean", 0.1, 9.0, 0.0), ("pgd", 0.9, 8.0, 0.3)):
            angles = {"principal_angles": [angle / 2, angle], "effective_rank": rank}
            geometry[points] = angles | {"cdnv": cdnv, "kl": 0.1, "logit_norm": 9.0}
        for points in ("clean", "pgd"):
            one.measured["trajectory"]["values"][points]["between"] = [1.0, 1.0]
        one.measured["baselines"]["values"]["pixels"] = {"clean": 0.8, "pgd": 0.4}
    for method, nc1 in (("AT", 0.8), ("TRADES", 5.0), ("TRADES (frozen BN)", 9.0)):
        put(found[method][0], ("trajectory", "pgd", "nc1", -1), nc1)
    put(found["TRADES (frozen BN)"][0], ("trajectory", "clean", "nc1", -1), 9.0)
    return copy.deepcopy(found)


def other_seed(one):
    """The same network at another seed."""
    seed = one.training.seed + 1
    return copy.deepcopy(replace(one, training=replace(one.training, seed=seed)))


END = "trajectory"
FROZEN = "TRADES (frozen BN)"
# for each finding its outcome on those records, and what has to change for each of the others
OUTCOMES = {
    "st_fits": (
        "defeated",
        {
            "weakened": [("ST", (END, "pgd", "accuracy", -1), 0.5)],
            "unharmed": [("ST", (END, "pgd", "accuracy", -1), 1.0)],
        },
    ),
    "st_collapses": (
        "holds",
        {
            "partly": [("ST", (END, "clean", "nc3", -1), 0.5)],
            "other": [
                ("ST", (END, "clean", name, -1), 50.0) for name in GOOD if name.startswith("nc")
            ],
        },
    ),
    "noise_is_harmless": (
        "intact",
        {
            "brittle": [("ST", (END, "gauss", "nc1", -1), 5.0)],
            "absent": [("ST", (END, "clean", "nc3", -1), 0.5)],
        },
    ),
    "beside_nc1": (
        "exaggerates",
        {"agrees": [("ST", (END, "pgd", "within", -1), 1000.0)]},
    ),
    "points_leap": (
        "leap",
        {
            "near": [("ST", (END, "clean", "nc3", -1), 0.5)],
            "cluster": [("ST", ("changed", "pgd", "length"), [0.4] * 10)],
            "diffuse": [("ST", ("changed", "pgd", "nc1"), 2.5)],
            "none": [("ST", ("changed", "pgd", "share"), 0.01)],
        },
    ),
    "means_by_label": ("spread", {"kept": [("ST", ("leaping", "perturbed_norms"), [1.0] * 10)]}),
    "some_classes_are_preferred": (
        "uneven",
        {"even": [("ST", ("leaping", "predicted_counts"), [30] * 10)]},
    ),
    "targets": (
        "arrive",
        {
            "near": [("ST", ("changed", "targeted", "angle"), [0.05] * 10)],
            "few": [("ST", ("changed", "targeted", "share"), 0.05)],
        },
    ),
    "over_radii": ("falls", {"stays": [("ST", ("sweep", "accuracy"), [1.0, 0.9, 0.8])]}),
    "at_fits": ("fits", {"short": [("AT", (END, "pgd", "accuracy", -1), 0.9)]}),
    "at_collapses": ("holds", {"other": [("AT", (END, "pgd", "nc3", -1), 0.5)]}),
    "simplices_agree": (
        "one",
        {
            "near": [("AT", (END, "pgd", "nc2_angles", -1), 0.15)],
            "apart": [("AT", (END, "alignment", -1), 1.5)],
        },
    ),
    "spans_of_means": (
        "alike",
        {"apart": [("ST", ("geometry", "pgd", "principal_angles"), [0.2, 0.9])]},
    ),
    "at_keeps_variance": ("more", {"mixed": [("AT", (END, "clean", "nc1", -1), 0.1)]}),
    "ncc_is_robust": ("same", {"less": [("AT", (END, "pgd", "ncc_accuracy", -1), 0.5)]}),
    "trades_beside_at": (
        "further",
        {
            "closer": [("TRADES", (END, points, "nc1", -1), 0.1) for points in ("clean", "pgd")],
            "mixed": [("TRADES", (END, "pgd", "nc1", -1), 0.1)],
        },
    ),
    "tests_that_set_trades_apart": (
        "told",
        {
            "none": [
                ("AT", (END, points, name, -1), 50.0)
                for points in ("clean", "pgd")
                for name in GOOD
                if name.startswith("nc")
            ]
        },
    ),
    "freezing_hinders": (
        "mixed",
        {
            "further": [
                (FROZEN, (END, points, name, -1), 9.0)
                for points in ("clean", "pgd")
                for name in ("nc2_norms", "nc2_angles", "nc3")
            ]
        },
    ),
    "trades_converges": (
        "both",
        {
            "one": [(FROZEN, ("history", "loss"), [0.5] * 20)],
            "neither": [(t, ("history", "loss"), [0.5] * 20) for t in (FROZEN, "TRADES")],
        },
    ),
    "depth": ("holds", {"other": [("ST", ("layers", "clean", "nc1"), [1.0, 2.0, 3.0, 4.0])]}),
    "early_layers_beside_pixels": (
        "something",
        {"nothing": [("ST", ("baselines", "layers", "pgd"), [0.69] * 4)]},
    ),
    "depth_of_robust_networks": ("told", {}),
    "early_layers_attacked": (
        "lost",
        {
            "kept": [("ST", ("stronger", "layers", "ncc_accuracy"), [0.6, 0.1, 0.0, 0.0])],
            "gone": [("ST", ("stronger", "layers", "ncc_accuracy"), [0.02, 0.0, 0.0, 0.0])],
        },
    ),
    "stronger_finds": (
        "little",
        {"much": [("AT", ("stronger", "end", "pgd"), {"accuracy": 0.5})]},
    ),
    "at_collapses_under_stronger": (
        "holds",
        {"other": [("AT", ("stronger", "end", "pgd", "nc1"), 5.0)]},
    ),
    "ncc_withstands": ("same", {"less": [("AT", ("ncc_attacked", "test", "ncc"), 0.2)]}),
    "longer_targets": (
        "more",
        {"same": [("ST", ("stronger", "leaping", "targeted_success"), 0.6)]},
    ),
    "attack_is_sound": (
        "sound",
        {"unsound": [("AT", ("checks", "accuracy"), [0.5, 0.02])]},
    ),
    "autoattack_finds": (
        "agrees",
        {"differs": [("AT", ("autoattack", "test", "autoattack"), 0.4)]},
    ),
    "leap_over_radii": (
        "all",
        {
            "some": [("ST", ("sweep", "changed", "pgd", "nc1"), [None, 0.5, 1.5])],
            "none": [("ST", ("sweep", "changed", "pgd", "nc1"), [None, 1.1, 1.5])],
        },
    ),
    "outputs_move": ("more", {"less": [("AT", ("geometry", "pgd", "kl"), 2.0)]}),
    "trades_at_equal_loss": (
        "more",
        {
            "less": [("TRADES", (END, "pgd", "nc1", -1), 0.4)],
            "mixed": [("TRADES", (END, "pgd", "nc1", -1), 0.9)],
            "crosses": [("TRADES", (END, "pgd", "nc1"), [1e-9, 5.0])],
        },
    ),
    "freezing_at_equal_loss": (
        "more",
        {
            "less": [(FROZEN, (END, "pgd", "nc1", -1), 2.0)],
            "mixed": [(FROZEN, (END, "pgd", "nc1", -1), 4.5)],
            "crosses": [(FROZEN, (END, "pgd", "nc1"), [1e-9, 9.0])],
        },
    ),
    "at_frozen_learns": (
        "learns",
        {"idle": [("AT (frozen BN)", ("history", "loss"), [2.31] * 20)]},
    ),
    "trades_turns": (
        "goes_on",
        {"turns": [("TRADES", (END, "pgd", name), [0.1, 0.2]) for name in ("nc2_angles", "nc3")]},
    ),
    "collapse_without_robustness": (
        "apart",
        {
            "together": [("AT", (END, "pgd", "nc1"), [0.8, 0.8])],
            "best_last": [("AT", ("generalisation", "test_pgd", "accuracy"), [0.2, 0.3])],
        },
    ),
    "early_layers_over_radii": (
        "less",
        {"more": [("ST", ("early", "first"), [0.6, 0.5])]},
    ),
}
# these state numbers, counts, or what is true of one network among all
OF_ANY = {
    ("at_collapses_under_stronger", "other"),
    ("at_frozen_learns", "learns"),
    ("attack_is_sound", "unsound"),
    ("autoattack_finds", "differs"),
    ("depth", "other"),
    ("early_layers_attacked", "kept"),
    ("early_layers_beside_pixels", "something"),
    ("freezing_hinders", "mixed"),
    ("outputs_move", "more"),
    ("spans_of_means", "alike"),
    ("stronger_finds", "much"),
    ("trades_beside_at", "mixed"),
}
BETWEEN = {"early_layers_over_radii": "mixed"}  # said only of seeds that differ


def test_every_finding_and_every_outcome_is_tried():
    assert OUTCOMES.keys() == FINDINGS.keys()
    for name, (first, others) in OUTCOMES.items():
        between = {BETWEEN[name]} if name in BETWEEN else set()
        assert {first, *others} | between == set(FINDINGS[name].texts)


@pytest.mark.parametrize("name", FINDINGS)
def test_a_sentence_follows_the_records(records, name):
    first, _ = OUTCOMES[name]
    outcome, values = FINDINGS[name].outcome(records)
    assert outcome == first
    said = FINDINGS[name].texts[first].format(**values)
    assert say(records, name) == said.replace("at every seed", "at the one seed")


@pytest.mark.parametrize(
    ("name", "outcome"), [(n, outcome) for n, (_, rest) in OUTCOMES.items() for outcome in rest]
)
def test_other_records_get_another_sentence(records, name, outcome):
    for title, path, value in OUTCOMES[name][1][outcome]:
        put(records[title][0], path, value)
    assert FINDINGS[name].outcome(records)[0] == outcome
    assert "{" not in say(records, name)


@pytest.mark.parametrize(
    ("name", "outcome"), [(n, outcome) for n, (_, rest) in OUTCOMES.items() for outcome in rest]
)
def test_of_seeds_that_differ_nothing_is_said_that_only_one_of_them_bears_out(
    records, name, outcome
):
    """What is said of both either says so or, but for its numbers, could be said of any."""
    both = {title: [one, other_seed(one)] for title, (one,) in records.items()}
    for title, path, value in OUTCOMES[name][1][outcome]:
        put(both[title][1], path, value)
    first, second = ({t: [r[number]] for t, r in both.items()} for number in (0, 1))
    assert FINDINGS[name].outcome(first)[0] != FINDINGS[name].outcome(second)[0]
    said, _ = FINDINGS[name].outcome(both)
    sentence = say(both, name)
    assert re.search(r"every seed|[01] of 2 seeds", sentence) or (name, said) in OF_ANY, sentence


@pytest.mark.parametrize("name", FINDINGS)
def test_no_gap_of_a_sentence_stays_open_and_none_is_made_up(records, name):
    """Every number comes from the records: texts hold no digits but those of names and bounds."""
    values = FINDINGS[name].outcome(records)[1]
    for text in FINDINGS[name].texts.values():
        gaps = {gap for _, gap, _, _ in string.Formatter().parse(text) if gap}
        assert gaps <= values.keys()
        rest = re.sub(
            r"\{\w+\}|NC[1-4]|C1?\d|\(K−1\)|/255|1\.57 apart|99 of 100|1 %|PGD", "", text
        )
        assert not re.search(r"\d", rest), rest


def test_what_was_not_measured_is_said(records):
    assert say({"ST": records["ST"]}, "at_fits") == NOTHING
    del records["ST"][0].measured["changed"]
    assert say(records, "points_leap") == NOTHING
    with pytest.raises(ValueError, match="no finding 'leap'; there are .*st_fits, "):
        say(records, "leap")


def test_numbers_go_from_the_lowest_to_the_highest_seed():
    found = by_title(*seed_of_all(0), *seed_of_all(1))
    put(found["AT"][1], (END, "pgd", "nc1", -1), 8.0)
    put(found["TRADES"][1], (END, "pgd", "nc1", -1), 4.0)
    assert FINDINGS["trades_beside_at"].outcome(found)[1]["attacked"] == "0.50–6.2"


def test_one_seed_is_not_said_to_be_every_seed():
    first, second = (record("st", GOOD | {"nc1": 5.0}, GONE, seed) for seed in (0, 1))
    assert "met at the one seed" in say(by_title(first), "st_collapses")
    assert "met at every seed" in say(by_title(first, second), "st_collapses")


def test_seeds_that_lack_a_measurement_are_left_out_and_counted(records):
    found = by_title(*seed_of_all(0), *seed_of_all(1))
    del found["AT"][1].measured["geometry"]
    assert say(found, "ncc_is_robust").endswith(" (Measured at seed 0 alone.)")
    assert not say(found, "at_collapses").endswith("alone.)")
    del records["ST"][0].measured["baselines"]  # which C12 needs
    assert say(records, "depth") == NOTHING


def test_a_summary_has_every_claim_once_and_changes_are_named(records):
    judged = judge(records)
    named = (f"{v.claim.id} ({v.claim.title}; 1 seed)" for v in judged)
    assert summary(judged) == f"Hold: {', '.join(named)}."
    title, path, value = BREAKS["C6"]
    put(records[title][0], path, value)
    after = judge(records)
    assert summary(after).endswith(" Do not hold here: C6 (attacks prefer some classes; 1 seed).")
    assert changes(judged, judged) == "No verdict changes."
    assert changes(judged, after) == "Verdicts change: C6 (holds → does not hold here)."
    put(records["ST"][0], (END, "clean", "nc1", -1), 99.0)  # of C1's tests, which miss one more
    first = judge(records, "C1")
    put(records["ST"][0], (END, "clean", "nc3", -1), 9.0)
    assert changes(first, judge(records, "C1")) == (
        "No verdict changes. Where a verdict stays, tests that are met at another number of "
        "seeds: C1 (ST, clean points: NC3: 1 → 0 of 1)."
    )
    idle = [v for v in judge(records) if v.verdict == "not applicable"]
    assert idle
    assert changes(idle, idle).endswith(
        f"changes. Not applicable in both: {', '.join(v.claim.id for v in idle)}."
    )
    del records["AT"]
    assert "Were not measured: C7 (AT collapses, attacked or not), C8 " in summary(judge(records))


def test_a_claim_in_short_names_what_it_misses_or_else_what_is_nearest_to_its_bound(records):
    def line(name):
        return in_short(judge(records, name))

    assert line("C7").startswith(
        "- **AT collapses, attacked or not** (C7): holds (1 seed); nearest to its"
    )
    (verdict,) = judge(records, "C7")
    strains = [
        condition.strain(value)
        for condition, (value,) in zip(verdict.claim.conditions, verdict.values, strict=True)
    ]
    nearest = verdict.claim.conditions[strains.index(max(strains))]
    assert f"nearest to its bound: {nearest}, measured " in line("C7")
    other = seed_of_all(1)
    put(other[1], (END, "clean", "nc1", -1), 9.0)
    put(other[1], (END, "pgd", "nc3", -1), 0.3)
    both = {"ST": records["ST"], "AT": records["AT"] + by_title(*other)["AT"]}
    assert in_short(judge(both, "C7")).endswith("; 1 more missed, not at every seed.")
    put(records["AT"][0], (END, "pgd", "nc3", -1), 0.3)
    assert "partly (1 seed); missed at 1 of 1: AT, attacked points: NC3 ≤ 0.2, " in line("C7")
    put(records["AT"][0], ("history", "loss"), [2.0] * 20)
    assert line("C7").endswith(
        "not applicable (1 seed); not met: AT: loss / loss of guessing ≤ 0.01."
    )
    del records["AT"]
    assert line("C7") == "- **AT collapses, attacked or not** (C7): not measured."
    assert len(in_short(judge(records)).splitlines()) == len(judge(records))


def test_where_a_network_loses_nothing_the_attack_made_for_another_shows_little(records):
    for title in ("AT", "TRADES", FROZEN):
        put(records[title][0], (END, "pgd", "accuracy", -1), 0.5)
    assert "little" not in say(records, "attack_is_sound")
    put(records["AT"][0], (END, "pgd", "accuracy", -1), 1.0)
    assert "; on AT their own take so few that there the last of these can show little" in say(
        records, "attack_is_sound"
    )
    for title in ("TRADES", FROZEN):
        put(records[title][0], (END, "pgd", "accuracy", -1), 1.0)
    assert "; their own take so few that the last" in say(records, "attack_is_sound")


def test_a_share_that_is_not_all_or_none_is_not_rounded_to_it():
    assert span([0.998], ".0%") == "99.8%"
    assert span([0.0, 0.004, 1.0], ".0%") == "0%–100%"
    assert span([0.006, 0.5], ".0%") == "0.6%–50%"


def test_where_a_value_lies_between_snapshots_it_is_said_how_far_apart_they_are(records):
    for title in ("AT", "TRADES"):
        put(records[title][0], (END, "pgd", "loss"), [2.0, 0.1])
    assert "whose losses are up to 20 times apart" in say(records, "trades_at_equal_loss")


def weights(nc1, logits):
    series = {}
    for number, beta in enumerate((1, 3, 6)):
        one = record("trades", GOOD, GOOD)
        put(one, (END, "pgd", "nc1", -1), nc1[number])
        put(one, (END, "pgd", "logit_norm"), [1.0, logits[number]])
        series[beta] = {"TRADES": [one]}
    return series


@pytest.mark.parametrize(
    ("nc1", "logits", "sentence"),
    [
        (
            [1, 2, 3],
            [9, 8, 7],
            "get shorter: NC1 (3.0 times in all), length of the logits (1.3 times in all); "
            "of these by more than a quarter: NC1 and length of the logits.",
        ),
        (
            [1, 3, 2],
            [9, 8, 7],
            "get shorter: length of the logits (1.3 times in all); of these by",
        ),
        ([1, 2, 3], [9, 8, 8.5], "get shorter: NC1 (3.0 times in all); of these by"),
        ([1, 1.1, 1.2], [9, 8.9, 8.8], "in all); of these by more than a quarter: none."),
        ([1, 1, 1], [9, 9, 9], "get shorter: none; of these by more than a quarter: none."),
    ],
)
def test_the_weight_of_the_divergence_does_what_the_records_say(nc1, logits, sentence):
    said = over_weights(weights(nc1, logits))
    assert sentence in said
    assert f"1, 3, 6 (1 seed): NC1 {', '.join(f'{v:.3g}' for v in nc1)}; angles of NC2" in said
    assert "and seed" not in said
    assert said.endswith(" of that of guessing: all have converged.")
    slow = weights(nc1, logits)
    put(slow[6]["TRADES"][0], ("history", "loss"), [0.5] * 20)
    assert over_weights(slow).endswith("a matter of how fast they learn.")


def test_what_more_seeds_of_one_weight_give_stands_beside_the_series():
    series = weights([1, 2, 3], [9, 8, 7])
    (other,) = weights([1, 2, 5], [9, 8, 7])[6]["TRADES"]
    other = replace(other, training=replace(other.training, seed=9))
    series[6]["TRADES"].append(other)
    assert ". Over 2 seeds NC1 is 3.0–5.0 at β = 6. At every step, measures" in over_weights(
        series
    )


def lengths(nc1, robust):
    series = {}
    for number, epochs in enumerate((80, 400)):
        one = record("at", GOOD, GOOD)
        put(one, (END, "pgd", "nc1", -1), nc1[number])
        one.measured["geometry"]["values"]["test_pgd"]["nc1"] = 90.0
        one.measured["test"] = {"values": {"clean": 0.4, "pgd": robust[number]}}
        series[epochs] = {"AT": [one]}
    return series


@pytest.mark.parametrize(
    ("nc1", "robust", "collapse", "accuracy"),
    [
        ([9, 1.8], [0.15, 0.18], "falls from 1.0 to 0.20", "rises from 15.0% to 18.0%, by +3.0"),
        ([9, 18], [0.15, 0.12], "rises from 1.0 to 2.0", "falls from 15.0% to 12.0%, by -3.0"),
        ([9, 9], [0.15, 0.15], "goes from 1.0 to 1.0", "goes from 15.0% to 15.0%, by +0.0"),
    ],
)
def test_what_a_longer_training_brings_is_what_the_records_say(nc1, robust, collapse, accuracy):
    said = over_lengths(lengths(nc1, robust))
    assert said.startswith(
        f"From 80 to 400 epochs (1 seed) NC1/(K−1) of AT {collapse} on attacked"
    )
    assert "and goes from 10 to 10 on attacked test points" in said
    assert f"Accuracy on attacked test points {accuracy} points, where guessing gives 10%" in said
    del (series := lengths(nc1, robust))[80]["AT"][0].measured["geometry"]
    assert over_lengths(series) == NOTHING


def test_a_difference_of_accuracies_stands_beside_its_standard_error():
    series = lengths([9, 1.8], [0.15, 0.18])
    assert "standard error" not in over_lengths(series)  # of an unknown number of points
    for epochs, of in series.items():
        one = of["AT"][0]
        series[epochs] = {"AT": [replace(one, training=replace(one.training, per_class=100))]}
    error = 100 * (0.15 * 0.85 / 1000 + 0.18 * 0.82 / 1000) ** 0.5
    assert f"; one such difference has a standard error of {error:.1f}. " in over_lengths(series)


def test_a_sweep_says_where_nc1_is_largest_if_not_at_its_end(records):
    put(records["ST"][0], ("sweep", "nc1"), [2.0, 8.0, 6.0])
    assert "3.0 times what it is without an attack" in say(records, "over_radii")
    radius = records["ST"][0].radii[1]
    assert f"; it is largest at {radius:g}/255, 4.0 times." in say(records, "over_radii")
    put(records["ST"][0], ("sweep", "nc1"), [2.0, 6.0, 8.0])
    assert "largest" not in say(records, "over_radii")


def test_of_changed_points_angle_and_length_are_said_beside_their_gathering(records):
    said = say(records, "leap_over_radii")
    assert (
        "Their means are 0.10–0.20 rad from the vertex, where scatter in the span gives 0.30"
        in said
    )
    assert "and 0.80–1.5 times as long." in said
    assert said.endswith("nearer than scatter, at the one seed: 8/255.")
    put(records["ST"][0], ("sweep", "changed", "pgd", "length"), [None, 0.6, 1.5])
    assert say(records, "leap_over_radii").endswith("scatter, at the one seed: nowhere.")


def test_a_spectrum_as_flat_as_by_chance_is_counted_over_seeds(records):
    both = {title: [one, other_seed(one)] for title, (one,) in records.items()}
    assert "than chance" not in say(both, "spans_of_means")
    put(both["ST"][1], ("geometry", "clean", "effective_rank"), 7.0)
    said = say(both, "spans_of_means")
    assert "the clean means of ST at 1 of 2 seeds are no nearer to a simplex than chance." in said


def test_in_short_counts_the_tests_that_are_missed_beside_the_one_it_names(records):
    put(records["ST"][0], (END, "clean", "nc3", -1), 9.0)
    put(records["ST"][0], (END, "clean", "nc1", -1), 90.0)
    (verdict,) = judge(records, "C1")
    missed = int((~verdict.held()).any(1).sum())
    assert missed > 1
    assert in_short([verdict]).endswith(f"; {missed - 1} more missed.")


def test_a_series_of_one_value_says_nothing():
    series = weights([1, 2, 3], [9, 8, 7])
    assert over_weights({1: series[1]}) == over_weights({1: {}, 3: {}}) == NOTHING
    assert drift({1: by_title(*seed_of_all())}, "images") == NOTHING


def test_a_drift_counts_tests_verdicts_and_what_luck_gives():
    series = {size: by_title(*seed_of_all()) for size in (25, 50, 100)}
    for size, nc3 in ((25, 0.1), (50, 0.15), (100, 0.3)):  # bound 0.2: towards failing
        put(series[size]["ST"][0], (END, "clean", "nc3", -1), nc3)
    for size, nc1 in ((25, 0.8), (50, 0.7), (100, 0.6)):
        put(series[size]["ST"][0], ("changed", "targeted", "nc1"), nc1)
    said = drift(series, "images of each class")
    tests = sum(len(v.claim.conditions) for v in judge(series[25]))
    assert said.startswith(f"From 25 to 100 images of each class, {tests} values are compared.")
    assert f"luck, {2 / 6:.1f} would rise at every step" in said  # the others are equal
    assert "1 go towards failing at every step: 1 of C1." in said
    assert "1 go away from failing at every step: 1 of C5." in said
    assert "set against" not in said  # it is the same at each size
    for size, random in ((25, 2.0), (50, 1.0), (100, 0.5)):
        for scatter in ("scatter", "scatter_in_span"):
            put(series[size]["ST"][0], ("changed", scatter, "nc1"), random)
    for size, nc1 in ((25, 0.5), (50, 0.45), (100, 0.4)):
        put(series[size]["ST"][0], ("changed", "pgd", "nc1"), nc1)
    assert (  # it falls, and what scatter gives falls further
        "For 1 of these what they are set against, such as chance, changes too: with that "
        "subtracted 0 go the same way at every step, 1 the other way."
    ) in drift(series, "images of each class")
    assert "Verdicts change: C1 (holds → holds → partly)" in said
    del series[50]["AT"]  # what was not measured everywhere is not compared
    fewer = sum(len(v.claim.conditions) for v in judge(series[50]) if v.verdict != "not measured")
    assert f" {fewer} values are compared" in drift(series, "images of each class")


@pytest.mark.parametrize(
    ("a", "b"),
    [([1, 2, 3], [4, 5, 6]), ([1, 1, 2], [3, 3]), ([1, 1, 1], [1, 1, 1]), ([2], [1, 2, 2, 5])],
)
def test_luck_is_counted_over_all_divisions_of_the_values(a, b):
    both, parted, count = a + b, 0, 0
    for chosen in itertools.combinations(range(len(both)), len(a)):
        one = [both[i] for i in chosen]
        other = [both[i] for i in range(len(both)) if i not in chosen]
        parted += min(one) > max(other) or max(one) < min(other)
        count += 1
    assert parted_by_luck(np.array(a), np.array(b)) == parted / count


def test_two_samples_are_compared_by_the_order_of_their_seeds():
    one, other = (by_title(*(r for seed in (0, 1, 2) for r in seed_of_all(seed))) for _ in "ab")
    for number, (of_one, of_other) in enumerate(zip(one["ST"], other["ST"], strict=True)):
        put(of_one, (END, "clean", "nc3", -1), 0.1 + number / 100)
        put(of_other, (END, "clean", "nc3", -1), 0.3 + number / 100)  # bound 0.2, all beyond
        put(of_one, ("changed", "targeted", "nc1"), 0.6 + number / 10)
        put(of_other, ("changed", "targeted", "nc1"), 0.7 + number / 10)  # between them
    tests = sum(len(v.claim.conditions) for v in judge(one))
    said = draws(one, other)
    assert said.startswith(f"{tests} values of tests are compared. In 1 the seeds of one sample")
    assert "all lie beyond those of the other: 1 of C1." in said
    assert f"luck would part about {4 / 20:.1f}" in said  # 2 of 20 orders, of what is not equal
    assert "Verdicts change: C1 (holds → partly), C2" in said
    assert "In 0 the seeds" in draws(one, one)
    assert "No verdict changes." in draws(one, one)
    assert draws(one, {}) == NOTHING
    first, second = ({title: [found[0]] for title, found in of.items()} for of in (one, other))
    assert draws(first, second).startswith("Verdicts change: C1 (holds → partly), C2")


def test_every_finding_can_be_said_of_every_scale_of_the_book(monkeypatch):
    monkeypatch.delenv("RNC_RECORDS", raising=False)
    monkeypatch.setattr(folders, "store", lambda: Path("/nowhere"))
    said = 0
    for found in by_scale(store.published_records()).values():
        assert summary(judge(found))
        for name, finding in FINDINGS.items():
            text = say(found, name)
            assert "nan" not in text, (name, text)
            if any(method.title not in found for method in finding.needs):
                assert text == NOTHING
            said += text != NOTHING
    assert said > 40


COMPARATIVE = re.compile(
    r"\b(rises?|falls?|larger|smaller|higher|lower|closer|further|stays?|collapses|leaps? to|"
    r"shorter|longer|almost|orders of magnitude|several times|\d+ times|more robust|as far as)\b"
)
# what is no finding: definitions, theory, questions, settings, and how a figure is drawn
ALLOWED = (
    "A ratio above 1 says how many times further from collapse",
    "number of seeds at which it is further",
    "A verdict that stays did not depend",
    "which falls to the right",
    "asks for the two longer attacks alone",
    "the larger the more images",
    "the larger a dot, the more points",
    "for one layer the logit rises",
    "where zero is lower",
    "zero is lower from",
    "a local minimum that descent can stay in",
    "in the channel the rise is larger",
    "how far both rise above",
    "What collapses when an attack protects",
    "nearest class centres stay what they were",
    "an attack that collapses the latents",
    "may also be between others whose shadow falls there",
    "The view comes closer as they draw together",
    "and they stay the same",
)
CHAPTERS = sorted((ROOT / "notebooks").glob("*.md"))


def before_what_differs(path):
    return path.read_text(encoding="utf-8").split("## What differs from the paper")[0]


def prose_of(chapter):
    """Without its head, code and equations."""
    body = chapter.split("\n---\n", 1)[1]
    return re.sub(r"```\{(code-cell|math)\}.*?```", "", body, flags=re.S)


def comparing(*texts):
    """Paragraphs that compare, but for what is allowed."""
    paragraphs = (" ".join(p.split()) for text in texts for p in text.split("\n\n"))
    return [
        p
        for p in paragraphs
        if COMPARATIVE.search(p) and not any(allowed in p for allowed in ALLOWED)
    ]


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_chapters_state_no_findings_of_their_own(path):
    """Up to what differs from the paper neither prose nor captions compare or count."""
    text = before_what_differs(path)
    shown = re.findall(r"(?:caption: \||alt: >-)\n +(.*)\n", text)
    assert len(shown) % 2 == 0  # each caption with a text that stands for the figure
    assert comparing(prose_of(text), *shown) == []


# bounds of tests, what others report, and an angle of geometry
QUOTED = ("1.57 rad", "end at 81 %", "collapse is **there**", "It is **gone**", "are **the same**")


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_no_measured_number_stands_in_prose(path):
    """Decimals, percentages and angles come from records."""
    text = prose_of(before_what_differs(path))
    text = re.sub(r"\$[^$]*\$|`[^`]*`|\[[^]]*\]\([^)]*\)|\([^()]*licen[^()]*\)|LGPL 3.0", "", text)
    paragraphs = (" ".join(p.split()) for p in re.split(r"\n\n|\n- ", text))
    found = [
        p
        for p in paragraphs
        if re.search(r"\d+\.\d+|\d ?%|\d rad", p)
        and not any(quoted.lower() in p.lower() for quoted in QUOTED)
    ]
    assert found == []


@pytest.mark.parametrize(
    "path",
    [ROOT / "README.md", *(ROOT / "book" / f"{n}.md" for n in ("intro", "journey", "attack"))],
    ids=lambda path: path.stem,
)
def test_pages_around_the_chapters_state_none_either(path):
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.S)
    generated = r"<!-- findings: written.*?<!-- end of findings -->"
    assert comparing(re.sub(generated, "", text, flags=re.S)) == []


def test_a_value_at_a_loss_lies_on_the_line_of_logarithms(records):
    (at,) = records["AT"]
    put(at, (END, "pgd", "loss"), [1.0, 0.1])
    put(at, (END, "pgd", "nc1"), [100.0, 1.0])
    assert value_at_loss(at, "nc1", 0.1) == pytest.approx(1)
    assert value_at_loss(at, "nc1", 10**-0.5) == pytest.approx(10)
    assert value_at_loss(at, "nc1", 5) == 100


def test_a_key_of_some_letters_names_the_scales_that_they_stand_for():
    assert lettered(["x", "y", "z"]) == "- A: x\n- B: y\n- C: z"
    assert lettered(["x", "y", "z"], only={"A": 1, "C": 2}) == "- A: x\n- C: z"
    assert lettered(["x", "y"], range(1, 3)) == "- 1: x\n- 2: y"


def test_verdicts_under_stronger_attacks_are_those_of_the_seeds_that_have_them(records):
    put(records["AT"][0], ("stronger", "end"), {"pgd": {"nc1": 5.0}})
    del records["ST"][0].measured["stronger"]
    said = under_stronger(records, "C7", "C10")
    assert said.startswith("Numbers of seeds: AT 1, TRADES 1, TRADES (frozen BN) 1")
    assert "C7 (holds → partly)" in said
    assert under_stronger({"ST": records["ST"]}) == NOTHING
