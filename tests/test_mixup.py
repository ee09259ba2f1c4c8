"""Mixup: the theory against numerics of other kinds, the method, and what the chapter says."""

import copy
import json
from functools import partial

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from scipy.special import log_softmax
from torch import Generator
from torch.nn import functional as F

from rnc import ParameterError, simplex_etf
from rnc.neighbours.mixup import NEIGHBOUR, geometry, scales, sentences
from rnc.neighbours.mixup.attacked import BINS, LEADS, SWEEP, corners, landing, reliability
from rnc.neighbours.mixup.claims import predicted
from rnc.neighbours.mixup.experiments import Settings, examined
from rnc.neighbours.mixup.geometry import LAMBDAS, TRIANGLE, Frame, above, of_mixes, unexplained
from rnc.neighbours.mixup.mixes import Pairs, different, same
from rnc.neighbours.mixup.theory import kappa, mixed_features, mixed_logits
from rnc.show import mixup as show
from rnc.study import data
from rnc.study.methods import METHODS
from rnc.study.settings import Study
from rnc.study.store import keep
from rnc.study.training import build, train

# Theory ---------------------------------------------------------------------------------------


# quasi-Newton stops where differences of the loss are lost in rounding, Newton goes on
@pytest.mark.parametrize(("optimiser", "tight"), [("BFGS", 2e-7), ("trust-exact", 4e-9)])
@pytest.mark.parametrize(
    ("classes", "dim", "length", "reg"),
    [(3, 2, 1.0, 0.02), (10, 16, 1.5, 0.01), (100, 99, 1.0, 0.003), (4, 8, 0.7, 0.5)],
)
def test_the_optimum_is_what_optimisers_find(optimiser, tight, classes, dim, length, reg):
    """From three starts; the objective as it is written, with its own derivatives."""
    rows = length * simplex_etf(classes, dim, Generator().manual_seed(1)).numpy()
    factor = length**2 * classes / ((classes - 1) * reg)

    def objective(h, target):
        log_p = log_softmax(rows @ h)
        value = -target @ log_p + reg / 2 * h @ h
        return value, rows.T @ (np.exp(log_p) - target) + reg * h

    def hessian(h, target):
        p = np.exp(log_softmax(rows @ h))
        return rows.T @ (np.diag(p) - np.outer(p, p)) @ rows + reg * np.eye(dim)

    def descended(target, seed):
        start = np.random.default_rng(seed).normal(size=dim)
        second = {"hess": hessian} if optimiser == "trust-exact" else {}
        options = {"gtol": 1e-11}
        return minimize(
            objective, start, (target,), optimiser, jac=True, options=options, **second
        ).x

    one, two = np.eye(classes)[:2]
    alone = rows @ descended(one, 0)
    margin = alone[0] - alone[1]  # one number of an unmixed point ...
    assert kappa(margin, classes) == pytest.approx(factor, rel=10 * tight)
    for lam in (0.5, 0.7, 0.95):  # ... predicts all mixes
        a, b, other = mixed_logits(lam, margin, classes)
        wanted = np.array([a, b, *[other] * (classes - 2)])
        direction = mixed_features(rows, 0, 1, lam, margin)
        h = direction * (a - other) / ((rows[0] - rows[2]) @ direction)
        for seed in range(3):
            found = descended(lam * one + (1 - lam) * two, seed)
            assert np.linalg.norm(found - h) < 5 * tight * np.linalg.norm(h)
            p, expected = (np.exp(log_softmax(logits)) for logits in (rows @ found, wanted))
            assert np.abs(p - expected).max() < tight


@pytest.mark.parametrize("classes", [2, 3, 10, 1000])
@pytest.mark.parametrize("margin", [1e-6, 0.1, 5.0, 29.0, 300.0, 700.0])
def test_the_edges_of_the_theory(margin, classes):
    whole = mixed_logits(1, margin, classes)
    assert whole[0] - whole[1] == pytest.approx(margin, rel=1e-9)  # an unmixed point
    assert mixed_logits(0, margin, classes)[1] == pytest.approx(whole[0], rel=1e-9)
    for lam in (0.5, 0.8, 1.0):
        a, b, other = mixed_logits(lam, margin, classes)
        swapped = mixed_logits(1 - lam, margin, classes)
        assert swapped[:2] == pytest.approx((b, a), rel=1e-9, abs=1e-9 * margin)
        if classes == 2:
            assert np.isnan(other)
            assert a == pytest.approx(-b, abs=1e-9 * margin)
            continue
        assert a + b + (classes - 2) * other == pytest.approx(0, abs=1e-7 * classes)
        if lam < 1 and margin > 1e-3:
            assert a - other < margin


