"""The claims of Tirer et al. (2023) as testable statements, ours on what lies behind them, and
what they say of a network's layers.

Bounds were chosen before values were looked at: 1e-6 for a minimum from a noisy start, 1e-8 for
identities, 1e-10 for spectra, none for signs; 10 % for R of a trained block, which is no free
minimum. A remainder is of the second order when, times beta^2, it is at most twice what it is at
beta = 10. What chance gives: where features move in no particular direction, R falls as often as
it rises, so a change of 0, or a factor of 1; of depth, what a network at its start does.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable

from rnc.neighbours.neighbour import claim
from rnc.study.claims import Condition, Value, constant
from rnc.study.record import ENOUGH

TRAINED_ON = (("ST", "clean"), ("AT", "clean"), ("AT", "pgd"))
NAMES = {"clean": "clean", "pgd": "attacked"}


def _of(experiment: str, look: Callable[[dict], float]) -> Value:
    """A value of one seed's results."""
    return lambda seed: look(seed[experiment][seed["number"]])


def _response(name: str) -> Value:
    return _of("response", lambda found: found[name])


def _paths(name: str, choose: Callable) -> Value:
    """Of all times and decays."""

    def look(found: dict) -> float:
        values = [path[name] for path in found["paths"]]
        return choose(choose(v) if isinstance(v, list) else v for v in values)

    return _of("path", look)


def _pull(name: str, choose: Callable = max) -> Value:
    """Of all shapes and pulls."""
    return _of("pull", lambda found: choose(choose(shape[name]) for shape in found["shapes"]))


def _where_enough(found: dict) -> float:
    """The largest change of R of a minimiser, at pulls that are strong enough."""
    return max(
        change
        for shape in found["shapes"]
        for beta, change in zip(shape["beta"], shape["minimiser"], strict=True)
        if beta >= shape["enough"]
    )


def _remainder(name: str) -> Value:
    """The largest at a pull of more than 10, over that at 10; times beta^2."""

    def look(found: dict) -> float:
        ratios = []
        for shape in found["shapes"]:
            pairs = dict(zip(shape["beta"], shape[name], strict=True))
            at_ten = pairs[10.0]
            ratios += [value / at_ten for beta, value in pairs.items() if beta > 10]
        return max(ratios)

    return _of("pull", look)


def _over_depth(method: str, points: str, measure: str) -> Value:
    """After the last block over after the embedding."""

    def look(found: dict) -> float:
        values = found[method][points][measure]
        return values[-1] / values[0]

    return _of("digits", look)


def _at_start(measure: str) -> Value:
    """The same of a network that is not trained."""
    return _over_depth("start", "clean", measure)


def _largest_step(method: str, points: str) -> Value:
    """R after a block over R before it."""

    def look(found: dict) -> float:
        values = found[method][points]["ratio"]
        return max(after / before for before, after in itertools.pairwise(values))

    return _of("digits", look)


def _accuracy(method: str, points: str) -> Value:
    return _of("digits", lambda found: found[method]["accuracy"][points])


def _blocks(look: Callable[[dict], float], choose: Callable = max) -> Value:
    return _of("digits", lambda found: choose(map(look, found["blocks"])))


def _off(name: str) -> Value:
    """The largest relative distance from the model's R."""
    return _blocks(lambda block: abs(block[name] / block["model"] - 1))


def _falls_with_depth(what: str, measure: str, null: Value) -> tuple[Condition, ...]:
    """On points of each kind that is trained on."""
    return tuple(
        Condition(
            f"{method}, {NAMES[points]}: {what} last / first",
            _over_depth(method, points, measure),
            "<=",
            1,
            null,
            neutral=1,
        )
        for method, points in TRAINED_ON
    )


_ATTACKED = Condition("ST: accuracy under attack", _accuracy("ST", "pgd"), "<=", 1 - ENOUGH)
# Both networks fit what they were trained on.
_FITTED = (
    Condition("ST: accuracy on training points", _accuracy("ST", "clean"), ">=", 0.99),
    Condition("AT: accuracy on training points", _accuracy("AT", "clean"), ">=", 0.99),
    Condition("AT: the same under attack", _accuracy("AT", "pgd"), ">=", 0.95),
)
_claim = functools.partial(claim, "12_perturbation_analysis")

