"""What a run is: settings as frozen dataclasses, presets, and checks with clear errors.

The defaults of `Training` are the paper's. Sizes of perturbations are in units of 1/255
everywhere in this file, as people say them ("eps 8"); `rnc.attacks` takes them in image units.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import torch

from rnc.errors import (
    ParameterError,
    check_number,
    check_one_of,
    check_positive,
    check_whole,
)
from rnc.models import MODELS, num_features
from rnc.study import notebook
from rnc.study.data import ARRAYS, DATASETS, FOLDER
from rnc.study.methods import METHODS, ST, Method, trades

PRECISIONS = ("float32", "bfloat16")
NORM_SYMBOLS = {"linf": "ℓ∞", "l2": "ℓ₂"}
# what the paper trains and what the audit of its code adds; a study trains these unless asked
COMPARED = ("st", "at", "trades", "trades-frozen")


def as_json(settings: Any, changed: bool = False) -> dict:
    """The values of a settings dataclass; if asked, only those that are not the defaults."""

    def plain(value: Any) -> Any:
        if isinstance(value, Method):
            return value.name
        return as_json(value, changed) if is_dataclass(value) else value

    return {
        f.name: plain(getattr(settings, f.name))
        for f in fields(settings)
        if not changed or getattr(settings, f.name) != f.default
    }


def key(settings: Any) -> str:
    """Ten hexadecimal digits that name the values of a settings dataclass.

    They are formed from what differs from the defaults, so that a new field with a default
    leaves all keys as they are.
    """
    text = json.dumps(as_json(settings, changed=True), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:10]


@dataclass(frozen=True)
class Attack:
    """A threat model and the projected gradient descent that explores it.

    Attributes:
        norm: "linf" or "l2".
        eps: radius of the ball, in 1/255.
        alpha: step size, in 1/255.
        steps: number of steps.
    """

    norm: str
    eps: float
    alpha: float
    steps: int

    def __post_init__(self) -> None:
        check_one_of("norm", self.norm, NORM_SYMBOLS)
        check_number("eps", self.eps, 0, " in units of 1/255")
        check_number("alpha", self.alpha, 0, " in units of 1/255")
        check_whole("steps", self.steps, 1)
        # 8 and 8.0 are one setting, so they must have one key; files hold six digits
        object.__setattr__(self, "eps", float(f"{self.eps:.6g}"))
        object.__setattr__(self, "alpha", float(f"{self.alpha:.6g}"))

    def at_radius(self, eps: float) -> Attack:
        """The same attack at another radius, in 1/255, with alpha in proportion.

        From radius 0, which has no proportion, alpha becomes 2.5 eps/steps (Madry et al. 2018).
        """
        alpha = self.alpha * eps / self.eps if self.eps else 2.5 * eps / self.steps
        return replace(self, eps=eps, alpha=alpha)

    @property
    def size(self) -> dict[str, Any]:
        """The keyword arguments of `rnc.pgd`, in image units."""
        size = {"eps": self.eps / 255, "alpha": self.alpha / 255}
        return size | {"steps": self.steps, "norm": self.norm}

    @property
    def slug(self) -> str:
        return f"{self.norm}{self.eps:g}"

    def __str__(self) -> str:
        size = f"{NORM_SYMBOLS[self.norm]} ε = {self.eps:g}/255, α = {self.alpha:g}/255"
        return f"PGD-{self.steps}, {size}"


# the paper's section 4 and appendix, by norm; for training and evaluation
PAPER_ATTACK = {"linf": Attack("linf", 8, 2, 10), "l2": Attack("l2", 128, 15, 10)}
# half the steps in training, where time is short
SHORT_ATTACK = {"linf": Attack("linf", 8, 3, 5), "l2": Attack("l2", 128, 30, 5)}


@dataclass(frozen=True)
class Evaluation:
    """How a network is measured.

    Attributes:
        attack: what perturbs its points.
        per_class: only the first so many training points of each class are measured; None: all.
    """

    attack: Attack
    per_class: int | None = None

    @classmethod
    def from_json(cls, stored: dict) -> Evaluation:
        """What `as_json` gave; a field that is not there has its default."""
        return cls(**stored | {"attack": Attack(**stored["attack"])})

    @property
    def slug(self) -> str:
        subset = f"-first{self.per_class}" if self.per_class else ""
        return f"{self.attack.slug}{subset}-{key(self)}"

    def __str__(self) -> str:
        subset = f", measured on {self.per_class} points per class" if self.per_class else ""
        return f"{self.attack}{subset}"


@dataclass(frozen=True)
class Training:
    """Everything that decides the weights of a network, and nothing else.

    Attributes:
        method: one of `rnc.study.methods`.
        seed: seeds the initial weights, the order of the batches and the attacks.
        dataset: a name in DATASETS, "imagefolder:PATH" or "npz:PATH"; see `rnc.study.data.load`.
        per_class: only the first so many images of each class; None: all.
        model, width: architecture, and its number of channels in the first block.
        attack: the attack of the inner maximisation; None where the method has none.
        beta: weight of the regulariser of TRADES; other methods leave it alone.
        epochs, batch, lr, momentum, weight_decay: stochastic gradient descent.
        drops: shares of the epochs at which the learning rate is divided by ten.
        precision: of the training's matrix products: "float32", or "bfloat16" (autocast:
            weights, losses and all measurements stay in float32).
        mixing: alpha of mixup, whose share of the first image is from Beta(alpha, alpha); other
            methods leave it alone.
    """

    method: Method
    seed: int
    dataset: str = "cifar10"
    per_class: int | None = None
    model: str = "vgg11"
    width: int = 64
    attack: Attack | None = None
    beta: float = 6.0
    epochs: int = 400
    drops: tuple[float, ...] = (0.25, 0.375)
    batch: int = 128
    lr: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    precision: str = "float32"
    mixing: float = 1.0

    def __post_init__(self) -> None:
        if not _prefix(self.dataset):
            check_one_of("dataset", self.dataset, DATASETS, f", {FOLDER}PATH or {ARRAYS}PATH")
        if self.per_class is not None:
            check_whole("per_class", self.per_class, 2)
        check_one_of("model", self.model, MODELS)
        check_whole("width", self.width, 1)
        check_whole("epochs", self.epochs, 1)
        check_whole("batch", self.batch, 2)
        check_one_of("precision", self.precision, PRECISIONS)
        check_whole("seed", self.seed, 0)
        for name in ("beta", "lr", "momentum", "weight_decay", "mixing"):
            check_number(name, getattr(self, name), 0)
            # 6 and 6.0 are one setting, so they must have one key
            object.__setattr__(self, name, float(getattr(self, name)))
        for name in ("momentum", "mixing"):
            check_positive(name, getattr(self, name))
        self._check_features()
        if (self.attack is None) != (self.method.perturb is None):
            raise ParameterError(
                f"method {self.method.name!r} "
                + ("takes no attack" if self.attack else "needs an attack")
            )

    @property
    def num_features(self) -> int:
        """Dimension of the penultimate features."""
        return num_features(self.width)

    def _check_features(self) -> None:
        """K means need K - 1 dimensions for a simplex."""
        if self.dataset in DATASETS:
            features, classes = self.num_features, DATASETS[self.dataset].classes
            if features < classes - 1:
                raise ParameterError(
                    f"width must give at least {classes - 1} features, for there is no simplex of "
                    f"{classes} classes in fewer dimensions; got {self.width!r}, which gives "
                    f"{features}"
                )

    @classmethod
    def from_json(cls, stored: dict) -> Training:
        """What `as_json` gave; a field that is not there has its default."""
        attack = stored.get("attack")
        return cls(
            **stored
            | {"method": METHODS[stored["method"]], "attack": attack and Attack(**attack)}
            | {name: tuple(stored[name]) for name in ("drops",) if name in stored}
        )

    @property
    def scale(self) -> str:
        """What a network of any method shares with the others of its study."""
        data = DATASETS[self.dataset].title if self.dataset in DATASETS else self.dataset
        limit = f", {self.per_class} images per class" if self.per_class else ""
        rounded = "" if self.precision == "float32" else f", {self.precision}"
        weight = "" if self.beta == Training.beta else f", β = {self.beta:g}"
        return (
            f"{data}{limit}; {MODELS[self.model].title} of width {self.width}; "
            f"{self.length}{rounded}{weight}"
        )

    @property
    def length(self) -> str:
        """Epochs, and the updates they make where the number of images is known beforehand: epochs
        of few images are short, so beside the paper's number of epochs stand its updates."""
        epochs = f"{self.epochs} epochs"
        if self.dataset not in DATASETS:
            return epochs
        known = DATASETS[self.dataset]

        def updates(per_class: int) -> int:
            return self.epochs * math.ceil(per_class * known.classes / self.batch)

        own, of_all = updates(self.per_class or known.per_class), updates(known.per_class)
        short = known.paper and self.epochs == Training.epochs and own < of_all
        paper = f", the paper's are {of_all:,}" * short
        return f"{epochs} ({own:,} updates{paper})"

    @property
    def slug(self) -> str:
        data = self.dataset
        if prefix := _prefix(data):
            data = re.sub(r"\W+", "_", data.removeprefix(prefix).rstrip("/").split("/")[-1])
        data += f"-{self.per_class}" if self.per_class else ""
        attack = f"-{self.attack.slug}" if self.attack else ""
        method = f"{self.method.name}{attack}"
        return f"{data}-{self.model}w{self.width}-{method}-s{self.seed}-{key(self)}"

    def __str__(self) -> str:
        return f"{self.method.title}, seed {self.seed}"

    def deviations(self) -> dict[str, str]:
        """What is not as in the paper: what differs, to how; the paper's in brackets."""
        differs: dict[str, str] = {}
        if self.dataset not in DATASETS or not DATASETS[self.dataset].paper:
            differs["data"] = f"{self.dataset} (CIFAR-10, CIFAR-100)"
        if self.per_class:
            differs["number of images"] = f"{self.per_class} training images per class (all)"
        names = {"batch": "batch size", "lr": "learning rate", "weight_decay": "weight decay"}
        for name in ("width", "epochs", "batch", "lr", "momentum", "weight_decay", "beta"):
            if (own := getattr(self, name)) != (paper := getattr(Training, name)):
                differs[names.get(name, name)] = f"{own:g} ({paper:g})"
        if self.drops != Training.drops:
            differs["learning rate schedule"] = (
                f"drops at {_percent(self.drops)} of the epochs ({_percent(Training.drops)})"
            )
        if self.attack and self.attack != (paper := PAPER_ATTACK[self.attack.norm]):
            differs["training attack"] = f"{self.attack} ({paper})"
        if self.precision != "float32":
            differs["precision"] = f"{self.precision} autocast in training (float32)"
        return differs

    def learning_rate(self, epoch: int) -> float:
        """The learning rate of an epoch, counted from 0."""
        passed = sum(epoch >= round(share * self.epochs) for share in self.drops)
        return self.lr * 0.1**passed

    def snapshots(self) -> list[int]:
        """Epochs after which the weights are kept for measurement: 0 is initialisation."""
        count = 12  # evenly spaced on a logarithmic axis, where the changes are
        return sorted({0} | {round(self.epochs ** (i / (count - 1))) for i in range(count)})