def test_two_classes_meet_their_own_condition():
    for lam in (0.5, 0.6, 0.9):
        a, b, _ = mixed_logits(lam, 3.0, 2)
        p = 1 / (1 + np.exp(b - a))
        assert a == pytest.approx(kappa(3.0, 2) * (lam - p), abs=1e-9)


def test_weak_decay_gives_calibrated_mixes_and_strong_decay_chords():
    a, b, _ = mixed_logits(0.7, 40.0, 10)
    assert a - b == pytest.approx(np.log(0.7 / 0.3), abs=1e-9)
    weak = predicted(1e-4, 10)
    assert weak["rise"] == pytest.approx(weak["rise_chord"], abs=1e-3)
    assert weak["difference"] == pytest.approx(weak["difference_chord"], abs=1e-3)


def test_values_of_the_theory():
    found = {d: predicted(d, 10) for d in (4, 6, 8, 12, 20)}
    assert [round(of["rise"][0], 2) for of in found.values()] == [0.72, 0.80, 0.85, 0.89, 0.93]
    at = LAMBDAS.index(0.7)
    assert [round(of["difference"][at], 2) for of in found.values()] == [
        0.24, 0.14, 0.11, 0.07, 0.04,
    ]  # fmt: skip


@pytest.mark.parametrize("lam", [-0.1, 1.2, float("nan")])
def test_a_share_outside_0_and_1_is_named(lam):
    with pytest.raises(ParameterError, match=r"lambda must be in \[0, 1\]; got (-0.1|1.2|nan)"):
        mixed_logits(lam, 5.0, 10)
    pairs = Pairs.between(torch.arange(2), [(0, 1)], 2, 0)
    with pytest.raises(ParameterError, match="lambda must be in"):
        pairs.mixed(torch.rand(2, 3, 4, 4), lam)


@pytest.mark.parametrize(
    ("margin", "classes", "message"),
    [
        (0.0, 10, "margin must be more than 0 and at most 700; got 0.0"),
        (-1.0, 10, "margin must be more than 0"),
        (701.0, 10, "at most 700; got 701.0"),
        (float("nan"), 10, "margin must be"),
        (5.0, 1, "classes must be a whole number, at least 2; got 1"),
    ],
)
def test_a_wrong_margin_or_number_of_classes_is_named(margin, classes, message):
    with pytest.raises(ParameterError, match=message):
        mixed_logits(0.5, margin, classes)


# The method -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def images():
    return data.load("digits", per_class=20)


def lost(method, images, seed=0, mixing=1.0):
    """Loss, logits, and what the first layer was given."""
    training = Study.of(width=2, epochs=2).training(method)
    model = build(training, images).train()
    seen = []
    model.normalise.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    x, y = images.x[::10], images.y[::10]
    noise = Generator().manual_seed(seed)
    drawn = training.method.draw([len(y)], mixing, noise)
    loss, logits = training.method.objective(model, x, y, {}, 6.0, noise, *drawn)
    return loss, logits, seen[0], x, y


@pytest.mark.parametrize("method", ["mixup", "mixup-mse", "mixup-etf"])
def test_images_and_labels_are_mixed_with_one_share(images, method):
    loss, logits, mixed, x, y = lost(method, images)
    noise = Generator().manual_seed(0)
    u = float(torch.rand((), generator=noise))
    lam, partner = max(u, 1 - u), torch.randperm(len(y), generator=noise)
    assert torch.allclose(mixed, lam * x + (1 - lam) * x[partner], atol=1e-6)
    if method == "mixup-mse":
        target = lam * torch.eye(10)[y] + (1 - lam) * torch.eye(10)[y[partner]]
        expected = ((logits - target) ** 2).sum() / len(y)
    else:
        log_p = F.log_softmax(logits, 1)
        one, two = (log_p.gather(1, c[:, None]).mean() for c in (y, y[partner]))
        expected = -lam * one - (1 - lam) * two
    assert torch.allclose(loss, expected, rtol=1e-5)


