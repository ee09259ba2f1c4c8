"""The paper's twelve claims as testable statements, and their verdicts from measured values.

A claim holds when all of its conditions hold at every seed. Bounds say in numbers what the
claims say in words; they are the same for every method, data set and scale:

- Collapse is *there* when, in an average direction, the variance within classes is at most a
  tenth of that between them (NC1/(K - 1) <= 0.1), norms and cosines of the class means are within
  0.1 of a simplex, the classifier has a cosine of 0.9 with the means (NC3 <= 0.2), and the
  nearest class centre disagrees with the network on at most 1 % of the points.
- It is *gone* when the variance within is as large as between (NC1/(K - 1) >= 1), or cosines are
  off by twice the bound (0.2).
- A mean is *at* a vertex when it is within a quarter of the angle between two vertices.
- A curve has *converged* when it changes by at most a tenth over its last tenth.
- Two accuracies are *the same* within five points; nothing is lost within one.
- Predicted labels are *far from uniform* when a tenth of the points would have to move.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

ST, AT, TRADES, FROZEN = "ST", "AT", "TRADES", "TRADES (frozen BN)"
HOLDS, FAILS, OPEN = "holds", "does not hold here", "not measured"

CSS = {HOLDS: "rnc-yes", FAILS: "rnc-no", OPEN: "rnc-open"}
SIGNS = {HOLDS: "✓", FAILS: "✗", OPEN: "–"}

Records = dict[str, dict]  # name of the method, as in Training.label, to its record


@dataclass(frozen=True)
class Condition:
    """A measured value and its bound."""

    what: str
    value: Callable[[Records], float]
    relation: str  # "<=" or ">="
    bound: float

    def holds(self, value: float) -> bool:
        # nan, a value that could not be formed, satisfies no bound
        return {"<=": operator.le, ">=": operator.ge}[self.relation](value, self.bound)

    def __str__(self) -> str:
        return f"{self.what} {'≤' if self.relation == '<=' else '≥'} {self.bound:g}"


@dataclass(frozen=True)
class Claim:
    """A claim of the paper: what it says, where it is tested, and by which conditions."""

    id: str
    statement: str
    chapter: str
    needs: tuple[str, ...]
    conditions: tuple[Condition, ...]


@dataclass(frozen=True)
class Verdict:
    """A claim with the values of its conditions, conditions x seeds."""

    claim: Claim
    values: np.ndarray

    @property
    def verdict(self) -> str:
        if not self.values.size:
            return OPEN
        return HOLDS if all(self.condition_holds()) else FAILS

    @property
    def at_seeds(self) -> str:
        """The verdict, and where seeds disagree at how many of them the claim holds."""
        holds = [
            all(c.holds(v) for c, v in zip(self.claim.conditions, column, strict=True))
            for column in self.values.T
        ]
        some = f" ({sum(holds)} of {len(holds)} seeds)" if len(set(holds)) > 1 else ""
        return self.verdict + some

    def condition_holds(self) -> list[bool]:
        """For each condition, whether it holds at every seed."""
        return [
            all(condition.holds(value) for value in row)
            for condition, row in zip(self.claim.conditions, self.values, strict=True)
            if len(row)
        ]

    def details(self) -> str:
        """The verdict with a line for each test."""
        lines = [f"{self.claim.id}  {self.verdict.upper()}  {self.claim.statement}"]
        for condition, row in zip(self.claim.conditions, self.values, strict=True):
            value = _mean_and_spread(row) if len(row) else "–"
            lines.append(f"        {condition}: {value}")
        return "\n".join(lines)

    def __str__(self) -> str:
        return f"{self.claim.id} {self.verdict}"


class Verdicts(tuple):
    """Verdicts that show themselves as a table."""

    def __str__(self) -> str:
        return "\n".join(map(str, self))

    __repr__ = __str__

    def _repr_html_(self) -> str:
        rows = []
        for v in self:
            tests, values = [str(c) for c in v.claim.conditions], _measured(v)
            span = f"rowspan='{len(tests)}'"
            for i, (test, value) in enumerate(zip(tests, values, strict=True)):
                first = (
                    f"<td {span}>{v.claim.id}</td>"
                    f"<td {span} class='rnc-statement'>{v.claim.statement}</td>"
                )
                last = f"<td {span} class='{CSS[v.verdict]}'><strong>{v.at_seeds}</strong></td>"
                rows.append(
                    f"<tr>{first if i == 0 else ''}<td>{test}</td><td>{value}</td>"
                    f"{last if i == 0 else ''}</tr>"
                )
        return table(("", "Claim", "Test", "Measured", "Verdict"), rows)


class Scales(dict):
    """Verdicts by scale, side by side in a table; a scale is named by its settings."""

    def __str__(self) -> str:
        return "\n".join(
            f"{scale}: {', '.join(str(v) for v in verdicts)}" for scale, verdicts in self.items()
        )

    __repr__ = __str__

    def _repr_html_(self) -> str:
        rows = []
        for claims in zip(*self.values(), strict=True):
            claim = claims[0].claim
            verdicts = "".join(
                f"<td class='{CSS[v.verdict]}'><strong>{v.at_seeds}</strong></td>" for v in claims
            )
            rows.append(
                f"<tr class='rnc-claim'><td>{claim.id}</td>"
                f"<td class='rnc-statement'>{claim.statement}</td>{verdicts}</tr>"
            )
            values = zip(*map(_measured, claims), strict=True)
            for condition, measured in zip(claim.conditions, values, strict=True):
                cells = "".join(f"<td>{value}</td>" for value in measured)
                rows.append(f"<tr class='rnc-test'><td></td><td>{condition}</td>{cells}</tr>")
        return table(("", "Claim and tests", *self), rows)

    def glance(self) -> str:
        """A row for each claim with its verdicts, linked to its chapter; HTML for a page of the
        book, in a folder beside that of the chapters."""
        rows = []
        for claims in zip(*self.values(), strict=True):
            claim = claims[0].claim
            verdicts = "".join(
                f"<td class='{CSS[v.verdict]}'>{SIGNS[v.verdict]} {v.at_seeds}</td>"
                for v in claims
            )
            link = f"../notebooks/{claim.chapter}.html#verdicts"
            rows.append(
                f"<tr><td><a href='{link}'>{claim.id}</a></td>"
                f"<td class='rnc-statement'>{claim.statement}</td>{verdicts}</tr>"
            )
        # data, network, epochs and seeds are enough of a scale's name here
        scales = ["; ".join((*scale.split("; ")[:3], scale.split("; ")[-1])) for scale in self]
        return table(("", "Claim of the paper", *scales), rows)


def _measured(verdict: Verdict) -> list[str]:
    """For each condition its value as HTML, coloured by whether it holds."""
    if not verdict.values.size:
        return ["–"] * len(verdict.claim.conditions)
    return [
        f"<span class='{CSS[HOLDS if ok else FAILS]}'>{_mean_and_spread(row)}</span>"
        for ok, row in zip(verdict.condition_holds(), verdict.values, strict=True)
    ]


def table(head: tuple[str, ...], rows: list[str]) -> str:
    """An HTML table in the book's style; rows are HTML too."""
    return (
        "<table class='rnc-claims'><thead><tr>"
        + "".join(f"<th>{title}</th>" for title in head)
        + "</tr></thead><tbody>"
        + "".join(rows)
        + "</tbody></table>"
    )


