"""What a reader of the chapter on posterior collapse can change."""

from __future__ import annotations

from dataclasses import dataclass, field, fields

from rnc.errors import ParameterError, check_number, check_one_of, check_positive, check_whole
from rnc.neighbours.posterior_collapse.vae import Training
from rnc.study import notebook
from rnc.study.settings import seeds_of

DATASETS = ("digits", "cifar10")


@dataclass(frozen=True)
class Settings:
    """An autoencoder, attacks on it, and edits.

    Attributes:
        vae: how the autoencoder is trained.
        eps: radius in 1/255, above 0.
        steps: of an attack, each of 2/255.
        v: of PCA-.
        attacked: images of each class that are attacked.
        strength: of the edit by diffusion that claims are about, in (0, 1].
        guidance: of that edit towards the class.
        seeds: of autoencoders.

    Raises:
        ParameterError: names the parameter, its value and what is allowed.
    """

    vae: Training = field(default_factory=Training)
    eps: float = 16
    steps: int = 40
    v: float = 1e-8
    attacked: int = 20
    strength: float = 0.5
    guidance: float = 2.0
    seeds: tuple[int, ...] = (0, 1, 2)

    def __post_init__(self) -> None:
        check_one_of("dataset", self.vae.dataset, DATASETS)
        for name in ("strength", "guidance"):
            check_number(name, getattr(self, name), 0)
        for name in ("eps", "v"):
            check_positive(name, getattr(self, name))
        if not 0 < self.strength <= 1:
            raise ParameterError(f"strength must be in (0, 1]; got {self.strength!r}")
        check_whole("steps", self.steps, 1)
        check_whole("attacked", self.attacked, 2)
        if self.attacked > self.vae.per_class:
            raise ParameterError(
                f"attacked must be at most per_class, {self.vae.per_class}; got {self.attacked!r}"
            )
        object.__setattr__(self, "seeds", tuple(self.seeds))

    @classmethod
    def from_notebook(cls, namespace: dict) -> Settings:
        """What a notebook's parameters ask for, those of the training among them; seeds such as
        "0,1,2"."""
        of_vae = [one.name for one in fields(Training)]
        own = [one.name for one in fields(cls) if one.name != "vae"]
        given = notebook.parameters(namespace, [*own, *of_vae])
        training = Training(**{name: given.pop(name) for name in of_vae if name in given})
        if "seeds" in given:
            given["seeds"] = seeds_of(given["seeds"])
        return cls(vae=training, **given)
