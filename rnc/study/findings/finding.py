"""A finding: a question to records, with a sentence for each of its outcomes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from rnc.study.claims import CLAIMS, Seed, Verdict, by_seed, judge_seeds
from rnc.study.methods import Method
from rnc.study.record import NotMeasured
from rnc.study.records import Records
from rnc.study.settings import named_seeds

NOTHING = "This was not measured here."
MORE = 1.25  # a factor that counts as a difference

Outcome = tuple[str, dict[str, str]]  # which of the texts, and what stands in its gaps


@dataclass(frozen=True)
class Finding:
    """A question to records.

    Attributes:
        name: of the function.
        needs: methods whose networks it is about.
        texts: by outcome, its sentence.
        look: gives the outcome, from the records of each seed that has all these networks.
    """

    name: str
    needs: tuple[Method, ...]
    texts: dict[str, str]
    look: Callable[[list[Seed]], Outcome]

    def outcome(self, records: Records) -> Outcome | None:
        """What it finds in some records; None where a network or a measurement is not there."""
        seeds = self.seeds(records)
        return self.look(seeds) if seeds else None

    def say(self, records: Records) -> str:
        """Its sentence; which of the seeds it is about if not about all, and if it is one."""
        if not (seeds := self.seeds(records)):
            return NOTHING
        outcome, values = self.look(seeds)
        total = len(by_seed(records))
        of = sorted(next(iter(seed.values())).training.seed for seed in seeds)
        some = f" (Measured at {named_seeds(of)} alone.)" if len(seeds) < total else ""
        said = self.texts[outcome].format(**values)
        if len(seeds) == 1:
            said = said.replace("at every seed", "at the one seed")
        return said + some

    def seeds(self, records: Records) -> list[Seed]:
        """Those of which everything is there that it looks at."""
        return [
            seed
            for seed in by_seed(records)
            if all(m.title in seed for m in self.needs) and self._measured(seed)
        ]

    def _measured(self, seed: Seed) -> bool:
        try:
            self.look([seed])
        except NotMeasured:
            return False
        return True


FINDINGS: dict[str, Finding] = {}


def finding(*needs: Method, **texts: str) -> Callable:
    """Declares a function from the records of seeds to an outcome as the finding of its name."""

    def declare(look: Callable[[list[Seed]], Outcome]) -> Callable:
        words = {outcome: " ".join(text.split()) for outcome, text in texts.items()}
        FINDINGS[look.__name__] = Finding(look.__name__, needs, words, look)
        return look

    return declare


class Text(str):
    """Markdown that Jupyter shows as such."""

    def _repr_markdown_(self) -> str:
        return str(self)


def say(records: Records, *names: str) -> Text:
    """The sentences of some findings, one after the other.

    Args:
        records: by title of the method, as `rnc.records` gives them.
        names: of FINDINGS.

    Raises:
        ValueError: there is no such finding.
    """
    if unknown := [name for name in names if name not in FINDINGS]:
        raise ValueError(f"there is no finding {unknown[0]!r}; there are {', '.join(FINDINGS)}")
    return Text(" ".join(FINDINGS[name].say(records) for name in names))


# Words and numbers ---------------------------------------------------------------------------


def sentence(text: str) -> str:
    """With a capital and a full stop."""
    return f"{text[0].upper()}{text[1:]}."


def span(values: Iterable[float], form: str = "") -> str:
    """One number, or the lowest and the highest over seeds; two digits if no form is given."""
    values = np.array(list(values), float)
    low, high = (_number(value, form) for value in (values.min(), values.max()))
    return low if low == high else f"{low}–{high}"


def _number(value: float, form: str) -> str:
    if form == ".0%" and (0 < value < 0.01 or 0.99 < value < 1):
        form = ".1%"  # all but none, or all but all
    return f"{value:{form or ('#.2g' if abs(value) < 100 else ',.0f')}}".rstrip(".")


def share_of(seeds: Iterable[bool]) -> str:
    """At how many of the seeds something is so."""
    so = list(seeds)
    return f"{sum(map(bool, so))} of {len(so)} seed{'s' * (len(so) > 1)}"


def end_values(seeds: list[Seed], method: Method, points: str, measure: str) -> np.ndarray:
    return np.array([seed[method.title].end(points, measure) for seed in seeds])


def geometry_values(seeds: list[Seed], method: Method, measure: str) -> np.ndarray:
    """Of attacked points at the end."""
    return np.array([seed[method.title].geometry("pgd", measure) for seed in seeds])


def spreads(seeds: list[Seed], method: Method, points: str) -> np.ndarray:
    """NC1/(K - 1)."""
    classes = seeds[0][method.title].num_classes
    return end_values(seeds, method, points, "nc1") / (classes - 1)


def verdict_of(seeds: list[Seed], claim: str) -> Verdict:
    verdict = judge_seeds(next(c for c in CLAIMS if c.id == claim), seeds)
    if not verdict.values.size:
        raise NotMeasured(f"{claim} was not measured")
    return verdict


def tests_met(verdict: Verdict) -> dict[str, str]:
    """How many of a claim's tests are met at every seed, and which are not."""
    missed = [
        f"{c.what} better than chance" if all(map(c.holds, values)) else str(c)
        for number, (c, values) in enumerate(
            zip(verdict.claim.conditions, verdict.values, strict=True)
        )
        if not verdict.meets(number)
    ]
    total = len(verdict.claim.conditions)
    return {
        "met": str(total - len(missed)),
        "tests": str(total),
        "missed": f" (not: {'; '.join(missed)})" if missed else "",
    }