def judge(seeds: list[Records], *ids: str) -> Verdicts:
    """The verdicts of some claims.

    Args:
        seeds: for each seed the records of its networks, by name of the method; a claim is
            judged by those seeds that have all networks it needs.
        ids: claims, such as "C1"; none given: all of them.

    Raises:
        ValueError: there is no such claim.
    """
    known = [claim.id for claim in CLAIMS]
    if unknown := [name for name in ids if name not in known]:
        raise ValueError(f"there is no claim {unknown[0]!r}; there are {', '.join(known)}")
    chosen = [claim for claim in CLAIMS if not ids or claim.id in ids]
    verdicts = []
    for claim in chosen:
        complete = [records for records in seeds if all(n in records for n in claim.needs)]
        values = [[condition.value(r) for r in complete] for condition in claim.conditions]
        verdicts.append(Verdict(claim, np.array(values, float)))
    return Verdicts(verdicts)


def _mean_and_spread(row: np.ndarray) -> str:
    if len(row) == 1:
        return f"{row[0]:.3g}"
    return f"{row.mean():.3g} ± {row.std(ddof=1):.2g}"


# Values from a record -----------------------------------------------------------------------


def _end(method: str, kind: str, measure: str) -> Callable[[Records], float]:
    """The last value of a measure on clean, pgd, gauss or targeted points."""
    return lambda records: _number(records[method]["trajectory"][kind][measure][-1])


