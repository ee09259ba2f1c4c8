"""What the chapter on mixup says of its results, whichever way they turn out."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from rnc.neighbours.mixup.claims import ATTACKS, classes_of, predicted
from rnc.neighbours.mixup.experiments import Settings
from rnc.neighbours.mixup.geometry import LAMBDAS
from rnc.neighbours.mixup.scales import judged
from rnc.study.findings import Text
from rnc.study.findings.finding import sentence, span
from rnc.study.settings import named_seeds

HALF, SEVEN = LAMBDAS.index(0.5), LAMBDAS.index(0.7)


def on_setting(settings: Settings) -> Text:
    """What is trained and how it is attacked."""
    attack = f"PGD of {settings.steps} steps, ℓ∞, ε = {settings.eps:g}/255, on training points"
    return Text(
        f"Here: {settings.study.base.scale}; λ ~ Beta(α, α) with α = {settings.mixing:g}; "
        f"{attack}; {named_seeds(settings.seeds)}."
    )


def on_same(measured: dict) -> Text:
    """Mixes of one class."""
    cosines = [
        f"{_each(measured, name, lambda of: of['mixes']['same_cos_seen'])} ({title})"
        for name, title in (("mixup", "mixup"), ("st", "ST"))
    ]
    whole = _each(measured, "mixup", lambda of: of["mixes"]["same_cos"])
    spread = _each(measured, "mixup", lambda of: of["mixes"]["margin_range"], ".1%")
    by_lambda = _each(measured, "mixup", lambda of: of["mixes"]["lambda_share"], ".1%")
    of_st = min(of["mixes"]["same_cos_seen"] for of in measured["st"])
    words = "ST aligns as well, though it saw no mixes." if of_st >= 0.95 else "ST aligns less."
    return Text(
        f"Mixes of one class have a cosine of {' and '.join(cosines)} with their row, in what the "
        f"classifier sees; in all dimensions it is {whole} for mixup. Over lambda their margin "
        f"ranges by {spread} of its mean, and lambda makes {by_lambda} of their variance. {words}"
    )


def on_two(measured: dict) -> Text:
    """Mixes of two classes, beside channel and chord."""
    parts = []
    for name, title in (("mixup", "mixup"), ("st", "ST")):
        theory, chord = _off(measured, name)
        nearer = _nearer(theory, chord)
        parts.append(
            f"of {title} theory leaves {span(theory)} unexplained and the chord {span(chord)}, so "
            f"that {nearer}"
        )
    return Text(f"{sentence('; '.join(parts))} {_of_logits(measured)} {_outside(measured)}")


def on_variants(measured: dict) -> Text:
    """The squared error, and the fixed simplex."""
    parts = []
    for name, title in (
        ("mixup_mse", "with the squared error"),
        ("mixup_etf", "with a fixed simplex"),
    ):
        theory, chord = _off(measured, name)
        rise = _each(measured, name, lambda of: of["mixes"]["rise"][HALF])
        parts.append(
            f"{title} theory leaves {span(theory)} and the chord {span(chord)}, and the rise is "
            f"{rise}: {_nearer(theory, chord)}"
        )
    accuracies = [
        f"{_each(measured, name, lambda of: of['reliability']['accuracy'], '.1%')} ({title})"
        for name, title in (("mixup", "free"), ("mixup_etf", "fixed"))
    ]
    return Text(f"{sentence('; '.join(parts))} Test accuracy is {' and '.join(accuracies)}.")


def on_attack(measured: dict) -> Text:
    """Where PGD leaves points."""
    parts, leaps = [], {}
    for name, title in (
        ("st", "ST"),
        ("mixup", "mixup"),
        ("mixup_etf", "with a fixed simplex"),
        ("mixup_mse", "with the squared error"),
    ):
        leaps[name], between = (
            [of["attacked"][attack][measure] for of in measured[name] for attack in ATTACKS]
            for measure in ("leap_seen", "between_wrong")
        )
        parts.append(f"{title} {span(leaps[name])} rad and {span(between, '.0%')}")
    if min(leaps["mixup"]) > 2 * max(leaps["st"]):
        words = "Mixup does not leap as ST does: its points stop on the way"
    elif max(leaps["mixup"]) < min(leaps["st"]):
        words = "Mixup leaps to vertices more exactly than ST"
    else:
        pairs = list(zip(leaps["mixup"], leaps["st"], strict=True))
        more, twice = (sum(a > factor * b for a, b in pairs) for factor in (1, 2))
        words = f"Of {len(pairs)} pairs of seed and attack mixup's angle is larger than ST's at "
        words += f"{more}, and more than twice as large at {twice}"
    sure = [
        f"{_each(measured, name, lambda of: of['attacked']['pgd']['confidence'])} ({title})"
        for name, title in (("st", "ST"), ("mixup", "mixup"))
    ]
    return Text(
        f"Over attacks (PGD, margin loss, ten times the steps) and seeds, the angle to the clean "
        f"vertex and the share of points between two wrong classes are: {'; '.join(parts)}. "
        f"{words}. Mean confidence under PGD is {' and '.join(sure)}."
    )


def on_squared_attack(measured: dict) -> Text:
    """What the squared error, whose mixes are chords, does under the margin loss."""
    found, other, crossed = (
        [of["attacked"][attack]["between_wrong"] for of in measured[name]]
        for name, attack in (("mixup_mse", "margin"), ("mixup", "margin"), ("mixup_mse", "pgd"))
    )
    if max(found) < min(other) / 2:
        words = "it saw mixes too, so that mixing alone does not keep points from a vertex"
    else:
        words = "not less than half as many at every seed"
    return Text(
        f"With the squared error {span(found, '.0%')} of the points are between two wrong classes "
        f"under the margin loss, against {span(other, '.0%')} with the cross-entropy: {words}. "
        f"(Under PGD on the cross-entropy, with which it was not trained, {span(crossed, '.0%')}.)"
    )


def on_robustness(measured: dict) -> Text:
    """Accuracy under attack."""
    parts, gains = [], []
    for part, title in (("train", "training points"), ("test", "test points")):
        of_st, of_mixup = (
            [of["robust"][part]["pgd"] for of in measured[name]] for name in ("st", "mixup")
        )
        parts.append(f"{span(of_mixup, '.0%')} of {title} (ST {span(of_st, '.0%')})")
        gains += [a - b for a, b in zip(of_mixup, of_st, strict=True)]
    if max(gains) < 0:
        words = "less robust than ST at every seed"
    elif min(gains) > 0:
        words = "more robust than ST at every seed"
    else:
        words = "neither more nor less robust than ST at every seed"
    kept = [
        f"{_each(measured, name, lambda of: of['attacked']['pgd']['accuracy'], '.1%')} ({title})"
        for name, title in (("mixup", "mixup"), ("st", "ST"))
    ]
    return Text(
        f"At ε = 2/255, under twenty steps of PGD, mixup keeps {' and '.join(parts)}: it is "
        f"{words}. Under the attack above {' and '.join(kept)} of the training points are kept."
    )


def on_calibration(measured: dict) -> Text:
    """Confidence and accuracy on test points."""
    parts, errors = [], {}
    for name, title in (("mixup", "mixup"), ("st", "ST")):
        right, sure = (
            [of["reliability"][key] for of in measured[name]] for key in ("accuracy", "confidence")
        )
        errors[name] = [of["reliability"]["ece"] for of in measured[name]]
        way = "under" if np.mean(sure) < np.mean(right) else "over"
        parts.append(
            f"{title} is right on {span(right, '.1%')} and {span(sure, '.0%')} sure "
            f"({way}confident in the mean over seeds), an expected "
            f"calibration error of {span(errors[name])}"
        )
    better = [a < b for a, b in zip(errors["mixup"], errors["st"], strict=True)]
    words = (
        "mixup is better calibrated"
        if all(better)
        else "mixup is better calibrated at some seeds only"
        if any(better)
        else "mixup is worse calibrated"
    )
    return Text(f"{sentence('; '.join(parts))} So {words}.")


def on_collapse(measured: dict) -> Text:
    """NC1 of unmixed, noisy and attacked points."""
    parts = []
    for points, title in (("clean", "unmixed"), ("gauss", "noisy"), ("pgd", "attacked")):
        values = [
            span(
                [
                    (of["attacked"] | {"clean": of["clean"]})[points]["collapse"]["nc1"]
                    for of in seeds
                ]
            )
            for seeds in (measured["mixup"], measured["st"])
        ]
        parts.append(f"{values[0]} for {title} points (ST {values[1]})")
    return Text(f"NC1 of mixup is {', '.join(parts)}.")


def on_scales(found: dict[str, dict]) -> Text:
    """Which claims hold at one scale and not at another."""
    if len(found) < 2:
        return Text("No other length or data set is recorded with this mixing and attack.")
    verdicts = {scale: {v.claim.id: v.verdict for v in judged(of)} for scale, of in found.items()}
    changing = {
        id: [f"{by_id[id]} ({scale})" for scale, by_id in verdicts.items()]
        for id in next(iter(verdicts.values()))
        if len({by_id[id] for by_id in verdicts.values()}) > 1
    }
    if not changing:
        return Text("Every verdict is the same at each scale.")
    parts = [f"{id}: {', '.join(answers)}" for id, answers in changing.items()]
    return Text(f"Verdicts that change with the scale: {'; '.join(parts)}.")


def _of_logits(measured: dict) -> str:
    networks = measured["mixup"]
    margin = float(np.mean([of["mixes"]["margin"] for of in networks]))
    expected = predicted(margin, classes_of(networks[0]))
    parts = []
    for measure, at, title in (
        ("rise", HALF, "the rise at λ = 0.5"),
        ("difference", SEVEN, "the difference at λ = 0.7"),
    ):
        values = _each(measured, "mixup", lambda of, m=measure, i=at: of["mixes"][m][i])
        parts.append(
            f"{title} is {values} D (theory {expected[measure][at]:.2f}, chord "
            f"{expected[f'{measure}_chord'][at]:.2f})"
        )
    return f"With D = {margin:.1f}, {' and '.join(parts)}."


def _outside(measured: dict) -> str:
    unseen = _each(measured, "mixup", lambda of: of["mixes"]["unseen"], ".0%")
    train = _each(measured, "mixup", lambda of: of["mixes_train"]["off_theory"])
    return (
        f"The classifier does not see {unseen} of the squared length of their means. With "
        f"BatchNorm in train mode, as the paper draws, theory leaves {train}."
    )


def _off(measured: dict, name: str) -> list[list[float]]:
    """What theory and chord leave unexplained, over seeds."""
    return [[of["mixes"][off] for of in measured[name]] for off in ("off_theory", "off_chord")]


def _nearer(theory: list[float], chord: list[float]) -> str:
    nearer = [a < b for a, b in zip(theory, chord, strict=True)]
    if all(nearer):
        return "mixes are nearer to the channel"
    return (
        "mixes are nearer to the channel at some seeds only"
        if any(nearer)
        else ("mixes are nearer to the chord")
    )


def _each(measured: dict, name: str, value: Callable[[dict], float], form: str = "") -> str:
    """Of a network, over seeds."""
    return span([value(of) for of in measured[name]], form)
