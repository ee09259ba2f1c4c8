"""A report on any network: how collapsed it is, what an attack does to it, and what others score.

report = make(study, model, layers, classifier, title="my network")
report.save(folder)     # report.json, and table.csv
others()                # reports that are kept with the book, on networks that others trained
"""

from __future__ import annotations

import inspect
import math
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from rnc import networks
from rnc.errors import ParameterError, check_one_of
from rnc.models import INPUT, features
from rnc.study import data, files, folders, notebook, nulls
from rnc.study.findings.finding import Text, span
from rnc.study.measurements.measurement import plain
from rnc.study.provenance import environment
from rnc.study.settings import Attack, Study, as_json
from rnc.surveys import Survey, survey

PARTS = ("train", "test")
POINTS = ("clean", "gauss", "pgd")
MARGIN = 0.1  # above guessing; with less, something does not fit the network


@dataclass(frozen=True)
class Measure:
    """A row of a report's table.

    Attributes:
        title, meaning: for readers.
        name: in a survey.
        per_class: whether it is divided by K - 1, so that it can be compared across K.
        bound: within which the book's tests call it collapsed; None where none is.
        chance: of a report, the value that chance gives; None where that has no sense.
    """

    title: str
    meaning: str
    name: str
    per_class: bool = False
    bound: float | None = None
    chance: Any = None


NC1 = Measure(
    "NC1/(K−1)",
    "variance within classes against that between them; 0: every class is a point",
    "nc1",
    per_class=True,
    bound=0.1,
    chance=lambda r: nulls.nc1(r.n, r.k, r.d),
)
MEASURES = (
    Measure("Accuracy", "of the network", "accuracy", chance=lambda r: 1 / r.k),
    Measure(
        "NCC accuracy",
        "of the class centre (of clean points) that is nearest in the last features",
        "ncc_accuracy",
        chance=lambda r: 1 / r.k,
    ),
    NC1,
    Measure(
        "NC2 norms",
        "spread of the lengths of class means; 0: all are equally long",
        "nc2_norms",
        bound=0.1,
        chance=lambda r: nulls.nc2(r.k, r.d)[0],
    ),
    Measure(
        "NC2 angles",
        "how far their cosines are from those of a simplex, −1/(K−1)",
        "nc2_angles",
        bound=0.1,
        chance=lambda r: nulls.nc2(r.k, r.d)[1],
    ),
    Measure(
        "NC2 norms, classifier",
        "the same of the classifier's rows",
        "nc2_norms_w",
        bound=0.1,
        chance=lambda r: nulls.nc2(r.k, r.d)[0],
    ),
    Measure(
        "NC2 angles, classifier",
        "the same of the classifier's rows",
        "nc2_angles_w",
        bound=0.1,
        chance=lambda r: nulls.nc2(r.k, r.d)[1],
    ),
    Measure(
        "NC3",
        "distance of classifier and class means; 0: they are parallel, 2: at right angles",
        "nc3",
        bound=0.2,
        chance=lambda r: nulls.NC3,
    ),
    Measure(
        "NC4",
        "share of points on which the nearest centre (of these points) and the network disagree",
        "nc4",
        bound=0.01,
        chance=lambda r: nulls.nc4(r.k),
    ),
)