@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_shares_are_from_the_beta_distribution(alpha):
    """Of the larger of the two, whose mean is that of max(lambda, 1 - lambda)."""
    batches = [2] * 2000
    partner, share = METHODS["mixup"].draw(batches, alpha, Generator().manual_seed(0))
    assert partner.view(-1, 2).sort().values.tolist() == [[0, 1]] * 2000
    assert (share[::2] == share[1::2]).all()
    shares = share[::2].tolist()
    drawn = np.random.default_rng(0).beta(alpha, alpha, 200_000)
    assert min(shares) >= 0.5
    assert np.mean(shares) == pytest.approx(np.maximum(drawn, 1 - drawn).mean(), abs=0.012)


def test_a_fixed_simplex_is_not_trained(images, tiny):
    training = tiny.training("mixup-etf")
    model = build(training, images)
    rows = model.classifier.weight.double()
    assert torch.allclose(rows @ rows.T, (torch.eye(10) * 10 - 1).double() / 9, atol=1e-6)
    assert "classifier" not in " ".join(name for name, _ in model.named_parameters())
    end = train(training, images).model
    assert torch.equal(end["classifier.weight"], model.classifier.weight)
    # the other weights begin as those of other methods do
    other = build(tiny.training("mixup"), images).state_dict()
    assert torch.equal(model.state_dict()["conv1.conv.weight"], other["conv1.conv.weight"])


def test_mixing_leaves_other_networks_as_they_are(tiny):
    """Neither a key of a record changes, nor what is trained unless asked."""
    assert [t.method.name for t in tiny.trainings()] == ["st", "at", "trades", "trades-frozen"]
    assert tiny.training("st").mixing == 1.0
    assert Settings().training("st", 0) == Study.of().training("st", 0)


# What is measured -----------------------------------------------------------------------------


def ideal(lam_of, classes=10, margin=6.0):
    """A network whose features are those of a candidate: images of 1 pixel name their class by
    channel, so that a mix names both shares."""
    rows = simplex_etf(classes, 12, Generator().manual_seed(0))

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.penultimate = torch.nn.Identity()

        def forward(self, x):
            h = torch.stack([lam_of(shares, rows.numpy()) for shares in x.flatten(1).double()])
            # theory's features at their scale: the logits of an unmixed point are D above
            return self.penultimate(h) @ rows.T * margin * (classes - 1) / classes

    x, y = torch.eye(classes)[:, :, None, None].repeat(2, 1, 1, 1), torch.arange(classes).repeat(2)
    model, h = Net(), rows[torch.arange(classes).repeat(2)]
    return model, x, y, Frame.of(h, y, rows)


def channel(shares, rows):
    a, b = shares.topk(2).indices.tolist()
    lam = float(shares[a])
    a_, b_, other = mixed_logits(min(lam, 1.0), 6.0, len(rows))
    z = np.full(len(rows), other)
    z[a], z[b] = (a_, b_) if lam < 1 else (a_, other)
    # of a simplex of rows of length 1: W^T z (K - 1)/K has the logits z
    return torch.tensor(z @ rows) / 6.0


def chord(shares, rows):
    return shares @ torch.tensor(rows)


@pytest.mark.parametrize(("candidate", "near", "far"), [
    (channel, "off_theory", "off_chord"),
    (chord, "off_chord", "off_theory"),
])  # fmt: skip
def test_each_candidate_is_recognised(candidate, near, far, monkeypatch):
    monkeypatch.setattr(geometry, "OF_ONE", 4)
    monkeypatch.setattr(geometry, "OF_TWO", 1)
    model, x, y, frame = ideal(candidate)
    found = of_mixes(model, x, y, frame, seed=0)
    assert found["margin"] == pytest.approx(6, rel=1e-4)
    assert found["margin_range"] == pytest.approx(0, abs=1e-4)
    assert found[near] == pytest.approx(0, abs=1e-6)
    assert found[far] > 0.02
    assert found["off_plane"] == pytest.approx(0, abs=1e-6)
    assert found["same_cos_seen"] == pytest.approx(1, abs=1e-6)
    names = ("rise", "difference") if candidate is channel else ("rise_chord", "difference_chord")
    expected = predicted(6.0, 10)
    for measure, name in zip(("rise", "difference"), names, strict=True):
        assert found[measure] == pytest.approx(expected[name], abs=1e-4)


