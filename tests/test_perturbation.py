"""Perturbation analysis: theory against finite differences, two optimisers, other libraries."""

import copy

import numpy as np
import pytest
import torch
from scipy.optimize import approx_fprime

from rnc import ParameterError, measure
from rnc.neighbours.perturbation import NEIGHBOUR, network, numerics, sentences, theory
from rnc.neighbours.perturbation.experiments import Settings
from rnc.neighbours.perturbation.theory import Problem, Spread
from rnc.show import perturbation

PROBLEMS = [
    Problem(2, 3, 2, 1.4, 0.2, 3.0),
    Problem(4, 4, 3, 0.8, 0.05, 30.0),  # as many dimensions as classes
    Problem(3, 7, 5, 1.0, 0.6, 0.5),
]
each = pytest.mark.parametrize("problem", PROBLEMS, ids=str)


def flat_objective(problem, given):
    """f of W and H in one vector, written out point by point, and nothing of the package."""
    k, n, d = problem.classes, problem.points, problem.dim

    def f(flat):
        w, h = flat[: k * d].reshape(k, d), flat[k * d :].reshape(d, k * n)
        total = 0.0
        for number in range(k * n):
            error = w @ h[:, number]
            error[number // n] -= 1
            total += (error @ error) / (2 * k * n)
            total += problem.u / (2 * k * n) * (h[:, number] @ h[:, number])
            pulled = h[:, number] - given[:, number]
            total += problem.beta / (2 * k * n) * (pulled @ pulled)
        return total + problem.w / (2 * k) * (w * w).sum()

    return f


@each
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_two_optimisers_end_at_the_same_stationary_point_of_the_objective(problem, seed):
    given = theory.random_features(problem, seed)
    ends = [
        numerics.minimise(given, problem, seed),
        numerics.minimise_jointly(given, problem, seed),
    ]
    assert ends[0].loss == pytest.approx(ends[1].loss, rel=1e-10)
    f = flat_objective(problem, given)
    for end in ends:
        flat = np.concatenate([end.classifier.ravel(), end.features.ravel()])
        assert f(flat) == pytest.approx(end.loss, rel=1e-12)
        assert abs(approx_fprime(flat, f, 1e-7)).max() < 1e-5


@each
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_deviations_shrink_along_the_classifier_as_the_identity_says(problem, seed):
    given = theory.random_features(problem, seed)
    end = numerics.minimise(given, problem, seed)
    before, after = (Spread.of(h, problem.classes).deviations for h in (given, end.features))
    factor = problem.beta * np.linalg.inv(
        end.classifier.T @ end.classifier + (problem.u + problem.beta) * np.eye(problem.dim)
    )
    assert after == pytest.approx(factor @ before, abs=1e-8)
    shrunk = (problem.beta / (problem.beta + problem.u)) ** 2
    spreads = [Spread.of(h, problem.classes) for h in (given, end.features)]
    assert spreads[1].within <= shrunk * spreads[0].within
    if problem.beta >= problem.enough_pull:
        assert spreads[1].ratio < spreads[0].ratio


@each
def test_the_flow_descends_the_loss_without_the_pull(problem):
    given = theory.random_features(problem, 0)
    h = torch.tensor(given, requires_grad=True)
    y, n, k = torch.tensor(problem.targets), problem.points, problem.classes
    gram = h @ h.T + n * problem.w * torch.eye(problem.dim, dtype=torch.float64)
    w = torch.linalg.solve(gram, h @ y.T).T
    loss = (w @ h - y).square().sum() / (2 * k * n) + problem.w / (2 * k) * w.square().sum()
    (loss + problem.u / (2 * k * n) * h.square().sum()).backward()
    assert theory.velocity(given, problem) == pytest.approx(-k * n * h.grad.numpy(), abs=1e-10)


@each
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_rates_are_finite_differences_along_the_flow_and_have_their_signs(problem, seed):
    given, step = theory.random_features(problem, seed), 1e-6
    ends = [given + sign * step * theory.velocity(given, problem) for sign in (-1, 1)]
    back, forth = (Spread.of(h, problem.classes) for h in ends)
    falling, rising = theory.rates(given, problem)
    assert falling <= 0 <= rising
    for rate, name in ((falling, "within"), (rising, "between")):
        change = np.log(getattr(forth, name) / getattr(back, name)) / (2 * step)
        assert rate == pytest.approx(change + 2 * problem.u, abs=1e-6)
    times = np.array([0.0, 0.1, 1.0, 10.0])
    ratios = [Spread.of(h, problem.classes).ratio for h in numerics.flow(given, problem, times)]
    assert (np.diff(ratios) < 0).all()


@each
def test_the_response_is_that_of_the_minimiser_to_small_changes(problem):
    given = theory.collapsed(problem, 0)
    stays = numerics.minimise(given, problem, 1).features
    assert stays == pytest.approx(given, abs=1e-6 * np.linalg.norm(given))
    whole = numerics.response(given, problem)
    change = 1e-4 * np.random.default_rng(3).standard_normal(given.shape)
    moved = numerics.minimise(given + change, problem, 1).features - given
    expected = (whole @ change.T.ravel()).reshape(given.T.shape).T
    assert moved == pytest.approx(expected, abs=2e-6)


@each
def test_spectra_are_those_of_implicit_differentiation(problem):
    given = theory.collapsed(problem, 2)
    whole = numerics.response(given, problem)
    assert np.linalg.eigvalsh(whole) == pytest.approx(theory.full_spectrum(problem), abs=1e-10)
    for other, spectrum in ((0, theory.own_spectrum), (1, theory.other_spectrum)):
        part = numerics.block(whole, problem, 0, other)
        found = np.linalg.svd(part, compute_uv=False)[::-1]
        assert found == pytest.approx(spectrum(problem), abs=1e-10)


def test_the_first_order_is_what_the_exact_spectrum_tends_to():
    off = []
    for beta in (1e2, 1e3, 1e4):
        one = PROBLEMS[0].at(beta=beta)
        off.append(abs(theory.own_spectrum(one) - theory.paper_spectrum(one)).max() * beta**2)
    assert off == pytest.approx([off[-1]] * 3, rel=0.05)


def test_traces_are_those_of_the_library_and_the_share_of_isotropic_deviations():
    problem = Problem(3, 40, 200, 1.0, 0.1, 1.0)
    given = theory.random_features(problem, 0)
    spread = Spread.of(given, 3)
    found = measure([(torch.tensor(given.T), torch.tensor(problem.labels))], 3)
    assert spread.within == pytest.approx(found.within)
    assert spread.between == pytest.approx(found.between)
    assert spread.share_in_span == pytest.approx(2 / 40, rel=0.1)
    rotation = np.linalg.qr(np.random.default_rng(1).standard_normal((40, 40))).Q
    turned = Spread.of(rotation @ given, 3)
    assert (turned.ratio, turned.share_in_span) == pytest.approx(
        (spread.ratio, spread.share_in_span)
    )
    scaled = Spread.of(theory.scaled(given, problem), 3)
    assert scaled.between == pytest.approx(problem.rho * 2 / 3)
    labels = np.array([1, 0, 1, 0])
    columns = theory.arranged(np.arange(8.0).reshape(4, 2), labels)
    assert columns.tolist() == [[2, 6, 0, 4], [3, 7, 1, 5]]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"classes": 1}, "classes must be"),
        ({"points": 1}, "points must be"),
        ({"dim": 3}, "dim must be at least 4, the number of classes; got 3"),
        ({"w": 0}, "w must be more than 0; got 0"),
        ({"u": -1}, "u must be"),
        ({"u": 0.8}, "u must be more than 0 and less than 1/w"),
        ({"beta": 0}, "beta must be more than 0; got 0"),
        ({"eps": 0}, "eps must be more than 0; got 0"),
        ({"points": 40}, "classes x dim x points must be at most 1000"),
        ({"seeds": "0,0"}, "seeds"),
        ({"beta": "strong"}, "beta must be"),
    ],
)
def test_a_wrong_parameter_is_named(wrong, message):
    with pytest.raises(ParameterError, match=message):
        Settings.from_notebook(wrong)


