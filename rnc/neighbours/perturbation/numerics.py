"""What the theory is compared with: two optimisers, the flow's path, implicit differentiation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.integrate import solve_ivp
from scipy.optimize import minimize
from torch import Tensor

from rnc.neighbours.perturbation.theory import (
    Problem,
    Spread,
    best_features,
    objective,
    ridge,
    velocity,
)

NEWTON_STEPS = 3
NOISE = 0.1  # of the start, over the ridge classifier: alone it can be a symmetric saddle


@dataclass(frozen=True)
class Minimum:
    """Where an optimiser ended.

    Attributes:
        classifier: W, K x d.
        features: H, d x Kn.
        loss: f.
    """

    classifier: np.ndarray
    features: np.ndarray
    loss: float


def minimise(given: np.ndarray, problem: Problem, seed: int = 0) -> Minimum:
    """Minimises f over W alone, with the best H for each, by SciPy's L-BFGS.

    Args:
        given: H0, d x Kn.
        seed: of the noise at the start.
    """
    problem.check(given)
    start, targets = _start(given, problem, seed), problem.targets

    def value(flat: np.ndarray) -> tuple[float, np.ndarray]:
        classifier = flat.reshape(start.shape)
        h = best_features(classifier, given, problem)
        gradient = (classifier @ h - targets) @ h.T / problem.points + problem.w * classifier
        # by K, so that the tolerance is that of numbers of the order of 1
        return problem.classes * objective(classifier, h, given, problem), gradient.ravel()

    options = {"maxiter": 5000, "maxfun": 10000, "ftol": 0, "gtol": 1e-12, "maxcor": 30}
    found = minimize(value, start.ravel(), jac=True, method="L-BFGS-B", options=options)
    classifier = found.x.reshape(start.shape)
    h = best_features(classifier, given, problem)
    return Minimum(classifier, h, objective(classifier, h, given, problem))


def minimise_jointly(given: np.ndarray, problem: Problem, seed: int = 0) -> Minimum:
    """Minimises f over W and H at once, with no formula of H: by torch's L-BFGS, and then Newton's
    method, for rounding stops a search along a line before the gradient vanishes; arguments as in
    `minimise`."""
    problem.check(given)
    targets, pulled_to = torch.tensor(problem.targets), torch.tensor(given)
    w = torch.tensor(_start(given, problem, seed + 1)).requires_grad_()
    h = pulled_to.clone().requires_grad_()
    optimiser = torch.optim.LBFGS(
        (w, h),
        max_iter=200,
        tolerance_grad=1e-7,
        tolerance_change=0,
        history_size=30,
        line_search_fn="strong_wolfe",
    )

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = (
            (w @ h - targets).square().sum()
            + problem.points * problem.w * w.square().sum()
            + problem.u * h.square().sum()
            + problem.beta * (h - pulled_to).square().sum()
        ) / 2
        loss.backward()
        return loss

    optimiser.step(closure)
    classifier, features = w.detach().numpy(), h.detach().numpy()
    for _ in range(NEWTON_STEPS):
        flat = np.concatenate([classifier.ravel(), features.T.ravel()])
        gradient = _gradient(classifier, features, given, problem)
        flat -= np.linalg.solve(_hessian(classifier, features, problem), gradient)
        classifier = flat[: classifier.size].reshape(classifier.shape)
        features = flat[classifier.size :].reshape(features.T.shape).T
    return Minimum(classifier, features, objective(classifier, features, given, problem))


def flow(given: np.ndarray, problem: Problem, times: np.ndarray) -> list[np.ndarray]:
    """Features along the flow from H0, at some times from 0."""

    def derivative(_: float, flat: np.ndarray) -> np.ndarray:
        return velocity(flat.reshape(given.shape), problem).ravel()

    span = (0.0, float(times[-1]))
    path = solve_ivp(derivative, span, given.ravel(), "LSODA", t_eval=times, rtol=1e-9, atol=1e-12)
    return [column.reshape(given.shape) for column in path.y.T]


def rates_along(features: np.ndarray, problem: Problem) -> list[float]:
    """What `rates` gives, as derivatives of the two traces along the flow's velocity."""
    here = Spread.of(features, problem.classes)
    there = Spread.of(velocity(features, problem), problem.classes)
    centred = here.means - here.means.mean(1, keepdims=True)
    pairs = ((here.deviations, there.deviations), (centred, there.means))
    return [
        2 * float((now * change).sum() / np.square(now).sum()) + 2 * problem.u
        for now, change in pairs
    ]


def response(given: np.ndarray, problem: Problem) -> np.ndarray:
    """dH/dH0 at features that are a minimiser themselves, Kdn x Kdn, by implicit differentiation
    of both stationarity equations; features column after column."""
    classifier = ridge(given, problem)
    inverse = np.linalg.inv(_hessian(classifier, given, problem))
    return problem.beta * inverse[classifier.size :, classifier.size :]


def block(matrix: np.ndarray, problem: Problem, k: int, other: int) -> np.ndarray:
    """F_kl of `response`, dn x dn."""
    size = problem.dim * problem.points
    return matrix[k * size : (k + 1) * size, other * size : (other + 1) * size]


def _start(given: np.ndarray, problem: Problem, seed: int) -> np.ndarray:
    best = ridge(given, problem)
    noise = np.random.default_rng(seed).standard_normal(best.shape)
    return best + NOISE * np.abs(best).max() * noise


def _gradient(
    classifier: np.ndarray, features: np.ndarray, given: np.ndarray, p: Problem
) -> np.ndarray:
    """Of Kn f: the rows of W, then the columns of H."""
    error = classifier @ features - p.targets
    by_w = error @ features.T + p.points * p.w * classifier
    by_h = classifier.T @ error + p.u * features + p.beta * (features - given)
    return np.concatenate([by_w.ravel(), by_h.T.ravel()])


def _hessian(classifier: np.ndarray, features: np.ndarray, p: Problem) -> np.ndarray:
    """The derivative of `_gradient` along each of its directions, a row for each."""
    directions = np.eye(classifier.size + features.size)
    dw = directions[:, : classifier.size].reshape(-1, *classifier.shape)
    dh = directions[:, classifier.size :].reshape(-1, *features.T.shape).transpose(0, 2, 1)
    error = classifier @ features - p.targets
    change = dw @ features + classifier @ dh
    by_w = change @ features.T + error @ dh.transpose(0, 2, 1) + p.points * p.w * dw
    by_h = classifier.T @ change + dw.transpose(0, 2, 1) @ error + (p.u + p.beta) * dh
    rows = len(directions)
    return np.hstack([by_w.reshape(rows, -1), by_h.transpose(0, 2, 1).reshape(rows, -1)])