def test_pairs_are_of_the_classes_that_were_asked_for():
    y = torch.tensor([0, 1, 2, 0, 1, 2, 2])
    pairs = Pairs.between(y, different(3), 5, 0)
    assert list(zip(pairs.a.tolist(), pairs.b.tolist(), strict=True)) == [
        pair for pair in different(3) for _ in range(5)
    ]
    twins = Pairs.between(y, same(3), 20, 0)
    assert torch.equal(twins.a, twins.b)
    assert not (twins.first == twins.second).any()
    x = torch.rand(7, 3, 2, 2)
    assert torch.equal(pairs.mixed(x, 1.0), x[pairs.first])
    assert torch.equal(pairs.mixed(x, torch.zeros(30)), x[pairs.second])


def test_what_is_above_the_others():
    logits = torch.tensor([[5.0, 3.0, 1.0, 0.0]])
    zero, one = torch.tensor([0]), torch.tensor([1])
    assert above(logits, zero).tolist() == pytest.approx([5 - 4 / 3])
    assert above(logits, zero, one).tolist() == pytest.approx([4 - 0.5])


def test_what_a_candidate_leaves():
    found = torch.randn(5, 3, dtype=torch.float64, generator=Generator().manual_seed(0))
    assert unexplained(found, 7 * found) == pytest.approx(0, abs=1e-12)
    assert unexplained(torch.eye(2).double(), torch.eye(2).double().flip(0)) == 1


def test_the_plane_of_a_simplex_shows_its_rows_as_a_triangle():
    rows = simplex_etf(10, 16, Generator().manual_seed(0))
    frame = Frame.of(rows, torch.arange(10), rows)
    drawn = frame.rows[[2, 5, 7]] @ frame.plane((2, 5, 7))
    assert torch.allclose(drawn, drawn.norm(dim=1).mean() * TRIANGLE.T * 1.5**0.5, atol=1e-9)


def test_corners_and_landing_of_points_that_are_known():
    """Four points of class 0 with D = 2: at it, at a wrong vertex, between two wrong classes, and
    between a wrong one and its own."""
    logits = torch.tensor([[2.0, 0, 0, 0], [0, 2.0, 0, 0], [0, 2.0, 2.0, 0], [1.9, 2.0, 0, 0]])
    y = torch.zeros(4, dtype=torch.long)
    at = corners(logits, y, 2.0)
    triangle = TRIANGLE.T
    assert torch.allclose(at[0], triangle[2], atol=1e-3)
    assert torch.allclose(at[1], triangle[0], atol=1e-3)
    assert torch.allclose(at[2], triangle[0] + triangle[1], atol=1e-3)
    rows = simplex_etf(4, 3, Generator().manual_seed(0))
    frame = Frame.of(rows, torch.arange(4), rows)
    found = landing(logits, logits.double() @ rows, y, frame, 2.0)
    assert (found["accuracy"], found["in_channel"], found["between_wrong"]) == (0.25, 0.5, 0.25)
    assert found["predicted"].tolist() == [1, 3, 0, 0]
    assert sum(found["leads"]) == pytest.approx(1)


def test_reliability_is_that_of_the_definition(generator):
    logits = 3 * torch.randn(300, 4, generator=generator)
    y = torch.randint(4, (300,), generator=generator)
    found = reliability(logits, y)
    chance, predicted_ = logits.double().softmax(1).max(1)
    error = 0.0
    for low in np.arange(BINS) / BINS:
        inside = (chance >= low) & (chance < low + 1 / BINS)
        if inside.any():
            gap = chance[inside].mean() - (predicted_ == y)[inside].double().mean()
            error += float(inside.double().mean() * abs(gap))
    assert found["ece"] == pytest.approx(error)
    sure = reliability(torch.tensor([[100.0, 0.0]]), torch.tensor([0]))  # probability 1: last bin
    assert sure["ece"] == pytest.approx(0)