@dataclass(frozen=True)
class Study:
    """The choices that one reading of a chapter makes: scale, data, network, threat, seeds.

    `Study.of` fills what is left open from a preset, `training` gives the settings of one network.

    Attributes:
        preset: the name of the preset.
        base: what all trainings of the study share; its method and seed are replaced.
        inner: by norm, the attack in training.
        st_epochs: ST is cheap, and where time is short it is trained longer; None: it is not.
        evaluation: how the networks are measured.
        seeds: of the trainings.
        device: "cpu", "cuda" or "cuda:N"; None in a preset: a GPU where there is one.
    """

    preset: str
    base: Training
    inner: Mapping[str, Attack] = field(default_factory=lambda: PAPER_ATTACK)
    st_epochs: int | None = None
    evaluation: Evaluation = Evaluation(PAPER_ATTACK["linf"])
    seeds: tuple[int, ...] = (1, 2, 3)
    device: str | None = "cpu"

    @classmethod
    def of(
        cls,
        preset: str = "quick",
        dataset: str | None = None,
        per_class: int | None = None,
        model: str | None = None,
        width: int | None = None,
        norm: str = "linf",
        eps: float | None = None,
        alpha: float | None = None,
        steps: int | None = None,
        epochs: int | None = None,
        beta: float | None = None,
        seed: int | None = None,
        seeds: str | int | list[int] | None = None,
        precision: str | None = None,
        measured_per_class: int | None = None,
        device: str | None = None,
    ) -> Study:
        """A study of a preset, with any setting replaced; None means the preset's.

        Args:
            preset: a name in PRESETS.
            dataset: a name in DATASETS, "imagefolder:PATH" or "npz:PATH"; see
                `rnc.study.data.load`.
            per_class: only the first so many images of each class.
            model: a name in `rnc.models.MODELS`.
            width: channels of the first block.
            norm: "linf" or "l2".
            eps: radius of the attack, in 1/255; also the radius that adversarial training
                and TRADES train against. None: the paper's, 8 for linf and 128 for l2.
            alpha: step of the evaluation's attack, in 1/255; None: the paper's (2 for linf, 15
                for l2), in proportion to eps.
            steps: number of steps of the evaluation's attack; None: the paper's, 10.
            epochs: length of every training.
            beta: weight of the regulariser of TRADES; None: the paper's, 6.
            seed, seeds: one seed, or several ("0,1,2" or a list).
            precision: "float32", or "bfloat16" for autocast in training.
            measured_per_class: measure the first so many points of each class.
            device: "cpu", "cuda" or "cuda:N".

        Raises:
            ParameterError: names the setting, its value and what is allowed.
        """
        check_one_of("preset", preset, PRESETS)
        check_one_of("norm", norm, NORM_SYMBOLS)
        start = PRESETS[preset]
        attack = PAPER_ATTACK[norm]
        if eps is not None:
            check_number("eps", eps, 0, " in units of 1/255")
            attack = attack.at_radius(eps)
        attack = replace(attack, **_given(alpha=alpha, steps=steps))
        base = replace(
            start.base,
            **_given(
                dataset=_absolute(dataset),
                per_class=per_class,
                model=model,
                width=width,
                epochs=epochs,
                beta=beta,
                precision=precision,
            ),
        )
        study = replace(
            start,
            base=base,
            st_epochs=start.st_epochs if epochs is None else None,
            evaluation=Evaluation(attack, _measured(measured_per_class, start, base)),
            seeds=_seeds(seed, seeds, start.seeds),
            device=_device(start.device if device is None else device),
        )
        study.trainings()  # every check of a training, before the first one starts
        return study

    @classmethod
    def from_notebook(cls, namespace: Mapping[str, Any]) -> Study:
        """The study that a notebook's parameters ask for; call it as from_notebook(globals()).

        The cell that declares the parameters begins with the comment "# Parameters" and gives
        each a type; the cell in which papermill sets them begins so too.

        Raises:
            ParameterError: names the parameter, its value and what is allowed.
        """
        given = notebook.parameters(namespace, inspect.signature(Study.of).parameters)
        study = cls.of(**given)
        # a chapter that takes one seed shows one network of each kind
        return study.first_seed() if "seed" in given else study

    def first_seed(self) -> Study:
        """The study at the first of its seeds alone."""
        return replace(self, seeds=self.seeds[:1])

    def in_seconds(self, *measurements: str) -> tuple[str, ...]:
        """Measurements that a chapter wants beside its records where they take seconds: at the
        quick preset, whose networks are at hand. Elsewhere it shows those that are recorded."""
        return measurements if self.preset == "quick" else ()

    def training(self, method: str | Method, seed: int | None = None) -> Training:
        """Settings of one network; `seed` None: the study's first."""
        if not isinstance(method, Method):
            check_one_of("method", method, METHODS)
            method = METHODS[method]
        attack = self.evaluation.attack
        return replace(
            self.base,
            method=method,
            seed=self.seeds[0] if seed is None else seed,
            attack=self.inner[attack.norm].at_radius(attack.eps) if method.perturb else None,
            # the network of a method that has no use for it is the same one whatever it is
            beta=self.base.beta if method.loss is trades else Training.beta,
            epochs=self.st_epochs if self.st_epochs and method is ST else self.base.epochs,
        )

    def trainings(self, *methods: str, seed: int | None = None) -> list[Training]:
        """Settings of the networks of some methods, by name; none given: those of COMPARED."""
        return [self.training(method, seed) for method in methods or COMPARED]

    def __str__(self) -> str:
        return self._described(self.trainings())

    def _described(self, trainings: list[Training]) -> str:
        return f"{scale_of(trainings)}; {self.evaluation}; {named_seeds(self.seeds)}"

    def caption(self, *methods: str) -> str:
        """What a figure of some methods, by name, says of its setting, with the points that differ
        from the paper; none given: those of COMPARED."""
        trainings = self.trainings(*methods)
        differs = list(dict.fromkeys(name for t in trainings for name in t.deviations()))
        evaluation = self.evaluation
        paper = PAPER_ATTACK[evaluation.attack.norm]
        differs += ["evaluation attack"] * (evaluation.attack != paper)
        differs += ["measured points"] * (evaluation.per_class is not None)
        last = f" Differs from the paper in {_listed(differs)}." if differs else ""
        return f"Preset {self.preset}: {self._described(trainings)}.{last}"

    def badge(self, *methods: str) -> str:
        """The same in a few words: images, epochs, seeds, and the attack if not the paper's."""
        data, _, epochs, *_, seeds = self._described(self.trainings(*methods)).split("; ")
        attack = self.evaluation.attack
        other = [str(attack)] * (attack != PAPER_ATTACK["linf"])
        return " · ".join((data, epochs, *other, seeds))