def _angle(method: str, name: str) -> Callable[[Records], float]:
    """A mean angle at the end, as a share of the angle between two vertices."""
    return lambda records: (
        _number(records[method]["trajectory"][name][-1]) / records[method]["final"]["vertex_angle"]
    )


def _spread(method: str, kind: str) -> Callable[[Records], float]:
    """NC1/(K - 1): variance within classes over variance between, mean over directions."""
    nc1 = _end(method, kind, "nc1")
    return lambda records: nc1(records) / (len(records[method]["final"]["predicted_counts"]) - 1)


def _number(value: float | None) -> float:
    return float("nan") if value is None else value


def _there(method: str, kind: str) -> tuple[Condition, ...]:
    points = f"{method} {kind}:"
    return (
        Condition(f"{points} NC1/(K−1)", _spread(method, kind), "<=", 0.1),
        Condition(f"{points} NC2 norms", _end(method, kind, "nc2_norms"), "<=", 0.1),
        Condition(f"{points} NC2 angles", _end(method, kind, "nc2_angles"), "<=", 0.1),
        Condition(f"{points} NC3", _end(method, kind, "nc3"), "<=", 0.2),
        Condition(f"{points} NC4", _end(method, kind, "nc4"), "<=", 0.01),
    )


def _no_simplex(method: str) -> tuple[Condition, ...]:
    return (
        Condition(f"{method}: last change of the loss", _settled(method, "loss"), "<=", 0.1),
        Condition(f"{method}: last change of accuracy", _settled(method, "accuracy"), "<=", 0.1),
        Condition(f"{method} clean: NC2 angles", _end(method, "clean", "nc2_angles"), ">=", 0.2),
        Condition(f"{method} pgd: NC2 angles", _end(method, "pgd", "nc2_angles"), ">=", 0.2),
    )