@dataclass(frozen=True)
class Report:
    """A survey, and what it is of.

    Attributes:
        about: `title`, `network`, `weights`, `dataset`, `part`, `points`, `classes`, `features`,
            `attack` and more, as JSON.
        found: the survey; the last of its layers is what the classifier is given.
    """

    about: dict
    found: Survey

    @property
    def title(self) -> str:
        return self.about["title"]

    @property
    def n(self) -> int:
        return self.about["points"]

    @property
    def k(self) -> int:
        return self.about["classes"]

    @property
    def d(self) -> int:
        return self.about["features"]

    @property
    def attack(self) -> Attack:
        return Attack(**self.about["attack"])

    @property
    def leap(self) -> float:
        """Mean over classes of the angle between the attacked points that are taken for it and
        its clean mean, in radians."""
        return float(self.found.leap.nanmean())

    def landed(self) -> str:
        """The leap in a sentence."""
        if math.isnan(self.leap):
            return "No class has attacked points that are taken for it and clean ones."
        return (
            f"The means of attacked points, by the label that they get, are {self.leap:.2g} rad "
            f"from the clean means; vertices are {math.acos(-1 / (self.k - 1)):.2g} rad apart."
        )

    def value(self, measure: Measure, points: str) -> float:
        """Of a measure, on clean, gauss or pgd points."""
        return self.found.measures[points][measure.name] / (self.k - 1 if measure.per_class else 1)

    def chance(self, measure: Measure) -> float:
        return float(measure.chance(self))

    def meets(self, measure: Measure, points: str) -> bool:
        """Whether a value is within the bound of collapse and better than chance, as the claims of
        the book want it."""
        value, chance = self.value(measure, points), self.chance(measure)
        return value <= measure.bound and (math.isnan(chance) or value < chance)

    def doubts(self) -> list[str]:
        """What looks as if something did not fit the network, in sentences."""
        right, guessing = self.found.measures["clean"]["accuracy"], 1 / self.k
        said = []
        if right <= guessing + MARGIN:
            said.append(
                f"On clean points the network is right on {right:.1%}, where guessing gives "
                f"{guessing:.1%}: do its weights, mean and std, and the order of its classes fit "
                f"these images?"
            )
        if self.d < self.k - 1:
            said.append(
                f"There is no simplex of {self.k} classes in {self.d} dimensions, so that the "
                f"angles of NC2 do not apply."
            )
        return said

    def __str__(self) -> str:
        about = self.about
        return (
            f"{about['title']}: {self.n} {about['part']} images of {about['dataset']} in {self.k} "
            f"classes; {self.d} features before {about['classifier']}; {self.attack}"
        )

    def save(self, folder: str | Path) -> None:
        """Writes report.json, which `read` reads, and table.csv."""
        folder = Path(folder)
        files.write_json(folder / "report.json", self.json())
        self.found.save(folder / "table.csv")

    def json(self) -> dict:
        found = self.found
        return plain(
            {
                "about": self.about,
                "measures": found.measures,
                "layers": found.layers,
                "leap": found.leap,
            }
        )

    def publish(self) -> Path:
        """Puts it among the book's records, under its title."""
        name = re.sub(r"\W+", "-", self.title.lower()).strip("-")
        place = _kept() / f"{name}.json"
        files.write_json(place, self.json())
        return place


def read(path: Path) -> Report:
    """A report from its file."""
    stored = files.read_json(path)
    if stored is None:
        raise ParameterError(f"there is no report in {path}")
    measures = {
        points: {name: _number(value) for name, value in measured.items()}
        for points, measured in stored["measures"].items()
    }
    leap = torch.tensor([_number(value) for value in stored["leap"]])
    return Report(stored["about"], Survey(measures, stored["layers"], leap))


def others() -> list[Report]:
    """Reports that are kept with the book, by the order of their files."""
    return [read(path) for path in sorted(_kept().glob("*.json"))]


def told(reports: Sequence[Report]) -> Text:
    """What several networks have in common, and in what they differ, in sentences."""
    bounded = [measure for measure in MEASURES if measure.bound is not None]
    collapsed = [one for one in reports if all(one.meets(m, "clean") for m in bounded)]
    sentences = [
        f"Of these {len(reports)} networks {len(collapsed) or 'none'} "
        f"{'is' if len(collapsed) < 2 else 'are'} within all bounds of collapse, and better than "
        f"chance, on clean points."
    ]
    groups: dict[str, list[Report]] = {}
    for one in reports:
        clean, attacked = (one.found.measures[points]["accuracy"] for points in ("clean", "pgd"))
        does = "takes most points of" if attacked < clean / 2 else "leaves most points to"
        groups.setdefault(does, []).append(one)
    for does, group in groups.items():
        right = span((one.found.measures["pgd"]["accuracy"] for one in group), ".1%")
        spreads = {kind: span(one.value(NC1, kind) for one in group) for kind in ("clean", "pgd")}
        sentences.append(
            f"The attack {does} {', '.join(one.title for one in group)}: under it accuracy is "
            f"{right} and {NC1.title} {spreads['pgd']}, where it is {spreads['clean']} on clean "
            f"points; the means by new label are {span(one.leap for one in group)} rad from the "
            f"clean ones."
        )
    return Text(" ".join(sentences))