def test_a_network_is_examined_from_training_to_picture(empty_store, tmp_path, monkeypatch):
    monkeypatch.setenv("RNC_RECORDS", str(tmp_path / "records"))
    tiny = property(lambda settings: Study.of(width=2, per_class=20, epochs=settings.epochs))
    monkeypatch.setattr(Settings, "study", tiny)
    found = examined(Settings(epochs=2, steps=1), "mixup-etf", 0)
    assert len(found["sweep"]) == len(SWEEP)
    assert len(found["picture"]["attacked"]) == 200
    assert set(found["attacked"]) == {"pgd", "margin", "long", "gauss"}
    assert found["attacked"]["pgd"]["accuracy"] <= found["clean"]["accuracy"]
    assert np.isfinite([found["mixes"][name] for name in ("off_theory", "off_chord")]).all()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"mixing": 0}, "mixing must be more than 0; got 0"),
        ({"mixing": -1.0}, "mixing must be a number, at least 0; got -1.0"),
        ({"mixing": float("inf")}, "mixing must be finite; got inf"),
        ({"mixing": float("nan")}, "mixing must be a number, at least 0; got nan"),
        ({"mixing": "1"}, "mixing must be a number, at least 0; got '1'"),
        ({"scale": "digit"}, r"scale must be one of digits, cifar10-small; got 'digit' \(did you"),
        ({"epochs": 0}, "epochs must be a whole number, at least 1; got 0"),
        ({"eps": -8}, "eps must be a number in units of 1/255, at least 0; got -8"),
        ({"steps": 2.5}, "steps must be a whole number, at least 1; got 2.5"),
        ({"classes": "0,1"}, r"classes must be three different ones in 0..9; got \(0, 1\)"),
        ({"classes": "0,1,1"}, "classes must be three different ones"),
        ({"classes": "0,1,10"}, "classes must be three different ones"),
        ({"classes": "0,1,x"}, "classes must be whole numbers such as \"0,1,2\"; got '0,1,x'"),
        ({"seeds": "0,0"}, "seeds must be different whole numbers"),
    ],
)
def test_a_wrong_parameter_of_the_chapter_is_named(wrong, message):
    with pytest.raises(ParameterError, match=message):
        Settings.from_notebook(wrong)


def test_settings_of_one_value_have_one_key():
    assert Settings(mixing=1, eps=8) == Settings(mixing=1.0, eps=8.0)
    assert json.dumps(Settings.from_notebook({"classes": "0,1,2", "seeds": "0,1"}).__dict__)


# Claims, sentences, figures -------------------------------------------------------------------


def network(**changes):
    """What the experiments give of a network, made up."""
    expected = predicted(6.0, 10)
    land = {
        "accuracy": 0.0,
        "confidence": 0.7,
        "leap_seen": 0.5,
        "between_wrong": 0.8,
        "predicted": [50] * 10,
        "leads": [1 / (len(LEADS) - 1)] * (len(LEADS) - 1),
        "collapse": {"nc1": 80.0, "nc4": 0.2},
    }
    mixes = {
        "margin": 6.0,
        "margin_range": 0.05,
        "lambda_share": 0.01,
        "same_cos": 0.85,
        "same_cos_seen": 0.98,
        "other_cos_seen": 0.1,
        "off_theory": 0.1,
        "off_chord": 0.2,
        "unseen": 0.3,
        "rise": expected["rise"],
        "difference": expected["difference"],
    }
    bins = {"share": [0.2, 0.8, 0.0], "confidence": [0.5, 0.9, None], "accuracy": [0.6, 1.0, None]}
    found = {
        "clean": land | {"accuracy": 1.0, "collapse": {"nc1": 1.5, "nc4": 0.0}},
        "mixes": mixes,
        "mixes_train": mixes,
        "attacked": {kind: copy.deepcopy(land) for kind in ("pgd", "margin", "long", "gauss")},
        "sweep": [land] * len(SWEEP),
        "robust": {part: {"pgd": 0.9} for part in ("train", "test")},
        "reliability": {"ece": 0.01, "accuracy": 0.98, "confidence": 0.97, "bins": bins},
        "picture": {
            "classes": [0, 1, 2],
            "rows": TRIANGLE.T.tolist(),
            "same": [[0.1, 0.2]] * 3,
            "mixed": [[0.5, 0.1]] * 3,
            "lambda": [0.1, 0.5, 0.9],
            "attacked": [[0.0, 0.1]] * 3,
        },
    }
    found = json.loads(json.dumps(found))
    for path, value in changes.items():
        *steps, last = path.split("__")
        place = found
        for step in steps:
            place = place[step]
        place[last] = value
    return found


