"""All claims at all scales at one look: a matrix whose rows open to the tests behind them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from string import ascii_uppercase

import numpy as np

from rnc.show.tables import CLASSES, Table, table
from rnc.study.claims import FAILS, HOLDS, OPEN, SIGNS, Condition, Verdict, judge
from rnc.study.records import Records

SPOKEN = ["1/4", "1/3", "1/2", "2/3", "1", "3/2", "2", "3", "4"]  # times the bounds
FACTORS = tuple(map(Fraction, SPOKEN))
LEFT, RIGHT = 20, 150  # px of a chart's axis; values stand beside it
DECADES = 20  # positive values that span a larger factor are on a logarithmic axis


def matrix(found: dict[str, Records]) -> Table:
    """A row for each claim with its verdicts at several scales, which opens to its statement, its
    answers at other bounds, and a chart of each of its tests; for the page of a chapter."""
    judged = zip(*(judge(records) for records in found.values()), strict=True)
    return table(
        "matrix.html",
        scales=dict(zip(ascii_uppercase, found, strict=False)),
        claims=[_claim(list(zip(ascii_uppercase, verdicts, strict=False))) for verdicts in judged],
        factors=SPOKEN,
        chosen=FACTORS.index(1),
        kinds={sign: [CLASSES[verdict], verdict] for verdict, sign in SIGNS.items()},
        left=LEFT,
        right=RIGHT,
    )


def _claim(verdicts: list[tuple[str, Verdict]]) -> dict:
    """Of one claim what its row shows; verdicts by letter of their scale."""
    claim = verdicts[0][1].claim
    return {
        "claim": claim,
        "verdicts": verdicts,
        "signs": {
            letter: "".join(SIGNS[v.answer(float(factor))] for factor in FACTORS)
            for letter, v in verdicts
        },
        "premises": [
            (str(premise), _letters(number, verdicts))
            for number, premise in enumerate(claim.premises)
        ],
        "tests": [Chart.of(number, verdicts) for number in range(len(claim.conditions))],
    }


def _letters(number: int, verdicts: list[tuple[str, Verdict]]) -> dict[str, list[str]]:
    """By sign the scales at which a premise holds at every seed, and at which it does not."""
    signs: dict[str, list[str]] = {}
    for letter, verdict in verdicts:
        if verdict.values.size:
            sign = SIGNS[HOLDS if verdict.premises_held()[number][1] else FAILS]
            signs.setdefault(sign, []).append(letter)
    return signs


@dataclass(frozen=True)
class Axis:
    """Of a chart, from LEFT to RIGHT."""

    low: float
    high: float
    log: bool

    @classmethod
    def over(cls, values: np.ndarray, marks: np.ndarray) -> Axis:
        """One that has all values, and of the marks all that leave the values room."""
        both = np.append(values, marks)
        if both.min() > 0 and both.max() / both.min() >= DECADES:
            return cls(
                10.0 ** math.floor(math.log10(both.min())),
                10.0 ** math.ceil(math.log10(both.max())),
                True,
            )
        return cls(-_rounded(-values.min()) or 0.0, _rounded(values.max()), False)

    def place(self, value: float) -> float:
        """px from the left; at the edge where a value lies beyond."""
        low, high = self.low, self.high
        value = min(max(value, low), high)
        if self.log:
            low, high, value = math.log(low), math.log(high), math.log(value)
        return round(LEFT + (RIGHT - LEFT) * (value - low) / (high - low), 1)


def _rounded(value: float) -> float:
    """Up to a round number a little above; 0 if there is nothing above 0."""
    if value <= 0:
        return 0.0
    power = 10.0 ** math.floor(math.log10(value))
    steps = (1, 1.5, 2, 3, 4, 5, 6, 8, 10, 15)
    return float(f"{next(s for s in steps if s * power >= 1.05 * value) * power:.3g}")


@dataclass(frozen=True)
class Row:
    """A scale of a chart.

    Attributes:
        letter: of the scale.
        dots: where the values of its seeds are, and whether the claim applies to them.
        nulls: where chance is.
        signs: whether the test is met, at each of FACTORS.
        value, null: in words.
    """

    letter: str
    dots: list[tuple[float, bool]]
    nulls: list[float]
    signs: str
    value: str
    null: str


@dataclass(frozen=True)
class Chart:
    """A test at several scales.

    Attributes:
        condition: what is tested.
        axis: of the values.
        bounds: at each of FACTORS, in words, and where they are.
        rows: of the scales.
    """

    condition: Condition
    axis: Axis
    bounds: list[tuple[str, float]]
    rows: list[Row]

    @classmethod
    def of(cls, number: int, verdicts: list[tuple[str, Verdict]]) -> Chart:
        condition = verdicts[0][1].claim.conditions[number]
        values = _known(v.values[number] for _, v in verdicts)
        nulls = _known(v.nulls[number] for _, v in verdicts)
        axis = Axis.over(np.append(values, condition.bound), nulls)
        bounds = [condition.bound_at(float(factor)) for factor in FACTORS]
        return cls(
            condition,
            axis,
            [(f"{bound:.3g}", axis.place(bound)) for bound in bounds],
            [_row(letter, v, number, axis) for letter, v in verdicts],
        )

    @property
    def upward(self) -> bool:
        """Whether values above the bound pass."""
        return self.condition.relation == ">="

    def zone(self, nulls: list[float]) -> tuple[float, float]:
        """From where to where the test is met, at the bound as it was chosen, for all nulls."""
        ends = [self.bounds[FACTORS.index(1)][1], *nulls]
        return (max(ends), RIGHT) if self.upward else (LEFT, min(ends))


def _row(letter: str, verdict: Verdict, number: int, axis: Axis) -> Row:
    pairs = zip(verdict.values[number], verdict.applicable, strict=True)
    nulls = sorted({axis.place(null) for null in _known([verdict.nulls[number]])})
    met = [verdict.meets(number, float(factor)) for factor in FACTORS]
    return Row(
        letter,
        [(axis.place(value), bool(applies)) for value, applies in pairs if not math.isnan(value)],
        nulls,
        "".join(SIGNS[HOLDS if one else FAILS] for one in met)
        if verdict.values.size
        else SIGNS[OPEN] * len(met),
        verdict.measured()[number],
        verdict.by_chance()[number],
    )


def _known(rows: Iterable[np.ndarray]) -> np.ndarray:
    values = np.concatenate([np.asarray(row, float) for row in rows])
    return values[np.isfinite(values)]
