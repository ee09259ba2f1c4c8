"""What a run is: settings as frozen dataclasses, presets, and checks with clear errors.

Sizes of perturbations are in units of 1/255 everywhere in this file, as people say them
("eps 8"); `rnc.attacks` takes them in image units, [0, 1].
"""

from __future__ import annotations

import ast
import difflib
import hashlib
import inspect
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

DATASETS = {"digits": "digits", "cifar10": "CIFAR-10", "cifar100": "CIFAR-100"}
FOLDER = "imagefolder:"  # begins the name of a data set that is a folder of images
MODELS = {"vgg11": "VGG11", "preactresnet18": "PreActResNet18"}
METHODS = ("st", "at", "trades")
PRECISIONS = ("float32", "bfloat16")
NORMS = ("linf", "l2")
NORM_SYMBOLS = {"linf": "ℓ∞", "l2": "ℓ₂"}
# How BatchNorm behaves while a training batch is attacked; see Training.bn.
BATCHNORM = {"st": ("none",), "at": ("train", "eval", "frozen"), "trades": ("eval", "frozen")}


class UserError(Exception):
    """Something that its message lets the user put right, without a look at the code."""

    def _render_traceback_(self) -> list[str]:
        # IPython's hook: a reader who mistypes a parameter gets the sentence, not a stack.
        return [f"{type(self).__name__}: {self}"]


class ParameterError(UserError, ValueError):
    """A setting is not allowed; the message says which, what it was and what is allowed."""


def _did_you_mean(word: object, allowed) -> str:
    close = difflib.get_close_matches(str(word), [str(a) for a in allowed], n=1)
    return f" (did you mean {close[0]}?)" if close else ""


def _one_of(name: str, value: object, allowed) -> None:
    if value not in allowed:
        raise ParameterError(
            f"{name} must be one of {', '.join(allowed)}; got {value!r}"
            + _did_you_mean(value, allowed)
        )


def _is_folder(dataset: object) -> bool:
    return isinstance(dataset, str) and dataset.startswith(FOLDER) and dataset != FOLDER


def _dataset(value: object) -> None:
    if _is_folder(value):
        return
    if value not in DATASETS:
        raise ParameterError(
            f"dataset must be one of {', '.join(DATASETS)} or {FOLDER}PATH; got {value!r}"
            + _did_you_mean(value, DATASETS)
        )


def _number(name: str, value: object, low: float, unit: str = "") -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not value >= low:
        raise ParameterError(f"{name} must be a number{unit}, at least {low:g}; got {value!r}")
    if value == float("inf"):
        raise ParameterError(f"{name} must be finite; got {value!r}")