def scale_of(trainings: Sequence[Training]) -> str:
    """What networks of several methods share, and their lengths where these differ."""
    first, lengths = trainings[0], {(t.epochs, t.method is ST) for t in trainings}
    if len({length for length, _ in lengths}) == 1:
        return first.scale
    named = (f"{length} ({'ST' if st else 'others'})" for length, st in sorted(lengths)[::-1])
    return first.scale.replace(first.length, f"{' or '.join(named)} epochs")


def epochs_of_study(training: Training) -> int:
    """Epochs of a network's study: those of the other methods where a preset trains ST longer."""
    for preset in PRESETS.values():
        if preset.st_epochs and training == preset.training("st", training.seed):
            return preset.base.epochs
    return training.epochs


def named_seeds(seeds: Iterable[int]) -> str:
    seeds = list(seeds)
    return f"seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}"


def _prefix(dataset: object) -> str:
    """What begins the name of a data set that is the reader's own; else nothing."""
    own = (p for p in (FOLDER, ARRAYS) if isinstance(dataset, str) and dataset.startswith(p))
    return next((prefix for prefix in own if dataset != prefix), "")


def _given(**settings: Any) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if value is not None}


def _absolute(dataset: Any) -> Any:
    """A folder or file of images is the same one whatever folder a notebook runs in."""
    if prefix := _prefix(dataset):
        return prefix + str(Path(dataset.removeprefix(prefix)).expanduser().absolute())
    return dataset


