"""Deep linear networks: the closed form against numerics of other kinds, and at its edges."""

import json

import numpy as np
import pytest
import torch
from scipy.optimize import minimize, minimize_scalar

from rnc import ParameterError
from rnc.neighbours.deep_linear import NEIGHBOUR, network, sentences
from rnc.neighbours.deep_linear.descent import descend, objective, start, start_alive
from rnc.neighbours.deep_linear.experiments import Settings, compared
from rnc.neighbours.deep_linear.theory import (
    Optimum,
    Problem,
    decays_for,
    jump,
    last_root,
    pairs_loss,
    simplex_loss,
    stationary,
)

SIZES = (30, 12, 7, 5)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("decays", [(5e-3,), (4e-3, 9e-3), (3e-3, 1e-3, 5e-3)])
def test_descent_ends_in_the_closed_form(decays, bias):
    """Layers of unequal decay too; by Adam and L-BFGS from three starts."""
    problem = Problem(SIZES, decays, 2e-3, bias)
    found = compared(problem, descend(problem, start(problem, 8, [0.4] * 3), steps=800))
    assert found["gap"].min() >= -1e-12
    assert found["gap"].min() < 1e-8
    best = int(found["gap"].argmin())
    assert found["error"][best] < 1e-4
    assert found["bias"][best] < 1e-5


@pytest.mark.parametrize(
    ("problem", "width"),
    [
        (Problem((6, 4, 3), (1e-2,), 1e-2), 4),
        (Problem((6, 4, 3), (1e-2,) * 2, 1e-2), 4),
        (Problem((6, 4, 3), (1e-2,) * 3, 1e-2), 4),
        (Problem((20, 1), (5e-3,), 1e-3, bias=True), 3),
        (Problem((3,) * 5, (3e-3, 1e-3, 5e-3), 2e-3), 5),
        (Problem((6, 3, 3, 1), (1e-2, 2e-2), 5e-3), 6),
    ],
    ids=str,
)
def test_another_optimiser_agrees(problem, width):
    """SciPy's L-BFGS on the same objective, its gradient from torch, from three seeds: no end is
    below the closed form, and the lowest is there, with the classifier's lengths."""
    ends = [_scipy_end(problem, width, seed) for seed in range(3)]
    optimum = Optimum.of(problem)
    assert all(loss > optimum.loss - 1e-12 for loss, _ in ends)
    loss, lengths = min(ends, key=lambda end: end[0])
    assert loss == pytest.approx(optimum.loss, rel=1e-6)
    if not problem.bias:  # with one the lengths are those of centred labels
        assert lengths == pytest.approx(optimum.p, abs=5e-3)


def _scipy_end(problem, width, seed):
    parts = start(problem, width, [0.5], seed=seed)
    shapes = [part.shape[1:] for part in parts]
    zero = torch.zeros(1, len(problem.counts), dtype=torch.float64)

    def unpacked(flat):
        split = flat.split([shape.numel() for shape in shapes])
        *inner, h, bias = (p.view(1, *shape) for p, shape in zip(split, shapes, strict=True))
        return inner, h, bias if problem.bias else zero

    def value(flat):
        flat = torch.tensor(flat, requires_grad=True)
        loss = objective(problem, *unpacked(flat)).sum()
        (gradient,) = torch.autograd.grad(loss, flat)
        return loss.item(), gradient.numpy()

    begun = torch.cat([part.flatten() for part in parts]).numpy()
    found = minimize(
        value, begun, jac=True, method="L-BFGS-B", options={"maxiter": 3000, "ftol": 1e-15}
    )
    inner, _, _ = unpacked(torch.tensor(found.x))
    product = inner[0][0]
    for layer in inner[1:]:
        product = layer[0] @ product
    return found.fun, (product @ product.T).diagonal().tolist()


@pytest.mark.parametrize("layers", [1, 2, 3, 6])
def test_the_minimum_of_a_class_is_that_of_a_grid(layers):
    for ratio in (0.05, 0.3, 0.98 * jump(layers), 1.02 * jump(layers), 1.4 * last_root(layers)):
        grid = np.linspace(0, 8, 400001)
        values = 1 / (grid**layers + 1) + ratio * grid
        x = stationary(ratio, layers) if ratio < jump(layers) else 0.0
        assert 1 / (x**layers + 1) + ratio * x <= values.min() + 1e-12


@pytest.mark.parametrize("layers", [2, 3, 6])
def test_between_the_two_thresholds_zero_is_lower_though_there_is_a_root(layers):
    ratio = (jump(layers) + last_root(layers)) / 2
    x = stationary(ratio, layers)
    assert x > 0
    assert 1 / (x**layers + 1) + ratio * x > 1
    assert np.isnan(stationary(1.001 * last_root(layers), layers))
    at = stationary(jump(layers), layers)
    assert at**layers / (1 + at**layers) == pytest.approx((layers - 1) / layers)


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_classes_vanish_at_the_threshold_that_was_asked_for(layers):
    counts = (40, 21, 20, 19, 3)
    decay = decays_for(20.5, counts, layers)
    alive = Optimum.of(Problem(counts, (decay,) * layers, decay)).alive
    assert alive.tolist() == [True, True, False, False, False]


