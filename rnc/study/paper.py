"""What the paper reports, beside what the book measures: book/paper.toml."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from string import ascii_uppercase

from rnc.errors import ParameterError, check_number, check_one_of
from rnc.study.folders import CHECKOUT
from rnc.study.methods import METHODS
from rnc.study.records import Records
from rnc.study.settings import PAPER_ATTACK

REPORTED = CHECKOUT / "book" / "paper.toml"


@dataclass(frozen=True)
class Curve:
    """A curve of one of the paper's figures, at its end.

    Attributes:
        figure: in the paper.
        what: it shows, for readers.
        method: title of the method.
        measure, points: what of a record is the same; an angle where there are no points.
        value, error: what the paper reports, and the error of reading it; None where that is not
            known.
        read: where it was read: "text" or "axis".
    """

    figure: str
    what: str
    method: str
    measure: str
    points: str | None = None
    value: float | None = None
    error: float | None = None
    read: str | None = None

    def __post_init__(self) -> None:
        check_one_of("method", self.method, [method.title for method in METHODS.values()])
        given = [name for name in ("value", "error", "read") if getattr(self, name) is not None]
        if given and len(given) < 3:
            raise ParameterError(
                f"value, error and read must be given together; {self.what!r} has {given}"
            )
        if given:
            check_number("error", self.error, 0)
            check_one_of("read", self.read, ("text", "axis"))

    @property
    def reported(self) -> str:
        """What the paper reports, in words."""
        return "not known" if self.value is None else f"{self.value:g} ± {self.error:g}"

    def ours(self, records: Records) -> list[float]:
        """The same of each seed of some records; empty where it was not measured."""
        return [
            record.end(self.points, self.measure) if self.points else record.angle(self.measure)
            for record in records.get(self.method, [])
        ]

    def difference(self, values: list[float]) -> float | None:
        """Of the mean of ours from the paper's value; None where that is not known."""
        return None if self.value is None or not values else sum(values) / len(values) - self.value


def curves() -> list[Curve]:
    """What the paper reports.

    Raises:
        ParameterError: an entry of the file is not as it must be.
    """
    entries = tomllib.loads(REPORTED.read_text(encoding="utf-8"))["curve"]
    try:
        return [Curve(**entry) for entry in entries]
    except TypeError as error:
        raise ParameterError(f"{REPORTED.name} has an entry that is no curve ({error})") from error


def comparable(scales: dict[str, Records]) -> dict[str, Records]:
    """Of several scales those under the paper's attack, in whose units its figures are, by the
    letter that stands for each among all of them."""
    return {
        letter: records
        for letter, records in zip(ascii_uppercase, scales.values(), strict=False)
        if next(iter(records.values()))[0].evaluation.attack == PAPER_ATTACK["linf"]
    }