@pytest.fixture
def measured():
    """Where every claim holds, at two seeds."""
    leaps = {
        f"attacked__{kind}__{name}": value
        for kind in ("pgd", "margin", "long")
        for name, value in (("leap_seen", 0.04), ("between_wrong", 0.02))
    }
    of_st = {"reliability__ece": 0.05, "clean__collapse__nc1": 0.02}
    of_st |= {f"robust__{part}__pgd": 0.7 for part in ("train", "test")}
    chords = {"mixes__off_theory": 0.08, "mixes__off_chord": 0.03, "mixes__rise": [0.48] * 5}
    made = {
        "st": partial(network, **leaps, **of_st),
        "mixup": network,
        "mixup_mse": partial(network, **leaps, **chords),
        "mixup_etf": partial(network, mixes__off_theory=0.09),
    }
    return {name: [make(), make()] for name, make in made.items()}


# by claim, what to change so that it does not hold fully
BREAKS = {
    "M1": ("mixup", "mixes", "same_cos_seen", 0.9),
    "M2": ("mixup", "mixes", "margin_range", 0.2),
    "M3": ("mixup", "mixes", "off_chord", 0.095),
    "M4": ("mixup", "mixes", "difference", [0.0, 0.2, 0.4, 0.6, 0.8]),
    "M5": ("mixup_mse", "mixes", "rise", [0.7] * 5),
    "M6": ("mixup_etf", "reliability", "accuracy", 0.9),
    "M7": ("mixup", "reliability", "ece", 0.06),
    "M8": ("mixup", "attacked", "margin", "between_wrong", 0.4),
    "M9": ("mixup", "robust", "test", "pgd", 0.7),
    "M10": ("mixup", "clean", "collapse", "nc1", 0.01),
}


def test_every_claim_can_hold(measured):
    assert {v.verdict for v in NEIGHBOUR.judge(measured, (0, 1))} == {"holds"}


@pytest.mark.parametrize("claim", [claim.id for claim in NEIGHBOUR.claims])
def test_every_claim_can_fail(measured, claim):
    name, *path, last, value = BREAKS[claim]
    for of in measured[name]:
        for step in path:
            of = of[step]
        of[last] = value
    judged = {v.claim.id: v.verdict for v in NEIGHBOUR.judge(measured, (0, 1))}
    assert judged.pop(claim) in ("partly", "does not hold here")
    assert set(judged.values()) == {"holds"}


def test_mixes_that_are_nearer_to_the_boundary_than_theory_says_are_so_in_part(measured):
    def judged(differences):
        for of in measured["mixup"]:
            of["mixes"]["difference"] = differences
        return next(v for v in NEIGHBOUR.judge(measured, (0, 1)) if v.claim.id == "M4")

    assert judged([0.0, 0.19, 0.39, 0.59, 0.8]).held().tolist() == [[True, True], [False, False]]
    beyond = judged([0.0, 0.19, 0.41, 0.59, 0.8])
    assert beyond.verdict == "does not hold here"
    assert not beyond.scalable  # both tests ask for a sign
    assert next(v for v in NEIGHBOUR.judge(measured, (0, 1)) if v.claim.id == "M5").scalable


def test_claims_on_networks_that_do_not_fit_are_not_applicable(measured):
    for of in measured["mixup"]:
        of["clean"]["accuracy"] = 0.9
        of["attacked"]["long"]["accuracy"] = 0.6
    judged = {v.claim.id: v.verdict for v in NEIGHBOUR.judge(measured, (0, 1))}
    applies = {name for name, verdict in judged.items() if verdict != "not applicable"}
    assert applies == {"M5", "M7", "M9"}