def _whole(name: str, value: object, low: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < low:
        raise ParameterError(f"{name} must be a whole number, at least {low}; got {value!r}")


def key(settings: Any) -> str:
    """Ten hexadecimal digits that name the values of a settings dataclass."""
    text = json.dumps(asdict(settings), sort_keys=True)
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
        _one_of("norm", self.norm, NORMS)
        _number("eps", self.eps, 0, " in units of 1/255")
        _number("alpha", self.alpha, 0, " in units of 1/255")
        _whole("steps", self.steps, 1)
        # 8 and 8.0 are one setting, so they must have one key
        object.__setattr__(self, "eps", float(self.eps))
        object.__setattr__(self, "alpha", float(self.alpha))

    def at_radius(self, eps: float) -> Attack:
        """The same attack at another radius, in 1/255, with alpha in proportion.

        From radius 0, which has no proportion, alpha becomes 2.5 eps/steps (Madry et al. 2018).
        """
        alpha = self.alpha * eps / self.eps if self.eps else 2.5 * eps / self.steps
        return replace(self, eps=eps, alpha=alpha)

    @property
    def slug(self) -> str:
        return f"{self.norm}{self.eps:g}"

    def __str__(self) -> str:
        size = f"{NORM_SYMBOLS[self.norm]} ε = {self.eps:g}/255, α = {self.alpha:g}/255"
        return f"PGD-{self.steps}, {size}"


@dataclass(frozen=True)
class Training:
    """Everything that decides the weights of a network, and nothing else.

    Attributes:
        dataset: one of DATASETS, or "imagefolder:PATH"; see `rnc.data.load`.
        per_class: only the first so many images of each class; None: all.
        model, width: architecture, and its number of channels in the first block.
        method: "st" (standard), "at" (adversarial) or "trades".
        attack: the attack of the inner maximisation; None for "st".
        bn: mode of BatchNorm during that attack: "train" (AT as in the reference code:
            running statistics absorb the attack's iterates), "eval" (then back to train
            mode, as in the official TRADES), "frozen" (eval mode and never back, as in the
            reference code's TRADES; for AT the missing cell of that comparison); "none" for
            "st".
        beta: weight of the TRADES regulariser; 0 for the other methods.
        epochs, batch, lr, momentum, weight_decay: stochastic gradient descent.
        drops: shares of the epochs at which the learning rate is divided by ten.
        precision: of the training's matrix products: "float32", or "bfloat16" (autocast:
            weights, losses and all measurements stay in float32).
        seed: seeds the initial weights, the order of the batches and the attacks.
    """

    dataset: str
    per_class: int | None
    model: str
    width: int
    method: str
    attack: Attack | None
    bn: str
    beta: float
    epochs: int
    drops: tuple[float, ...]
    batch: int
    lr: float
    momentum: float
    weight_decay: float
    precision: str
    seed: int

    def __post_init__(self) -> None:
        _dataset(self.dataset)
        if self.per_class is not None:
            _whole("per_class", self.per_class, 2)
        _one_of("model", self.model, MODELS)
        _whole("width", self.width, 1)
        _one_of("method", self.method, METHODS)
        _one_of("bn", self.bn, BATCHNORM[self.method])
        _whole("epochs", self.epochs, 1)
        _whole("batch", self.batch, 2)
        _one_of("precision", self.precision, PRECISIONS)
        _whole("seed", self.seed, 0)
        if (self.attack is None) != (self.method == "st"):
            raise ParameterError(
                f"method {self.method!r} "
                + ("takes no attack" if self.method == "st" else "needs an attack")
            )

    @property
    def label(self) -> str:
        """The variant's name: ST, AT, TRADES, TRADES (frozen BN)."""
        name = self.method.upper()
        default = BATCHNORM[self.method][0]
        return name if self.bn == default else f"{name} ({self.bn} BN)"

    @property
    def scale(self) -> str:
        """What a network of any method shares with the others of its study."""
        limit = f", {self.per_class} images per class" if self.per_class else ""
        rounded = "" if self.precision == "float32" else f", {self.precision}"
        return (
            f"{DATASETS.get(self.dataset, self.dataset)}{limit}; "
            f"{MODELS[self.model]} of width {self.width}; {self.epochs} epochs{rounded}"
        )

    @property
    def variant(self) -> str:
        """The label as a word for a command line: st, at, trades, trades-frozen."""
        return self.method if self.bn == BATCHNORM[self.method][0] else f"{self.method}-{self.bn}"

    @property
    def slug(self) -> str:
        data = self.dataset
        if data.startswith(FOLDER):
            data = re.sub(r"\W+", "_", data.removeprefix(FOLDER).rstrip("/").split("/")[-1])
        data += f"-{self.per_class}" if self.per_class else ""
        method = self.method if self.method == "st" else f"{self.method}-{self.bn}"
        attack = f"-{self.attack.slug}" if self.attack else ""
        return f"{data}-{self.model}w{self.width}-{method}{attack}-s{self.seed}-{key(self)}"

    def deviations(self) -> dict[str, str]:
        """What is not as in the paper: what differs, to how; the paper's in brackets."""
        norm = self.attack.norm if self.attack else "linf"
        paper = Study.of("paper", norm=norm).training(self.method, self.bn)
        differs: dict[str, str] = {}
        if self.dataset not in ("cifar10", "cifar100"):
            differs["data"] = f"{self.dataset} (CIFAR-10, CIFAR-100)"
        if self.per_class:
            differs["number of images"] = f"{self.per_class} training images per class (all)"
        for name, field in (("width", "width"), ("epochs", "epochs"), ("batch size", "batch")):
            if getattr(self, field) != getattr(paper, field):
                differs[name] = f"{getattr(self, field)} ({getattr(paper, field)})"
        if self.drops != paper.drops:
            differs["learning rate schedule"] = (
                f"drops at {_percent(self.drops)} of the epochs ({_percent(paper.drops)})"
            )
        if self.attack != paper.attack:
            differs["training attack"] = f"{self.attack or 'none'} ({paper.attack or 'none'})"
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
class Preset:
    """Defaults of one scale. Sizes of perturbations are in 1/255, by norm.

    `alpha` and `train_alpha` are the steps at radius `eps`; at another radius they change in
    proportion, so that an attack of the same number of steps can still cross the ball.
    """

    dataset: str
    per_class: int | None
    model: str
    width: int
    epochs: Mapping[str, int]
    drops: tuple[float, ...]
    eps: Mapping[str, float]
    alpha: Mapping[str, float]
    steps: int
    train_alpha: Mapping[str, float]
    train_steps: int
    seeds: tuple[int, ...]
    precision: str
    device: str | None  # None: a GPU where there is one


PRESETS = {
    # Minutes on a laptop: small images, a narrow network, late drops of the learning rate
    # (with four updates per epoch the paper's early drops would stop learning).
    "quick": Preset(
        dataset="digits",
        per_class=None,
        model="vgg11",
        width=8,
        epochs={"st": 130, "at": 65, "trades": 65},
        drops=(0.6, 0.85),
        eps={"linf": 8, "l2": 128},
        alpha={"linf": 2, "l2": 15},
        steps=10,
        train_alpha={"linf": 3, "l2": 30},
        train_steps=5,
        seeds=(0,),
        precision="float32",
        device="cpu",
    ),
    # Real images at the size of a CPU, about half an hour for a seed: a fiftieth of CIFAR-10
    # and a narrow network; eight updates per epoch want later drops here too.
    "cifar10-small": Preset(
        dataset="cifar10",
        per_class=100,
        model="vgg11",
        width=16,
        epochs={"st": 80, "at": 80, "trades": 80},
        drops=(0.5, 0.75),
        eps={"linf": 8, "l2": 128},
        alpha={"linf": 2, "l2": 15},
        steps=10,
        train_alpha={"linf": 3, "l2": 30},
        train_steps=5,
        seeds=(1, 2, 3),
        precision="float32",
        device="cpu",
    ),
    # The paper's own settings (its section 4 and appendix); hours on one GPU.
    "paper": Preset(
        dataset="cifar10",
        per_class=None,
        model="vgg11",
        width=64,
        epochs={"st": 400, "at": 400, "trades": 400},
        drops=(0.25, 0.375),
        eps={"linf": 8, "l2": 128},
        alpha={"linf": 2, "l2": 15},
        steps=10,
        train_alpha={"linf": 2, "l2": 15},
        train_steps=10,
        seeds=(1, 2, 3),
        precision="bfloat16",
        device=None,
    ),
}


@dataclass(frozen=True)
class Study:
    """The choices that one reading of a chapter makes: scale, data, network, threat, seeds.

    `Study.of` fills what is left open from a preset. `training` gives the settings of one
    network of the study; `attack` is the attack of the evaluation.
    """

    preset: str
    dataset: str
    per_class: int | None
    model: str
    width: int
    attack: Attack
    epochs: int | None
    seeds: tuple[int, ...]
    precision: str
    device: str

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
        seed: int | None = None,
        seeds: str | int | list[int] | None = None,
        precision: str | None = None,
        device: str | None = None,
    ) -> Study:
        """A study of a preset, with any setting overridden; None means the preset's.

        Args:
            preset: a name in PRESETS.
            dataset: a name in DATASETS, or "imagefolder:PATH"; see `rnc.data.load`.
            per_class: only the first so many images of each class.
            model: a name in MODELS.
            width: channels of the first block.
            norm: "linf" or "l2".
            eps: radius of the attack, in 1/255; also the radius that adversarial training
                and TRADES train against.
            alpha: step of the evaluation's attack, in 1/255; None: the preset's, in
                proportion to eps.
            steps: number of steps of the evaluation's attack.
            epochs: length of every training.
            seed, seeds: one seed, or several ("0,1,2" or a list).
            precision: "float32", or "bfloat16" for autocast in training.
            device: "cpu", "cuda" or "cuda:N".

        Raises:
            ParameterError: names the setting, its value and what is allowed.
        """
        _one_of("preset", preset, tuple(PRESETS))
        base = PRESETS[preset]
        _one_of("norm", norm, NORMS)
        if seed is not None and seeds is not None:
            raise ParameterError(f"give seed or seeds, not both; got {seed!r} and {seeds!r}")
        eps = base.eps[norm] if eps is None else eps
        _number("eps", eps, 0, " in units of 1/255")
        study = cls(
            preset=preset,
            dataset=base.dataset if dataset is None else _absolute(dataset),
            per_class=base.per_class if per_class is None else per_class,
            model=base.model if model is None else model,
            width=base.width if width is None else width,
            attack=Attack(
                norm,
                eps,
                base.alpha[norm] * eps / base.eps[norm] if alpha is None else alpha,
                base.steps if steps is None else steps,
            ),
            epochs=epochs,
            seeds=_seeds(seed if seed is not None else seeds, base.seeds),
            precision=base.precision if precision is None else precision,
            device=_device(base.device if device is None else device),
        )
        for method in METHODS:  # every check of a training, before the first one starts
            study.training(method)
        return study

    @classmethod
    def from_notebook(cls, namespace: Mapping[str, Any]) -> Study:
        """The study that a notebook's parameters ask for; call it as from_notebook(globals()).

        The cell that declares the parameters begins with the comment "# Parameters", and so
        does the cell in which papermill sets them. A name that is set there but is not
        declared is an error, where papermill alone would only warn.

        Raises:
            ParameterError: names the parameter, its value and what is allowed.
        """
        given = notebook_parameters(namespace)
        study = cls.of(**given)
        # a chapter that takes one seed shows one network of each kind
        return replace(study, seeds=study.seeds[:1]) if "seed" in given else study

    def training(self, method: str, bn: str | None = None, seed: int | None = None) -> Training:
        """Settings of one network: `method` with its default BatchNorm unless `bn` is given."""
        _one_of("method", method, METHODS)
        base = PRESETS[self.preset]
        norm, eps = self.attack.norm, self.attack.eps
        train_alpha = base.train_alpha[norm] * eps / base.eps[norm]
        return Training(
            dataset=self.dataset,
            per_class=self.per_class,
            model=self.model,
            width=self.width,
            method=method,
            attack=None if method == "st" else Attack(norm, eps, train_alpha, base.train_steps),
            bn=BATCHNORM[method][0] if bn is None else bn,
            beta=6.0 if method == "trades" else 0.0,
            epochs=base.epochs[method] if self.epochs is None else self.epochs,
            drops=base.drops,
            batch=128,
            lr=0.1,
            momentum=0.9,
            weight_decay=5e-4,
            precision=self.precision,
            seed=self.seeds[0] if seed is None else seed,
        )

    def variants(self, seed: int | None = None) -> list[Training]:
        """The four networks that the book compares: ST, AT, TRADES, TRADES with frozen BN."""
        return [
            self.training("st", seed=seed),
            self.training("at", seed=seed),
            self.training("trades", seed=seed),
            self.training("trades", bn="frozen", seed=seed),
        ]

    def __str__(self) -> str:
        scale, lengths = self.training("at").scale, {m: self.training(m).epochs for m in METHODS}
        if len(set(lengths.values())) > 1:
            each = ", ".join(f"{length} ({method.upper()})" for method, length in lengths.items())
            scale = scale.replace(f"{lengths['at']} epochs", f"{each} epochs")
        return f"{scale}; {self.attack}; {named_seeds(self.seeds)}"

    def caption(self) -> str:
        """What every figure says of its setting, with the points that differ from the paper."""
        differs = list(dict.fromkeys(name for t in self.variants() for name in t.deviations()))
        last = f" Differs from the paper in {_listed(differs)}." if differs else ""
        return f"Preset `{self.preset}`: {self}.{last}"


