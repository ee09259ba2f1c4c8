"""What the chapter on perturbation analysis measures; results are kept in the store."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from rnc.errors import ParameterError, check_positive
from rnc.neighbours.neighbour import experiment
from rnc.neighbours.perturbation import network, numerics, theory
from rnc.neighbours.perturbation.theory import Problem, Spread
from rnc.study import notebook
from rnc.study.settings import seeds_of

SHAPES = ((2, 3, 2), (5, 5, 4), (3, 12, 6))  # K, d, n beside the reader's; d = K is an edge
C = (0.25, 0.5, 0.9)  # of the collapsed features; at 1/2 two steps of the spectrum coincide
C_GRID = tuple(number / 10 for number in range(1, 10))
PULLS = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)  # beta of the minimisers
JOINT = (1.0, 10.0, 100.0)  # those that are found by both optimisers
FIXED = (0.1, 1.0, 10.0, 100.0)  # beta at which collapsed features are to stay where they are
TIMES = (0.0, *(float(t) for t in np.geomspace(1e-2, 30, 41)))
GONE = 1e-13  # Tr Sigma_W, over that of H0, below which R is rounding

STEPS, BLOCK_STEPS = 200, 500
BLOCK_DECAY = 0.05  # w and u of the block
BLOCK_LAYERS, BLOCK_PULLS, BLOCK_POINTS = (0, 6), (0.3, 3.0), 20


@dataclass(frozen=True)
class Settings:
    """What a reader can change.

    Attributes:
        classes, dim, points: K, d and n of the free features.
        w, u: decays of the classifier and of the features.
        beta: strength of the pull at which spectra are shown.
        eps: radius of attacks on digits (l_inf), in training and after; in 1/255.
        seeds: of given features, and of networks.
    """

    classes: int = 4
    dim: int = 10
    points: int = 10
    w: float = 1.4142
    u: float = 0.2
    beta: float = 100.0
    eps: float = 25.5
    seeds: tuple[int, ...] = (0, 1, 2)

    def __post_init__(self) -> None:
        size = self.problem.classes * self.dim * self.points
        if size > 1000:  # the response is a matrix of its square
            raise ParameterError(
                f"classes x dim x points must be at most 1000; got {self.classes} x {self.dim} x "
                f"{self.points} = {size}"
            )
        _ = self.problem.rho  # there must be collapsed features
        check_positive("eps", self.eps, " in units of 1/255")

    @property
    def problem(self) -> Problem:
        """The reader's, checked."""
        return Problem(self.classes, self.dim, self.points, self.w, self.u, self.beta)

    @property
    def problems(self) -> list[Problem]:
        """The reader's, and others of SHAPES."""
        own = self.problem
        return [own, *(own.at(classes=k, dim=d, points=n) for k, d, n in SHAPES)]

    @classmethod
    def from_notebook(cls, namespace: dict) -> Settings:
        """What a notebook's parameters ask for; seeds such as "0,1,2"."""
        given = notebook.parameters(namespace, cls.__dataclass_fields__)
        if "seeds" in given:
            given["seeds"] = seeds_of(given["seeds"])
        return cls(**given)


@experiment(version=1, each_seed=True)
def response(settings: Settings, seed: int) -> dict:
    """What becomes of collapsed features, and of small changes of them, at every shape.

    Returns:
        `fixed`: the largest |H - H0|/|H0| of a minimiser from a noisy start. `full`, `own`,
        `other`: the largest difference of spectra by implicit differentiation from the exact
        ones; `paper`, that from the form to the first order, over (s/beta)^2. `spectra`: of the
        reader's problem at each of C, `u` and the spectrum of F_kk. `by_u`, `by_w`: over
        values of the `decay`, its smallest value `found`, its `steps`, and the largest distance
        `off` the exact one.
    """
    fixed, errors = [], []
    for problem in settings.problems:
        for c in C:
            for beta in FIXED:
                one = _with_c(problem, c, "u").at(beta=beta)
                given = theory.collapsed(one, seed)
                moved = numerics.minimise(given, one, seed).features - given
                fixed.append(np.linalg.norm(moved) / np.linalg.norm(given))
                if beta >= 1:
                    errors.append(_spectral_errors(given, one))
    spectra = []
    for c in C:
        one = _with_c(settings.problem, c, "u")
        spectra.append({"u": one.u, "own": _own(theory.collapsed(one, seed), one)})
    return {
        "fixed": max(fixed),
        **{name: max(error[name] for error in errors) for name in errors[0]},
        "spectra": spectra,
        "by_u": _smallest(settings.problem, "u", seed),
        "by_w": _smallest(settings.problem, "w", seed),
    }