def test_with_all_classes_gone_the_loss_is_that_of_zero():
    best = Optimum.of(Problem((5, 5), (10.0,), 10.0))
    assert not best.alive.any()
    assert best.loss == pytest.approx(0.5)


def test_a_single_point_is_a_class():
    problem = Problem((9, 1), (1e-3,), 1e-3)
    found = compared(problem, descend(problem, start(problem, 4, [0.3])))
    assert found["error"].max() < 1e-3
    assert found["gap"].max() < 1e-8


def test_fewer_dimensions_than_classes_keep_the_largest():
    problem = Problem((30, 20, 10), (1e-3,), 1e-3)
    end = descend(problem, start(problem, 2, [0.5] * 4), steps=800)
    rows = end.classifier[int(end.loss.argmin())]
    lengths = (rows @ rows.T).diagonal().sort(descending=True).values
    expected = Optimum.of(problem).p[:2]
    assert lengths.tolist() == pytest.approx([*expected, 0], abs=1e-4)


def test_a_simplex_and_pairs_cost_what_their_logits_do():
    """Against the objective of layers that are built from the singular vectors of the logits."""
    classes, points, decays, u = 6, 4, (2e-3, 1e-3), 3e-3
    for value, logits in (
        (simplex_loss, lambda t: t * (np.eye(6) - 1 / 6)),
        (pairs_loss, lambda r: r * np.kron(np.eye(3), [[1, -1], [-1, 1]])),
    ):
        problem = Problem((points,) * classes, decays, u)

        def built(size, logits=logits, problem=problem):
            left, s, right = np.linalg.svd(logits(size))
            # W_1, W_2 and the means share each singular value so that their costs are equal
            costs = np.array([*decays, u * points])
            share = np.prod(costs) ** (1 / 3) * s ** (2 / 3)
            first, last, mean = (np.sqrt(share / c) for c in costs)
            h = np.repeat(mean[:, None] * right, points, axis=1)
            parts = [np.diag(first), left * last, h]
            *layers, features = (torch.tensor(part)[None] for part in parts)
            bias = torch.zeros(1, classes, dtype=torch.float64)
            return float(objective(problem, layers, features, bias, "cross_entropy"))

        least = minimize_scalar(built, bounds=(1e-3, 50), options={"xatol": 1e-10}).fun
        assert value(classes, points, decays, u) == pytest.approx(min(least, np.log(6)), rel=1e-9)


def test_pairs_need_an_even_number():
    with pytest.raises(ParameterError, match="classes must be even for pairs; got 5"):
        pairs_loss(5, 4, (1e-3,), 1e-3)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"counts": (3,)}, "counts must be of at least two classes"),
        ({"counts": (3, 0)}, "counts must be a whole number, at least 1; got 0"),
        ({"counts": (3, 2.5)}, "counts must be a whole number"),
        ({"decays": ()}, "decays must be of at least one layer"),
        ({"decays": (1e-3, 0)}, "decays must be more than 0; got 0"),
        ({"feature_decay": -1.0}, "decays must be a number, at least 0; got -1.0"),
    ],
)
def test_a_wrong_problem_is_named(wrong, message):
    with pytest.raises(ParameterError, match=message):
        Problem(**{"counts": (3, 2), "decays": (1e-3,), "feature_decay": 1e-3} | wrong)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"counts": "3,x"}, "counts must be whole numbers such as \"200,100,50,50\"; got '3,x'"),
        ({"width": 4}, "width must be a whole number, at least 11"),
        ({"threshold": 100}, "threshold must be between 4 and 60"),
        ({"seeds": "0,0"}, "seeds must be different whole numbers"),
        ({"decay": 0}, "decays must be more than 0"),
    ],
)
def test_a_wrong_parameter_of_the_chapter_is_named(wrong, message):
    with pytest.raises(ParameterError, match=message):
        Settings.from_notebook(wrong)


def test_a_network_cannot_beat_the_free_minimum():
    counts = (12, 10, 8, 6, 6, 6, 6, 6, 6, 2)
    problem = Problem(counts, (5e-3,), 5e-3)
    images = network.Digits.of(counts)
    assert torch.bincount(images.y).tolist() == list(counts)
    assert len(images.y) + len(images.y_test) == 1797
    trained, loss = network.train(problem, images, seed=0, steps=200)
    assert loss > Optimum.of(problem).loss * (1 - 1e-6)
    seen = network.examine(trained, problem, images)
    assert seen["rows"].shape == seen["means"].shape == (10, 10)
    assert all(a <= t for a, t in zip(seen["attacked"], seen["test"], strict=True))