def test_wrong_features_are_named():
    problem = PROBLEMS[0]
    with pytest.raises(ParameterError, match=r"features must be \(3, 4\); got \(4, 3\)"):
        numerics.minimise(np.zeros((4, 3)), problem)
    with pytest.raises(ParameterError, match="features must be finite"):
        numerics.minimise(np.full((3, 4), np.nan), problem)
    with pytest.raises(ParameterError, match="classes must be equally large"):
        theory.arranged(np.zeros((3, 2)), np.array([0, 0, 1]))
    with pytest.raises(ParameterError, match="means that differ"):
        _ = Spread.of(np.ones((3, 4)), 2).ratio
    with pytest.raises(ParameterError, match="to have rates"):
        theory.rates(theory.collapsed(problem, 0), problem)


def test_networks_learn_and_give_every_layer():
    images = network.digits()
    assert (images.x.min(), images.x.max()) == (0, 1)
    net = network.train(images, 0, 40, 0.0)
    assert network.accuracy(net, images.x, images.y) > 0.9
    layers = net.layers(images.x)
    assert len(layers) == network.BLOCKS + 1
    assert torch.allclose(net.head(layers[-1]), net(images.x), atol=1e-5)
    moved = network.attacked(net, images.x, images.y, 0.05)
    assert (moved - images.x).abs().max() <= 0.05 + 1e-6
    assert network.accuracy(net, moved, images.y) < network.accuracy(net, images.x, images.y)