def _percent(shares: tuple[float, ...]) -> str:
    return " and ".join(f"{100 * share:g} %" for share in shares)


def _listed(words: list[str]) -> str:
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))


def _measured(asked: Any, start: Study, base: Training) -> int | None:
    """Points of each class to measure; None where those are all that the data have."""
    there = base.per_class
    if there is None and base.dataset in DATASETS:
        there = DATASETS[base.dataset].per_class
    if asked is None:
        asked = start.evaluation.per_class
    else:
        check_whole("measured_per_class", asked, 2)
        if there and asked > there:
            raise ParameterError(
                f"measured_per_class must be at most {there}, the training images of a class; "
                f"got {asked!r}"
            )
    return None if there and asked and asked >= there else asked


def seeds_of(seeds: Any) -> tuple[int, ...]:
    """Seeds as a tuple, from one number, a list, or text such as "0,1,2"."""
    return _seeds(None, seeds, ())


def _seeds(seed: Any, seeds: Any, default: tuple[int, ...]) -> tuple[int, ...]:
    if seed is not None and seeds is not None:
        raise ParameterError(f"give seed or seeds, not both; got {seed!r} and {seeds!r}")
    if seed is None and seeds is None:
        return default
    value = seeds if seed is None else seed
    try:
        parts = value.split(",") if isinstance(value, str) else value
        chosen = (parts,) if isinstance(parts, int) else tuple(int(str(p)) for p in parts)
    except (TypeError, ValueError):
        chosen = ()
    if seed is not None and (len(chosen) != 1 or chosen[0] < 0):
        raise ParameterError(f"seed must be one whole number, at least 0; got {seed!r}")
    if not chosen or any(s < 0 for s in chosen) or len(set(chosen)) != len(chosen):
        raise ParameterError(
            f'seeds must be different whole numbers from 0, such as "0,1,2"; got {seeds!r}'
        )
    return chosen