def test_the_starts_of_some_classes_are_those_of_the_largest():
    problem = Problem((5, 20, 10), (1e-3, 1e-3), 1e-3)
    *layers, features, _ = start_alive(problem, 6, [1, 2])
    logits = layers[1] @ layers[0] @ features
    alive = logits.abs().amax(2) > 1
    assert alive.tolist() == [[False, True, False], [False, True, True]]


@pytest.fixture
def measured():
    """What experiments give where every claim holds, at two seeds."""
    error = {"error": [1e-6] * 2, "bias": [1e-6] * 2, "gap": [1e-8] * 2}
    sweep = {
        "unit": 2.0,
        "predicted": [4.0, 2.0, 0.0],
        "found": [4.0, 2.0, 1e-9],
        "root": 3,
        "gap": 1e-9,
        "random": [0.1, 0.0],
        "all_alive": [0.01, 0.02],
        "kept": [3, 3],
    }
    single = sweep | {"root": 2, "random": [0.0, 0.0], "all_alive": [0.0, 0.0], "kept": [2, 2]}
    digits = {
        "gap": [1e-4, 2e-4],
        "error": [1e-3, 2e-3],
        "predicted": [[5.0, 2.0, 0.0]] * 2,
        "rows": [[5.0, 2.0, 1e-4]] * 2,
        "test": [[1.0, 0.9, 0.0]] * 2,
        "attacked": [[0.6, 0.2, 0.0]] * 2,
    }
    found = {
        "frames": {
            kind: dict.fromkeys("123", error) for kind in ("balanced", "bias", "imbalanced")
        },
        "collapse": {"threshold": 11, "1": single, "2": sweep, "3": sweep},
        "origin": {"reached": {"1": [[1, 1]] * 2, "6": [[0, 0], [1, 1]]}},
        "entropy": {
            "simplex": {"10,2": [1.0, 2.0]},
            "pairs": {"10,2": [1.1, 2.1]},
            "descent": {
                d: {
                    "loss": [1.0, 1.0],
                    "simplex": 1.0,
                    "pairs": 1.1,
                    "spectrum": [1.0, 0.5, 0],
                }
                for d in "12"
            },
        },
        "digits": {
            "counts": [40, 20, 5],
            "threshold": 12,
            "depths": {"1": digits, "2": digits},
        },
    }
    return json.loads(json.dumps(found))  # no two places share a list


# by claim, what to change so that it does not hold fully
BREAKS = {
    "D1": ("frames", "balanced", "2", "error", 1, 1e-3),
    "D2": ("frames", "bias", "1", "bias", 0, 1e-3),
    "D3": ("frames", "imbalanced", "3", "gap", 0, 1e-3),
    "D4": ("collapse", "1", "random", 0, 0.1),
    "D5": ("collapse", "2", "root", 2),
    "D6": ("origin", "reached", "6", 0, 1, 1),
    "D7": ("entropy", "descent", "1", "loss", 0, 1.1),
    "D8": ("entropy", "pairs", "10,2", 0, 0.9),
    "D9": ("digits", "depths", "1", "gap", 0, -1e-3),
    "D10": ("digits", "depths", "2", "test", 0, [1.0, 0.9, 0.4]),
}


def test_every_claim_can_hold(measured):
    assert {v.verdict for v in NEIGHBOUR.judge(measured, (0, 1))} == {"holds"}


@pytest.mark.parametrize("claim", [claim.id for claim in NEIGHBOUR.claims])
def test_every_claim_can_fail(measured, claim):
    *path, last, value = BREAKS[claim]
    place = measured
    for step in path:
        place = place[step]
    place[last] = value
    judged = {v.claim.id: v.verdict for v in NEIGHBOUR.judge(measured, (0, 1))}
    assert judged.pop(claim) in ("partly", "does not hold here")
    assert set(judged.values()) == {"holds"}


def test_collapsed_classes_have_no_place_in_the_order_under_attack(measured):
    for of in measured["digits"]["depths"].values():
        of["attacked"] = [[0.6, 0.2, 0.9]] * 2  # the last is one that should be collapsed
    (verdict,) = (v for v in NEIGHBOUR.judge(measured, (0, 1)) if v.claim.id == "D10")
    assert verdict.values[1] == pytest.approx(1)


def test_sentences_follow_the_values(measured):
    text = sentences.on_collapse(measured)
    assert "M = 1: 2 of 3 classes are alive at the minimum, where 2 have a root" in text
    assert "with all classes alive at the start 3 stay, at a loss that is 0.01–0.02 higher" in text
    assert "with 6 layers the smallest starts never reach" in text
    assert sentences.on_entropy(measured).startswith("At none of these decays for K = 10, M = 2;")
    measured["entropy"]["pairs"]["10,2"] = [0.9, 2.1]
    assert (
        "better than the simplex for K = 10, M = 2 at 1 of 2 decays (by up to 10%)"
        in sentences.on_entropy(measured)
    )
    assert "of classes of at most 5 points 0% of the test points" in sentences.on_digits(measured)
    assert "balanced 1e-06" in sentences.on_frames(measured)
