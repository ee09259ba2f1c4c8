"""Tables of verdicts and costs, as HTML from templates; what they show is computed elsewhere."""

from __future__ import annotations

import re
import statistics
from dataclasses import dataclass
from string import ascii_uppercase

import jinja2
import pandas as pd

from rnc.neighbours.neighbour import Neighbour
from rnc.study import cost
from rnc.study.claims import FAILS, HOLDS, NOT_APPLICABLE, OPEN, PARTLY, Verdict, judge
from rnc.study.paper import curves
from rnc.study.records import Records

CLASSES = {  # of book.css
    HOLDS: "rnc-yes",
    PARTLY: "rnc-partly",
    FAILS: "rnc-no",
    NOT_APPLICABLE: "rnc-open",
    OPEN: "rnc-open",
}

_templates = jinja2.Environment(
    loader=jinja2.PackageLoader("rnc.show"),
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
    undefined=jinja2.StrictUndefined,
)
_templates.globals |= {"classes": CLASSES, "holds": HOLDS, "fails": FAILS}


@dataclass(frozen=True)
class Table:
    """HTML that a notebook shows."""

    html: str

    def _repr_html_(self) -> str:
        return self.html


def verdicts(judged: list[Verdict]) -> Table:
    """Claims with their tests, measured values and verdicts."""
    return table("verdicts.html", judged=judged)


def scales(found: dict[str, Records], *ids: str) -> Table:
    """The verdicts on some claims at several scales, side by side; none named: on all of them."""
    judged = [judge(records, *ids) for records in found.values()]
    return table("scales.html", scales=list(found), claims=list(zip(*judged, strict=True)))


def answers(found: dict[str, Records], *ids: str) -> pd.DataFrame:
    """The verdicts on some claims, a word each, and a column for each of several records; none
    named: on all claims."""
    return pd.DataFrame(
        {
            name: {f"{v.claim.id}: {v.claim.title}": f"{v.sign} {v.verdict}" for v in judged}
            for name, judged in ((name, judge(records, *ids)) for name, records in found.items())
        }
    )


def signs(found: dict[str, Records]) -> pd.DataFrame:
    """A row for each of several records with the sign of its verdict on each claim; left out are
    claims that none of them measured, and records that measured none."""
    judged = {name: {v.claim.id: v for v in judge(records)} for name, records in found.items()}
    rows = pd.DataFrame(judged).T
    measured = rows.map(lambda verdict: verdict.verdict != OPEN)
    return rows.loc[measured.any(axis=1), measured.any()].map(lambda verdict: verdict.sign)


def glance(found: dict[str, Records]) -> Table:
    """A row for each claim with its verdicts, linked to its chapter; for a page of the book in a
    folder beside that of the chapters."""
    judged = [judge(records) for records in found.values()]
    # norm and radius are enough of an attack here
    short = [re.sub(r"PGD-\d+, (.+?), α = [^;,]+", r"\1", name, count=1) for name in found]
    lettered = dict(zip(ascii_uppercase, short, strict=False))
    return table("glance.html", scales=lettered, claims=list(zip(*judged, strict=True)))


def neighbours(judged: list[tuple[Neighbour, list[Verdict]]]) -> Table:
    """A row for each neighbouring paper, linked to its chapter, with the verdicts on its claims;
    for a page of the book in a folder beside that of the chapters."""
    return table("neighbours.html", neighbours=judged)


def beside_paper(scales: dict[str, Records]) -> pd.DataFrame:
    """What the paper reports and ours, mean over seeds, with the difference where there is one.

    Args:
        scales: records by letter, as `rnc.study.paper.comparable` gives them.
    """
    rows = {}
    for curve in curves():
        row = {"paper": curve.reported}
        for letter, records in scales.items():
            values = curve.ours(records)
            row[letter] = f"{statistics.mean(values):.3g}" if values else "–"
            if (difference := curve.difference(values)) is not None:
                row[letter] += f" ({difference:+.2g})"
        rows[f"{curve.what} (figure {curve.figure})"] = row
    return pd.DataFrame.from_dict(rows, "index")


def accuracies(found: Records) -> pd.DataFrame:
    """Of each method, a row, in percent on training and test points, clean and attacked: mean over
    seeds, and the standard deviation where there are several."""

    def spread(values: list[float]) -> str:
        deviation = f" ± {100 * statistics.stdev(values):.1f}" if values[1:] else ""
        return f"{100 * statistics.mean(values):.1f}{deviation}"

    columns = {
        "train, clean": lambda record: record.end("clean", "accuracy"),
        "train, PGD": lambda record: record.end("pgd", "accuracy"),
        "test, clean": lambda record: record.test("clean"),
        "test, PGD": lambda record: record.test("pgd"),
    }
    return pd.DataFrame(
        {
            f"{name} (%)": {
                title: spread([value(r) for r in seeds]) for title, seeds in found.items()
            }
            for name, value in columns.items()
        }
    )


def checks(found: Records) -> pd.DataFrame:
    """Accuracy under the checks of the attack, a column for each network; see the measurement
    `checks`."""
    columns = {}
    for title, seeds in found.items():
        for record in seeds:
            checked = record["checks"]
            radii = zip(checked["radii"], checked["accuracy"], strict=True)
            columns[f"{title}, seed {record.training.seed}"] = (
                {f"ε = {eps:g}/255": accuracy for eps, accuracy in radii}
                | {"1 start": checked["starts"][0]}
                | {f"{len(checked['starts'])} starts": checked["starts"][-1]}
                | {"made for ST": checked["transfer"]}
            )
    return pd.DataFrame(columns).map("{:.1%}".format)


GEOMETRY = {  # points as in the measurement `geometry`, to readers
    "clean": "clean",
    "gauss": "noise",
    "pgd": "PGD",
    "targeted": "targeted PGD",
    "test": "test",
    "test_pgd": "test, PGD",
}


def geometry(found: Records, *points: str) -> pd.DataFrame:
    """What a specialist asks of a network at its end, mean over seeds: a column for each method
    and each kind of points; none given: all of GEOMETRY."""
    values = {
        "NC1/(K−1)": lambda of, k: of["nc1"] / (k - 1),
        "Tr Σ_W / Tr Σ_B": lambda of, k: of["within"] / of["between"],
        "CDNV": lambda of, k: of["cdnv"],
        "effective rank": lambda of, k: of["effective_rank"],
        "NC3, lengths": lambda of, k: of["nc3_lengths"],
        "NC3, directions": lambda of, k: of["nc3_directions"],
        "largest angle": lambda of, k: round(of["principal_angles"][-1], 6),
        "length of logits": lambda of, k: of["logit_norm"],
        "KL": lambda of, k: of["kl"],
        "NCC accuracy": lambda of, k: of["ncc_accuracy"],
    }
    columns = {}
    for title, seeds in found.items():
        for kind in points or GEOMETRY:
            name = GEOMETRY[kind] if len(found) == 1 else f"{title}, {GEOMETRY[kind]}"
            columns[name] = {
                row: statistics.mean(
                    value(record["geometry"][kind], record.num_classes) for record in seeds
                )
                for row, value in values.items()
            }
    return pd.DataFrame(columns).map("{:.3g}".format)


def costs(found: dict[str, Records]) -> Table:
    """The times that records noted, mean over seeds."""
    return table("costs.html", scales=found, mean=statistics.mean, spoken=cost.spoken)


def table(template: str, **values) -> Table:
    return Table(_templates.get_template(template).render(values))