def _device(name: Any) -> str:
    there = ["cpu"]
    if torch.cuda.is_available():
        there += ["cuda"] + [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    if name is None:
        return there[:2][-1]
    if name not in there:
        raise ParameterError(
            f"device {name!r} is not available on this machine; there is {', '.join(there)}"
        )
    return name


PRESETS = {
    # Minutes on a laptop: small images, a narrow network, and drops of the learning rate later
    # than the paper's, since an epoch has four updates.
    "quick": Study(
        "quick",
        Training(ST, 0, dataset="digits", width=8, epochs=65, drops=(0.6, 0.85)),
        SHORT_ATTACK,
        st_epochs=130,
        seeds=(0,),
    ),
    # Real images at the size of a CPU, about half an hour for a seed: a fiftieth of CIFAR-10
    # and a narrow network; eight updates per epoch want later drops here too.
    "cifar10-small": Study(
        "cifar10-small",
        Training(ST, 1, per_class=100, width=16, epochs=80, drops=(0.5, 0.75)),
        SHORT_ATTACK,
    ),
    # The paper's own settings, measured on a fifth of its points; hours on one GPU.
    "paper": Study(
        "paper",
        Training(ST, 1, precision="bfloat16"),
        evaluation=Evaluation(PAPER_ATTACK["linf"], per_class=1000),
        device=None,
    ),
}