@dataclass(frozen=True)
class Named:
    """A network by its name, and what of it is reported.

    Attributes:
        network, weights, mean, std: as in `rnc.networks.load`.
        layers: names of modules such as "layer1,layer4" or a list, in order of depth; None: see
            `rnc.networks.layers_before`. What the classifier is given comes last by itself.
        classifier: name of the linear layer that gives the logits; None: the last that runs.
        part: "train" or "test" images.
        title: in tables and figures; None: the network's name.
        out: a folder for the report; None: it is not written.

    Raises:
        ParameterError: names the setting, its value and what is allowed.
    """

    network: str | None = None
    weights: str | None = None
    layers: Any = None
    classifier: str | None = None
    part: str = "train"
    mean: Any = None
    std: Any = None
    title: str | None = None
    out: str | None = None

    def __post_init__(self) -> None:
        check_one_of("part", self.part, PARTS)
        for name in ("weights", "mean", "std"):
            value = getattr(self, name)
            if self.network is None and value is not None:
                raise ParameterError(f"{name} needs a network; got {value!r} and no network")
        if isinstance(self.layers, str):
            object.__setattr__(self, "layers", [name.strip() for name in self.layers.split(",")])
        if self.layers is not None and not all(isinstance(n, str) and n for n in self.layers):
            raise ParameterError(f'layers must be such as "layer1,layer4"; got {self.layers!r}')
        if self.out is not None:
            try:
                Path(self.out).mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise ParameterError(
                    f"out must be a folder that can be made; got {self.out} ({error.strerror})"
                ) from error

    @classmethod
    def from_notebook(cls, namespace: Mapping[str, Any]) -> tuple[Named, Study]:
        """What a notebook's parameters ask for: the network, and the study whose images, attack,
        seed and device are used."""
        known = inspect.signature(Study.of).parameters
        given = notebook.parameters(namespace, {**known, **cls.__dataclass_fields__})
        own = {name: given.pop(name) for name in cls.__dataclass_fields__ if name in given}
        return cls(**own), Study.of(**given).first_seed()

    def report(self, study: Study) -> Report:
        """The report on it; see `make`."""
        if self.network is None:
            raise ParameterError(f"network must be {networks.NAMED}; got none")
        model = networks.load(self.network, self.weights, self.mean, self.std).to(study.device)
        about = {
            "title": self.title or self.network,
            "network": self.network,
            "weights": self.weights and Path(self.weights).name,
            "digest": files.digest(model.state_dict()),
            "mean": self.mean,
            "std": self.std,
        }
        return make(study, model, self.layers, self.classifier, self.part, **about)


def make(
    study: Study,
    model: nn.Module,
    layers: Sequence[str] | None = None,
    classifier: str | None = None,
    part: str = "train",
    **about: Any,
) -> Report:
    """The report on a network that is there.

    Args:
        study: whose images, attack, seed and device are used.
        model: from images in [0, 1] to logits.
        layers, classifier, part: as in `Named`.
        about: its `title`, and what else is to be kept of it.

    Raises:
        ParameterError: network, layers, classifier and images do not fit each other.
    """
    begun = time.monotonic()
    base = study.base
    images = data.load(base.dataset, study.device, base.per_class)
    x, y = (images.x, images.y) if part == "train" else (images.x_test, images.y_test)
    x, few = data.unit(x), data.unit(x[:2])
    try:
        classifier = classifier or networks.classifier_of(model, few)
        weight = _weight(model, classifier)
        layers = list(layers or networks.layers_before(model, few, classifier))
        logits, read = features(model, few, [*layers, last := f"{classifier}{INPUT}"])
    except KeyError as error:
        raise ParameterError(f"layers and classifier must be modules; {error.args[0]}") from error
    except (RuntimeError, ValueError) as error:
        shape = " x ".join(map(str, few.shape[1:]))
        raise ParameterError(
            f"network cannot take images of {shape}, those of {base.dataset}: {error}"
        ) from error
    layers = [one for one in layers if not _same(read[one], read[last])]
    k, d = len(images.classes), read[last].shape[1]
    if logits.shape[1] != k:
        raise ParameterError(
            f"network must give as many logits as {base.dataset} has classes, {k}; it gives "
            f"{logits.shape[1]}"
        )
    if weight.shape != (k, d):
        got = " x ".join(map(str, weight.shape))
        raise ParameterError(f"classifier must have a weight of {k} x {d}; {classifier} has {got}")
    attack = study.evaluation.attack
    found = survey(
        model,
        x,
        y,
        [*layers, last],
        weight,
        **attack.size,
        generator=torch.Generator(device=study.device).manual_seed(study.seeds[0]),
    )
    about |= {
        "dataset": _title(base.dataset),
        "part": part,
        "points": len(y),
        "classes": k,
        "class_names": images.classes,
        "features": d,
        "classifier": classifier,
        "attack": as_json(attack),
        "seconds": round(time.monotonic() - begun, 1),
        **environment(torch.device(study.device)),
    }
    return Report(plain(about), found)


def _weight(model: nn.Module, classifier: str) -> torch.Tensor:
    module = dict(model.named_modules()).get(classifier)
    weight = getattr(module, "weight", None)
    if weight is None or weight.ndim != 2:
        raise ParameterError(
            f"classifier must be the name of a linear layer of the network; got {classifier!r}"
        )
    return weight.detach()


def _title(dataset: str) -> str:
    """Of a data set; the name of a folder or a file, without where it is."""
    if dataset in data.DATASETS:
        return data.DATASETS[dataset].title
    return dataset.rstrip("/").rsplit("/", 1)[-1]


def _same(one: torch.Tensor, other: torch.Tensor) -> bool:
    return one.shape == other.shape and torch.equal(one, other)


def _kept() -> Path:
    return folders.published() / "networks"


def _number(value: float | None) -> float:
    return float("nan") if value is None else value