CLAIMS = (
    _claim(
        "T1",
        "collapsed features stay",
        "Collapsed given features are the minimiser, however weak or strong the pull.",
        "Tirer et al., on features that are collapsed",
        Condition("largest |H − H₀|/|H₀|", _response("fixed"), "<=", 1e-6),
    ),
    _claim(
        "T2",
        "the flow collapses",
        "Along the gradient flow R falls, Tr Σ_W with the decay taken out falls, and Tr Σ_B "
        "rises.",
        "Tirer et al., theorem on the flow; the two rates: ours",
        Condition("largest ln R after − before", _paths("step", max), "<=", 0, constant(0)),
        Condition("largest rate of e²ᵘᵗTr Σ_W", _paths("falling", max), "<=", 0, constant(0)),
        Condition("smallest rate of e²ᵘᵗTr Σ_B", _paths("rising", min), ">=", 0, constant(0)),
        Condition("error of the two formulas", _paths("off", max), "<=", 1e-8),
    ),
    _claim(
        "T3",
        "so does one step, if pulled enough",
        "From β = 1/(2w) − u on the minimiser has a smaller R than the given features, and for "
        "strong pulls it is the flow's at time 1/β, to the first order.",
        "Tirer et al., corollary; the constant and the rate: ours",
        Condition("largest R/R₀ − 1", _of("pull", _where_enough), "<=", 0, constant(0)),
        Condition("smallest Tr Σ_B over its bound − 1", _pull("between", min), ">=", 0),
        Condition("β²|ln R − first order|, over that at β = 10", _remainder("second"), "<=", 2),
        Condition(
            "β²|ln R − that of the flow|, over that at β = 10", _remainder("to_flow"), "<=", 2
        ),
    ),
    _claim(
        "T4",
        "deviations shrink along the classifier",
        "At any minimum deviations from the class means shrink by β/(β + u + σ²) along a "
        "direction that the classifier sees with the singular value σ.",
        "ours",
        Condition("largest relative error", _pull("identity"), "<=", 1e-8),
        Condition("largest Tr Σ_W over its bound − 1", _pull("within"), "<=", 0),
        Condition("losses of two optimisers: relative difference", _pull("losses"), "<=", 1e-10),
    ),
    _claim(
        "T5",
        "the response to a small change",
        "Near collapse the response has the spectrum of the closed form, and of the paper's to "
        "the first order in 1/β.",
        "Tirer et al., theorem on the response; the exact form: ours",
        Condition("all features: largest error", _response("full"), "<=", 1e-10),
        Condition("own class: largest error", _response("own"), "<=", 1e-10),
        Condition("another class: largest error", _response("other"), "<=", 1e-10),
        Condition("error of the first order / (s/β)²", _response("paper"), "<=", 1),
    ),
    _claim(
        "T6",
        "decay of features attenuates, of the classifier not",
        "The most attenuated deviation shrinks more for a larger u, and less for a larger w.",
        "Tirer et al., remark on the response",
        Condition(
            "largest step of σ_min over u",
            _of("response", lambda found: max(found["by_u"]["steps"])),
            "<=",
            0,
            constant(0),
        ),
        Condition(
            "smallest step of σ_min over w",
            _of("response", lambda found: min(found["by_w"]["steps"])),
            ">=",
            0,
            constant(0),
        ),
        Condition(
            "distance from β/(β + s)",
            _of("response", lambda found: max(found[by]["off"] for by in ("by_u", "by_w"))),
            "<=",
            1e-10,
        ),
    ),
    _claim(
        "T7",
        "depth lowers R where it is trained",
        "Every block lowers R on points of the kind that the network was trained on.",
        "Tirer et al., the model read as a network's layers",
        *(
            Condition(
                f"{method}, {NAMES[points]}: largest R after / before a block",
                _largest_step(method, points),
                "<=",
                1,
                constant(1),
                neutral=1,
            )
            for method, points in TRAINED_ON
        ),
        *_falls_with_depth("R", "ratio", _at_start("ratio")),
        premises=_FITTED,
    ),
    _claim(
        "T8",
        "deviations leave the span of the means",
        "From the embedding to the last block the share of the variance within classes in the "
        "span of the class means falls on points of the kind trained on, and not on attacked "
        "points of ST.",
        "ours, from T4",
        *_falls_with_depth("share", "share", _at_start("share")),
        Condition(
            "ST, attacked: share last / first",
            _over_depth("ST", "pgd", "share"),
            ">=",
            1,
            neutral=1,
        ),
        premises=(*_FITTED, _ATTACKED),
    ),
    _claim(
        "T9",
        "variance within classes falls with depth",
        "Tr Σ_W itself falls with depth, as it does along the flow.",
        "Tirer et al., second statement on the flow, read as depth",
        *_falls_with_depth("Tr Σ_W", "within", constant(1)),
        premises=_FITTED,
    ),
    _claim(
        "T10",
        "a trained block does as the model",
        "A block trained on the model's objective cannot beat the free minimum, and changes R as "
        "the model does.",
        "ours",
        Condition(
            "smallest objective of a block / the minimum",
            _blocks(lambda block: block["loss"], min),
            ">=",
            1 - 1e-6,
            neutral=1,
        ),
        Condition(
            "largest R of a block / R₀",
            _blocks(lambda block: block["block"] / block["given"]),
            "<=",
            1,
            constant(1),
            neutral=1,
        ),
        Condition(
            "largest |R of a block / R of the model − 1|", _off("block"), "<=", 0.1, _off("given")
        ),
    ),
)