def _with_c(problem: Problem, c: float, decay: str) -> Problem:
    """With u or w such that sqrt(u w) is c."""
    other = {"u": problem.w, "w": problem.u}[decay]
    return problem.at(**{decay: c * c / other})


def _own(given: np.ndarray, problem: Problem) -> np.ndarray:
    return _singular(numerics.block(numerics.response(given, problem), problem, 0, 0))


def _singular(matrix: np.ndarray) -> np.ndarray:
    """Smallest first."""
    return np.linalg.svd(matrix, compute_uv=False)[::-1]


def _spectral_errors(given: np.ndarray, problem: Problem) -> dict[str, float]:
    whole = numerics.response(given, problem)
    own, other = (_singular(numerics.block(whole, problem, 0, k)) for k in (0, 1))
    first = max(
        abs(own - theory.paper_spectrum(problem)).max(),
        abs(other[-1] - theory.paper_other(problem)),
    )
    return {
        "full": abs(np.linalg.eigvalsh(whole) - theory.full_spectrum(problem)).max(),
        "own": abs(own - theory.own_spectrum(problem)).max(),
        "other": abs(other - theory.other_spectrum(problem)).max(),
        "paper": first * (problem.beta / problem.s) ** 2,
    }


def _smallest(problem: Problem, decay: str, seed: int) -> dict:
    grid = [_with_c(problem, c, decay) for c in C_GRID]
    found = np.array([_own(theory.collapsed(one, seed), one)[0] for one in grid])
    exact = np.array([theory.own_spectrum(one)[0] for one in grid])
    return {
        "decay": [getattr(one, decay) for one in grid],
        "found": found,
        "steps": np.diff(found),
        "off": abs(found - exact).max(),
    }


@experiment(version=1, each_seed=True)
def path(settings: Settings, seed: int) -> dict:
    """The flow from random features, at u = 0, a quarter of the reader's, and the reader's.

    Returns:
        `paths`: for each `u`, at each `time` of TIMES at which there is a variance within classes,
        `ratio`, R; `within` and `between`, the two traces times e^(2ut) over their start;
        `falling` and `rising`, the derivatives of their logarithms along the flow. Also `step`,
        the largest of ln R after less before, and `off`, the largest difference of the rates from
        the derivatives, over 1 + the latter.
    """
    paths = []
    for u in (0.0, settings.u / 4, settings.u):
        problem = settings.problem.at(u=u)
        given = theory.random_features(problem, seed)
        along = numerics.flow(given, problem, np.array(TIMES))
        spreads = [Spread.of(h, problem.classes) for h in along]
        first = spreads[0]
        # once it is gone there is nothing but rounding, for good
        known = [n for n, spread in enumerate(spreads) if spread.within > GONE * first.within]
        time, ratio = np.array(TIMES)[known], np.array([spreads[n].ratio for n in known])
        growth = np.exp(2 * u * time)
        rates = np.array([theory.rates(along[n], problem) for n in known])
        derivatives = np.array([numerics.rates_along(along[n], problem) for n in known])
        paths.append(
            {
                "u": u,
                "time": time,
                "ratio": ratio,
                "within": growth * [spreads[n].within / first.within for n in known],
                "between": growth * [spreads[n].between / first.between for n in known],
                "falling": derivatives[:, 0],
                "rising": derivatives[:, 1],
                "step": np.diff(np.log(ratio)).max(),
                "off": (abs(rates - derivatives) / (1 + abs(derivatives))).max(),
            }
        )
    return {"paths": paths}