def test_sentences_follow_the_values(measured):
    text = sentences.on_setting(Settings(epochs=50, eps=4, mixing=0.2, seeds=(1, 2)))
    assert text.startswith(
        "Here: digits; VGG11 of width 8; 50 epochs (200 updates); λ ~ Beta(α, α) with α = 0.2"
    )
    assert text.endswith("10 steps, ℓ∞, ε = 4/255, on training points; seeds 1, 2.")
    assert "cosine of 0.98 (mixup) and 0.98 (ST)" in sentences.on_same(measured)
    assert "ST aligns as well" in sentences.on_same(measured)
    assert "so that mixes are nearer to the channel" in sentences.on_two(measured)
    assert "chord 0.40)" in sentences.on_two(measured)
    text = sentences.on_variants(measured)
    assert text.startswith("With the squared error theory leaves 0.080 and the chord 0.030")
    assert "nearer to the chord" in text
    assert "Mixup does not leap as ST does" in sentences.on_attack(measured)
    assert "mixing alone does not keep points from a vertex" in sentences.on_squared_attack(
        measured
    )
    assert "more robust than ST at every seed" in sentences.on_robustness(measured)
    assert "So mixup is better calibrated." in sentences.on_calibration(measured)
    assert "NC1 of mixup is 1.5 for unmixed points (ST 0.020)" in sentences.on_collapse(measured)
    other = copy.deepcopy(measured)
    assert sentences.on_scales({"here": measured, "there": other}).startswith("Every verdict")
    other["mixup"][0]["mixes"]["off_chord"] = other["mixup"][1]["mixes"]["off_chord"] = 0.05
    assert sentences.on_scales({"here": measured, "there": other}) == (
        "Verdicts that change with the scale: M3: holds (here), does not hold here (there)."
    )
    assert sentences.on_scales({"here": measured}).startswith("No other")


def test_other_scales_are_shown_only_where_they_are_recorded(empty_store, tmp_path, monkeypatch):
    monkeypatch.setenv("RNC_RECORDS", str(tmp_path / "records"))
    assert scales.recorded(Settings()) == {}
    one, two, *_ = scales.OTHERS
    for task in (*scales.tasks(one), scales.tasks(two)[0]):  # of the second half is missing
        experiment, settings, seed = task
        key = experiment._key(settings, *seed)
        keep(experiment.name, experiment.version, key, lambda name=experiment.name: {"of": name})
    assert scales.recorded(Settings()) == {
        one: {"mixup": [{"of": "mixup/mixup"}], "st": [{"of": "mixup/st"}]}
    }
    assert scales.recorded(Settings(eps=4.0)) == {}  # of another attack


def test_sentences_of_the_other_outcomes(measured):
    one, two = measured["mixup"]
    measured["st"][0]["mixes"]["same_cos_seen"] = 0.9
    assert "ST aligns less" in sentences.on_same(measured)
    one["mixes"]["off_chord"] = 0.05
    assert "nearer to the channel at some seeds only" in sentences.on_two(measured)
    for of in measured["mixup"]:
        of["robust"]["train"]["pgd"] = of["robust"]["test"]["pgd"] = 0.4
    assert "less robust than ST at every seed" in sentences.on_robustness(measured)
    two["robust"]["test"]["pgd"] = 0.95
    assert "neither more nor less robust" in sentences.on_robustness(measured)
    one["reliability"]["ece"] = 0.2
    assert "better calibrated at some seeds only" in sentences.on_calibration(measured)
    two["reliability"]["ece"] = 0.2
    assert "worse calibrated" in sentences.on_calibration(measured)
    measured["mixup"], measured["st"] = measured["st"], measured["mixup"]
    assert "leaps to vertices more exactly" in sentences.on_attack(measured)
    assert "not less than half as many at every seed" in sentences.on_squared_attack(measured)
    measured["st"][0] = measured["mixup"][0]
    said = (
        "Of 6 pairs of seed and attack mixup's angle is larger than ST's at 0, and more than twice"
    )
    assert said in sentences.on_attack(measured)


def test_a_table_has_a_column_for_each_scale(measured):
    other = {name: measured[name][:1] for name in ("st", "mixup")}  # without the variants
    table = show.scales({"here": measured, "there": other})
    assert list(table.columns) == ["here", "there"]
    assert table.loc["M3 mixes of two classes lie in a channel", "there"] == "holds (1 seed)"
    assert table.loc["calibration error: mixup (ST)", "here"] == "0.010 (0.050)"
    at = "rise / D at λ = 0.5 (theory; chord)"
    assert table.loc[at, "here"] == "0.80 (0.80; 0.50)"


def test_figures_are_drawn(measured):
    assert len(show.planes(measured).axes) == 5
    left, right = show.lines(measured).axes
    assert len(left.get_lines()) == len(right.get_lines()) == 6
    assert [axis.get_title() for axis in show.landing(measured).axes] == ["", "ST", "mixup"]
    assert len(show.radii(measured).axes) == 3
    assert len(show.reliability({"digits": measured, "CIFAR-10": measured}).axes) == 2