def notebook_parameters(namespace: Mapping[str, Any]) -> dict[str, Any]:
    """Values of the parameters that a notebook declares; see Study.from_notebook."""
    known = list(inspect.signature(Study.of).parameters)
    cells = [cell for cell in namespace.get("In", []) if cell.startswith("# Parameters")]
    if not cells:  # a runner that keeps no history, such as nbval, sets no parameters either
        return {name: namespace[name] for name in known if name in namespace}
    declared, *later = map(_assigned, cells)
    allowed = [name for name in declared if name in known]
    for name in (name for names in (declared, *later) for name in names):
        if name not in allowed:  # set by papermill, or mistyped in the cell itself
            raise ParameterError(
                f"this notebook has no parameter {name!r}{_did_you_mean(name, known)}; "
                f"it takes {', '.join(allowed)}"
            )
    return {name: namespace[name] for name in declared}


def _assigned(source: str) -> list[str]:
    """Names that a cell of parameters assigns, with or without an annotation."""
    targets: list[ast.expr] = []
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign):
            targets += node.targets
        elif isinstance(node, ast.AnnAssign):
            targets.append(node.target)
    return [target.id for target in targets if isinstance(target, ast.Name)]


def named_seeds(seeds: Iterable[int]) -> str:
    seeds = list(seeds)
    return f"seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}"


def _absolute(dataset: Any) -> Any:
    """A folder of images is the same one whatever folder a notebook runs in."""
    if _is_folder(dataset):
        return FOLDER + str(Path(dataset.removeprefix(FOLDER)).expanduser().absolute())
    return dataset


def _percent(shares: tuple[float, ...]) -> str:
    return " and ".join(f"{100 * share:g} %" for share in shares)


def _listed(words: list[str]) -> str:
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))


def _seeds(value: Any, default: tuple[int, ...]) -> tuple[int, ...]:
    if value is None:
        return default
    try:
        parts = value.split(",") if isinstance(value, str) else value
        seeds = (parts,) if isinstance(parts, int) else tuple(int(str(p)) for p in parts)
    except (TypeError, ValueError):
        seeds = ()
    if not seeds or any(s < 0 for s in seeds) or len(set(seeds)) != len(seeds):
        raise ParameterError(
            f'seeds must be different whole numbers from 0, such as "0,1,2"; got {value!r}'
        )
    return seeds


def _device(name: Any) -> str:
    import torch  # here, so that reading settings does not need it

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