@experiment(version=1, each_seed=True)
def pull(settings: Settings, seed: int) -> dict:
    """Minimisers from random features.

    Returns:
        `shapes`: of each problem what `_pulled` gives. `directions`: of the reader's, at each of
        JOINT, the `squared` singular values of W and the attenuation `found` along them.
    """
    drawn = [(problem, theory.random_features(problem, seed)) for problem in settings.problems]
    own, given = drawn[0]
    directions = [
        _directions(numerics.minimise_jointly(given, one, seed), given, one)
        for one in (own.at(beta=beta) for beta in JOINT)
    ]
    return {
        "shapes": [_pulled(given, problem, seed) for problem, given in drawn],
        "directions": directions,
    }


def _pulled(given: np.ndarray, problem: Problem, seed: int) -> dict:
    """At each `beta`: R over that of H0, less 1, of the `minimiser`, of the `flow` at 1/beta, and
    to the `first` order; `second` and `to_flow`, beta^2 times the distance of the minimiser's
    logarithm of R from those; `between`, Tr Sigma_B over (beta/(beta+u))^2 that of H0, less 1. At
    each of JOINT, the worse of two optimisers: `identity`, the largest error of the deviations
    over the largest of H0, and `within`, Tr Sigma_W over (beta/(beta+u))^2 that of H0, less 1;
    and `losses`, the relative difference of the two. `enough`: from which beta R is to fall."""
    start = Spread.of(given, problem.classes)
    falling, rising = theory.rates(given, problem)
    times = np.array([0.0, *(1 / beta for beta in PULLS[::-1])])
    along = numerics.flow(given, problem, times)[:0:-1]
    found: dict = {"beta": PULLS, "enough": problem.enough_pull}
    for beta, flowed in zip(PULLS, along, strict=True):
        one, first = problem.at(beta=beta), (falling - rising) / beta
        shrunk = (beta / (beta + one.u)) ** 2
        ends = [numerics.minimise(given, one, seed)]
        if beta in JOINT:
            ends.append(numerics.minimise_jointly(given, one, seed))
        spreads = [Spread.of(end.features, one.classes) for end in ends]
        ratio, flow = (
            spread.ratio / start.ratio for spread in (spreads[0], Spread.of(flowed, one.classes))
        )
        values = {
            "minimiser": ratio - 1,
            "flow": flow - 1,
            "first": np.expm1(first),
            "second": beta**2 * abs(np.log(ratio) - first),
            "to_flow": beta**2 * abs(np.log(ratio / flow)),
            "between": spreads[0].between / start.between / shrunk - 1,
        }
        if beta in JOINT:
            values["identity"] = max(_identity_error(end, given, one) for end in ends)
            values["within"] = max(s.within for s in spreads) / start.within / shrunk - 1
            values["losses"] = abs(ends[0].loss / ends[1].loss - 1)
        for name, value in values.items():
            found.setdefault(name, []).append(value)
    return found


def _identity_error(end: numerics.Minimum, given: np.ndarray, problem: Problem) -> float:
    """Of the deviations along every direction, over the largest of H0."""
    before, after, squared = _along(end, given, problem)
    expected = theory.attenuation(squared, problem)[:, None] * before
    return float(abs(after - expected).max() / abs(before).max())


def _directions(end: numerics.Minimum, given: np.ndarray, problem: Problem) -> dict:
    before, after, squared = _along(end, given, problem)
    lengths = np.linalg.norm(after, axis=1) / np.linalg.norm(before, axis=1)
    return {"beta": problem.beta, "squared": squared, "found": lengths}