def _settled(method: str, measure: str) -> Callable[[Records], float]:
    """Relative change of a training curve from its last tenth but one to its last tenth."""

    def change(records: Records) -> float:
        curve = np.array(records[method]["history"][measure])
        tenth = max(1, len(curve) // 10)
        if len(curve) < 2 or not curve[-2 * tenth : -tenth].any():
            return float("nan")
        before, end = curve[-2 * tenth : -tenth].mean(), curve[-tenth:].mean()
        return abs(end - before) / before

    return change


def _gauss_to_clean(records: Records) -> float:
    return _end(ST, "gauss", "nc1")(records) / _end(ST, "clean", "nc1")(records)


def _accuracy_lost(records: Records) -> float:
    return _end(ST, "clean", "accuracy")(records) - _end(ST, "gauss", "accuracy")(records)


def _targeted_minus_leap(records: Records) -> float:
    return _angle(ST, "targeted_angle")(records) - _angle(ST, "leap")(records)


def _away_from_uniform(records: Records) -> float:
    """The share of points that would have to move for equal counts (total variation)."""
    counts = np.array(records[ST]["final"]["predicted_counts"])
    return float(abs(counts - counts.mean()).sum() / 2 / counts.sum())


def _at_to_st(measure: str) -> Callable[[Records], float]:
    return lambda records: (
        _end(AT, "clean", measure)(records) / _end(ST, "clean", measure)(records)
    )


def _ncc_gap(records: Records) -> float:
    return abs(_end(AT, "pgd", "accuracy")(records) - _end(AT, "pgd", "ncc_accuracy")(records))


def _depth_correlation(records: Records) -> float:
    """Spearman's rank correlation of depth with NC1 on clean points."""
    nc1 = np.array([_number(v) for v in records[ST]["layers"]["clean"]["nc1"]])
    return float(np.corrcoef(np.arange(len(nc1)), nc1.argsort().argsort())[0, 1])


def _ncc_kept(layer: int) -> Callable[[Records], float]:
    """The share of a layer's clean NCC accuracy that is left under attack."""

    def share(records: Records) -> float:
        layers = records[ST]["layers"]
        return layers["perturbed"]["ncc_accuracy"][layer] / layers["clean"]["ncc_accuracy"][layer]

    return share


CLAIMS = (
    Claim(
        "C1",
        "Standard training ends in neural collapse, NC1 to NC4, on clean points.",
        "02_standard_training",
        (ST,),
        _there(ST, "clean"),
    ),
    Claim(
        "C2",
        "Gaussian noise of the attack's size leaves the collapse of ST nearly intact.",
        "02_standard_training",
        (ST,),
        (
            Condition("NC1 with noise / NC1 clean", _gauss_to_clean, "<=", 2),
            Condition("accuracy lost to noise", _accuracy_lost, "<=", 0.01),
            Condition("ST gauss: NC2 angles", _end(ST, "gauss", "nc2_angles"), "<=", 0.1),
        ),
    ),
    Claim(
        "C3",
        "Under PGD neither variability collapse nor a simplex remains of ST.",
        "03_attacks",
        (ST,),
        (
            Condition("ST pgd: NC1/(K−1)", _spread(ST, "pgd"), ">=", 1),
            Condition("ST pgd: NC2 angles", _end(ST, "pgd", "nc2_angles"), ">=", 0.2),
        ),
    ),
    Claim(
        "C4",
        "Attacked points of ST leap: the mean of the points predicted as a class stays at the "
        "clean vertex of that class.",
        "03_attacks",
        (ST,),
        (Condition("leap angle / angle between vertices", _angle(ST, "leap"), "<=", 0.25),),
    ),
    Claim(
        "C5",
        "Targeted attacks send class means to the target's vertex, at a larger angle than "
        "untargeted ones.",
        "03_attacks",
        (ST,),
        (
            Condition(
                "targeted angle / angle between vertices",
                _angle(ST, "targeted_angle"),
                "<=",
                0.25,
            ),
            Condition("the same, less that of the leap", _targeted_minus_leap, ">=", 0),
        ),
    ),
    Claim(
        "C6",
        "Untargeted attacks prefer some classes: predicted labels are far from uniform.",
        "03_attacks",
        (ST,),
        (Condition("share of points away from uniform", _away_from_uniform, ">=", 0.1),),
    ),
    Claim(
        "C7",
        "Adversarial training ends in neural collapse on clean and on attacked points.",
        "04_adversarial_training",
        (AT,),
        _there(AT, "clean") + _there(AT, "pgd"),
    ),
    Claim(
        "C8",
        "The clean and the attacked simplex of AT are aligned.",
        "04_adversarial_training",
        (AT,),
        (
            Condition(
                "alignment angle / angle between vertices", _angle(AT, "alignment"), "<=", 0.25
            ),
        ),
    ),
    Claim(
        "C9",
        "AT keeps a higher variance within classes than ST.",
        "04_adversarial_training",
        (ST, AT),
        (
            Condition("Tr Σ_W of AT / of ST, clean", _at_to_st("within"), ">=", 1),
            Condition("NC1 of AT / of ST, clean", _at_to_st("nc1"), ">=", 1),
        ),
    ),
    Claim(
        "C10",
        "The nearest-class-centre classifier of AT is as robust as the network.",
        "04_adversarial_training",
        (AT,),
        (Condition("|robust accuracy: network − NCC|", _ncc_gap, "<=", 0.05),),
    ),
    Claim(
        "C11",
        "TRADES forms no simplices, although loss and accuracy converge.",
        "05_trades",
        (TRADES,),
        _no_simplex(TRADES),
    ),
    Claim(
        "C11f",
        "The same of TRADES as the reference code runs it, with BatchNorm frozen.",
        "05_trades",
        (FROZEN,),
        _no_simplex(FROZEN),
    ),
    Claim(
        "C12",
        "Collapse grows with depth on clean points; under attack early layers of ST keep a "
        "reliable NCC classifier and late layers lose it.",
        "06_layerwise",
        (ST,),
        (
            Condition("rank correlation of depth and clean NC1", _depth_correlation, "<=", -0.8),
            Condition("share of NCC accuracy kept, first layer", _ncc_kept(0), ">=", 0.5),
            Condition("share of NCC accuracy kept, last layer", _ncc_kept(-1), "<=", 0.1),
        ),
    ),
)