def test_a_block_cannot_go_below_the_free_minimum_and_comes_nearer():
    problem = Problem(3, 6, 4, 0.05, 0.05, 1.0)
    given = theory.scaled(theory.random_features(problem, 0), problem)
    free = numerics.minimise(given, problem)
    losses = [network.train_block(given, problem, 0, steps).loss for steps in (1, 300)]
    assert free.loss < losses[1] < losses[0]


# Claims, sentences, figures ------------------------------------------------------------------


def by_layer(first, last, share, within=(1.0, 1.2)):
    steps = np.linspace(0, 1, network.BLOCKS + 1)

    def along(a, b):
        return [float(a + (b - a) * t) for t in steps]

    return {
        "ratio": along(first, last),
        "share": along(*share),
        "within": along(*within),
        "between": along(1.0, 6.0),
    }


@pytest.fixture
def measured():
    """One seed under which every claim holds."""
    pulls = [1.0, 10.0, 100.0]
    shape = {
        "beta": pulls,
        "enough": 5.0,
        "minimiser": [-0.5, -0.1, -0.01],
        "flow": [-0.6, -0.1, -0.01],
        "first": [-0.4, -0.1, -0.01],
        "second": [0.1, 0.03, 0.03],
        "to_flow": [0.1, 0.03, 0.03],
        "between": [0.1, 0.1, 0.1],
        "identity": [1e-15] * 3,
        "within": [-0.1] * 3,
        "losses": [1e-15] * 3,
    }
    direction = {"squared": [0.1, 0.0], "found": [0.8, 0.9]}
    path = {
        "u": 0.2,
        "time": [0.0, 1.0, 2.0],
        "ratio": [3.0, 2.0, 1.0],
        "within": [1.0, 0.8, 0.6],
        "between": [1.0, 2.0, 3.0],
        "falling": [-0.1, -0.1, -0.1],
        "rising": [0.1, 0.1, 0.1],
        "step": -0.1,
        "off": 1e-15,
    }
    smallest = {"decay": [0.1, 0.2], "found": [0.9, 0.8], "off": 1e-15}
    problem = Settings().problem
    blocks = [
        {"method": method, "points": points, "layer": 0, "beta": 1.0}
        | {"loss": 1.01, "given": 2.0, "model": 1.0, "block": 1.02, "apart": 0.1}
        for method in ("ST", "AT")
        for points in ("clean", "pgd")
    ]
    fits = {"clean": 1.0, "pgd": 1.0, "test": 1.0, "test_pgd": 0.8}
    digits = {
        "start": {"clean": by_layer(1.0, 1.0, (0.5, 0.5))},
        "ST": {
            "accuracy": fits | {"pgd": 0.6},
            "clean": by_layer(1.0, 0.2, (0.5, 0.2), (1.0, 0.9)),
            "pgd": by_layer(1.5, 1.1, (0.5, 0.6)),
        },
        "AT": {
            "accuracy": fits,
            "clean": by_layer(1.0, 0.2, (0.5, 0.2), (1.0, 0.9)),
            "pgd": by_layer(1.2, 0.2, (0.5, 0.3), (1.0, 0.9)),
        },
        "blocks": blocks,
    }
    return copy.deepcopy(
        {
            "pull": [{"shapes": [shape], "directions": [{"beta": 1.0} | direction] * 3}],
            "path": [{"paths": [path] * 3}],
            "response": [
                {
                    "fixed": 1e-9,
                    "full": 1e-15,
                    "own": 1e-15,
                    "other": 1e-15,
                    "paper": 0.9,
                    "spectra": [{"u": 0.2, "own": list(theory.own_spectrum(problem))}] * 3,
                    "by_u": smallest | {"steps": [-0.1]},
                    "by_w": smallest | {"steps": [0.1]},
                }
            ],
            "digits": [digits],
        }
    )