def _along(end: numerics.Minimum, given: np.ndarray, problem: Problem) -> tuple:
    """Deviations of H0 and of H along the right singular vectors of W, d x Kn, and its squared
    singular values, 0 of those that it does not see."""
    _, singular, directions = np.linalg.svd(end.classifier)
    before, after = (
        directions @ Spread.of(h, problem.classes).deviations for h in (given, end.features)
    )
    return before, after, np.pad(singular**2, (0, problem.dim - problem.classes))


@experiment(version=1, each_seed=True)
def digits(settings: Settings, seed: int) -> dict:
    """Residual networks on digits, ST and AT, and one at its start: features of every layer.

    Returns:
        For each: `accuracy`, and for `clean` and `pgd` training points (the one at its start:
        clean alone) what `_by_layer` gives. `blocks`: blocks that are trained on the model's own
        objective, as `_blocks` gives them.
    """
    images, eps = network.digits(), settings.eps / 255
    start = network.untrained(seed)
    found: dict = {"start": {"clean": _by_layer(_layers(start, images.x, images.y))}}
    blocks: list = []
    for name, radius in (("ST", 0.0), ("AT", eps)):
        trained = network.train(images, seed, STEPS, radius)
        train, test = (images.x, images.y), (images.x_test, images.y_test)
        attacked, attacked_test = (network.attacked(trained, *of, eps) for of in (train, test))
        accuracies = {
            "clean": train,
            "pgd": (attacked, images.y),
            "test": test,
            "test_pgd": (attacked_test, images.y_test),
        }
        found[name] = {
            "accuracy": {
                points: network.accuracy(trained, *of) for points, of in accuracies.items()
            }
        }
        for points, x in (("clean", images.x), ("pgd", attacked)):
            layers = _layers(trained, x, images.y)
            found[name][points] = _by_layer(layers)
            blocks += [{"method": name, "points": points} | one for one in _blocks(layers, seed)]
    return found | {"blocks": blocks}


def _layers(net: network.Network, x: Tensor, y: Tensor) -> list[np.ndarray]:
    return [theory.arranged(h.double().numpy(), y.numpy()) for h in net.layers(x)]


def _by_layer(layers: list[np.ndarray]) -> dict[str, list[float]]:
    """R, Tr Sigma_W, Tr Sigma_B and the share of the variance within classes in the span of the
    class means, after the embedding and after each block."""
    spreads = [Spread.of(h, network.CLASSES) for h in layers]
    return {
        "ratio": [s.ratio for s in spreads],
        "within": [s.within for s in spreads],
        "between": [s.between for s in spreads],
        "share": [s.share_in_span for s in spreads],
    }


def _blocks(layers: list[np.ndarray], seed: int) -> Iterator[dict]:
    """A block on features of some layers, scaled, and the free minimiser beside it: `loss` of the
    block over that of the minimiser; R of the `given`, of the `model` and of the `block`; and
    `apart`, |H_block - H_model|^2/|H_model - H0|^2."""
    for layer in BLOCK_LAYERS:
        every = layers[layer].reshape(network.WIDTH, network.CLASSES, network.PER_CLASS)
        some = every[:, :, :BLOCK_POINTS].reshape(network.WIDTH, -1)
        for beta in BLOCK_PULLS:
            problem = Problem(
                network.CLASSES, network.WIDTH, BLOCK_POINTS, BLOCK_DECAY, BLOCK_DECAY, beta
            )
            given = theory.scaled(some, problem)
            free = numerics.minimise(given, problem, seed)
            block = network.train_block(given, problem, seed, BLOCK_STEPS)
            ratios = {
                name: Spread.of(h, problem.classes).ratio
                for name, h in (
                    ("given", given),
                    ("model", free.features),
                    ("block", block.features),
                )
            }
            apart = np.square(block.features - free.features).sum()
            moved = np.square(free.features - given).sum()
            yield {
                "layer": layer,
                "beta": beta,
                "loss": block.loss / free.loss,
                "apart": apart / moved,
            } | ratios