BREAKS = {  # where, and what makes the claim fail
    "T1": ("response", ("fixed",), 1.0),
    "T2": ("path", ("paths", 0, "step"), 0.1),
    "T3": ("pull", ("shapes", 0, "minimiser", 2), 0.1),
    "T4": ("pull", ("shapes", 0, "identity", 1), 0.1),
    "T5": ("response", ("own",), 0.1),
    "T6": ("response", ("by_u", "steps", 0), 0.1),
    "T7": ("digits", ("AT", "pgd", "ratio", 3), 9.0),
    "T8": ("digits", ("ST", "pgd", "share", -1), 0.1),
    "T9": ("digits", ("ST", "clean", "within", -1), 2.0),
    "T10": ("digits", ("blocks", 0, "block"), 1.5),
}


def put(measured, experiment, path, value):
    place = measured[experiment][0]
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value


def test_every_claim_can_hold(measured):
    assert {v.claim.id: v.verdict for v in NEIGHBOUR.judge(measured, [0])} == dict.fromkeys(
        BREAKS, "holds"
    )


@pytest.mark.parametrize("claim", BREAKS)
def test_every_claim_can_fail(measured, claim):
    put(measured, *BREAKS[claim])
    verdicts = {v.claim.id: v.verdict for v in NEIGHBOUR.judge(measured, [0])}
    assert verdicts[claim] in ("partly", "does not hold here")


def test_claims_on_depth_need_networks_that_fit(measured):
    put(measured, "digits", ("AT", "accuracy", "pgd"), 0.5)
    verdicts = {v.claim.id: v.verdict for v in NEIGHBOUR.judge(measured, [0])}
    assert {id for id, verdict in verdicts.items() if verdict == "not applicable"} == {
        "T7",
        "T8",
        "T9",
    }


def test_of_an_attack_that_takes_nothing_no_claim_on_attacked_points_applies(measured):
    assert "ST is right on 60% of its attacked points" in sentences.on_attack(measured, Settings())
    put(measured, "digits", ("ST", "accuracy", "pgd"), 0.95)
    verdicts = {v.claim.id: v.verdict for v in NEIGHBOUR.judge(measured, [0])}
    assert [id for id, verdict in verdicts.items() if verdict != "holds"] == ["T8"]
    assert verdicts["T8"] == "not applicable"


OTHERWISE = [  # sentence, what it says at first, what changes, what it says then
    (sentences.on_flow, "falls at every step", ("path", ("paths", 0, "step"), 0.1), "not fall"),
    (
        sentences.on_pull,
        "R of every minimiser is lower",
        ("pull", ("shapes", 0, "minimiser", 2), 0.1),
        "some minimisers is not lower",
    ),
    (
        sentences.on_decays,
        "falls with u, the decay of the features, and rises with w",
        ("response", ("by_u", "steps", 0), 0.1),
        "rises with u",
    ),
    (
        sentences.on_depth,
        "Depth lowers R on",
        ("digits", ("AT", "pgd", "ratio", -1), 2.0),
        "does not lower R everywhere",
    ),
    (
        sentences.on_span,
        "more on attacked points of ST",
        ("digits", ("ST", "pgd", "share", -1), 0.1),
        "less on attacked points of ST too",
    ),
    (
        sentences.on_traces,
        "itself is smaller in the last layer: ",
        ("digits", ("ST", "clean", "within", -1), 2.0),
        "and larger of others",
    ),
    (
        sentences.on_blocks,
        "Never below",
        ("digits", ("blocks", 0, "loss"), 0.9),
        "Sometimes below",
    ),
]


@pytest.mark.parametrize(
    ("say", "first", "change", "then"), OTHERWISE, ids=[say.__name__ for say, *_ in OTHERWISE]
)
def test_sentences_follow_the_values(measured, say, first, change, then):
    assert first in say(measured)
    put(measured, *change)
    assert then in say(measured)


def test_sentences_of_numbers_alone_are_said(measured):
    assert "0.90 (s/β)²" in sentences.on_response(measured)
    assert "1e-15" in sentences.on_directions(measured)


def test_figures_draw(measured):
    settings = Settings()
    for figure in (
        perturbation.flow(measured),
        perturbation.pulled(measured, settings),
        perturbation.response(measured, settings),
        perturbation.depth(measured),
        perturbation.blocks(measured),
    ):
        figure.canvas.draw()
        assert all(axis.lines for axis in figure.axes)
