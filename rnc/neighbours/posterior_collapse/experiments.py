"""What the chapter on posterior collapse measures; results are kept in the store."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import torch
from torch import Tensor

from rnc.neighbours.neighbour import experiment
from rnc.neighbours.posterior_collapse import editing, measures, sheets
from rnc.neighbours.posterior_collapse.attacks import ATTACKS, perturbed, posterior_loss
from rnc.neighbours.posterior_collapse.purification import PURIFICATIONS
from rnc.neighbours.posterior_collapse.settings import Settings
from rnc.neighbours.posterior_collapse.vae import VAE, images, trained
from rnc.study.store import keep_tensors

RADII = (4, 8, 16, 32)  # 1/255
SWEPT = ("gauss", "pca_minus", "pca_plus")
VARIANCES = (1e-8, 1e-4, 1e-2, 1e-1, 1.0)
FEW = 4  # images of each class, where few are enough or are kept
EDITED = ("clean", "gauss", "pca_minus", "pca_plus", "away", "decoded")
STRENGTHS = (0.3, 0.5, 0.7)
CARRIED = ("pca_minus", "decoded")  # to another autoencoder
PURIFIED = ("clean", "pca_minus", "decoded")
DOTS = 10  # images of each class in the plane
DRAWN = (3, 8)  # classes whose first image is drawn
VERSION = 1  # of attacked images


class Scene:
    """An autoencoder with the images that are attacked.

    Attributes:
        vae: the autoencoder.
        x, y: training images and labels, of which those of `attacked` are perturbed.
        mean: posterior means of all training images.
        centres: their class means, K x D.
        judge: see `measures.Judge`.
    """

    def __init__(self, settings: Settings, seed: int):
        self.settings, self.seed = settings, seed
        all_x, all_y, self.x_test, self.y_test = images(settings.vae)
        self.vae: VAE = trained(settings.vae, seed)
        with torch.no_grad():
            self.mean = self.vae.encode(all_x)[0]
        self.all_y = all_y
        self.judge = measures.Judge(all_x, all_y)
        self.centres = measures.centres_of(self.mean, all_y)
        self.x, self.y = _first(settings.attacked, all_x, all_y)

    def perturbed(self, name: str, eps: float | None = None) -> Tensor:
        """The images under a perturbation of a radius in 1/255, by default that of the settings;
        kept in the store."""
        s = self.settings
        eps = s.eps if eps is None else eps
        key = {
            "vae": asdict(s.vae),
            "perturbation": name,
            "eps": eps,
            "steps": s.steps,
            "v": s.v,
            "attacked": s.attacked,
            "seed": self.seed,
        }
        if name in ("clean", "gauss"):
            return self._perturb(name, eps)
        found = keep_tensors(
            "posterior_collapse/attacked", VERSION, key, lambda: {"x": self._perturb(name, eps)}
        )
        return found["x"]

    def _perturb(self, name: str, eps: float) -> Tensor:
        s = self.settings
        return perturbed(
            name, self.vae, self.x, eps=eps / 255, steps=s.steps, v=s.v, seed=self.seed
        )

    def look(self, seen: Tensor) -> dict[str, float]:
        """See `measures.look`."""
        return measures.look(self.vae, seen, self.x, self.y, self.judge)

    @torch.no_grad()
    def geometry(self, seen: Tensor) -> dict[str, float]:
        """See `measures.geometry`."""
        return measures.geometry(self.vae.encode(seen)[0], self.y, self.centres)


def _first(count: int, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """The first images of each class."""
    places = torch.cat([(y == c).nonzero().flatten()[:count] for c in range(int(y.max()) + 1)])
    return x[places], y[places]


@experiment(version=1, each_seed=True)
def perturbations(settings: Settings, seed: int) -> dict:
    """`sets`, by perturbation what `measures.look` and `measures.geometry` give; `floor`, the
    latter of noise; `test`, the former of test images, clean, under noise and under PCA-."""
    scene = Scene(settings, seed)
    sets = {}
    for name in ("clean", "gauss", *ATTACKS):
        seen = scene.perturbed(name)
        sets[name] = scene.look(seen) | scene.geometry(seen)
    test = {}
    x, y = _first(settings.attacked, scene.x_test, scene.y_test)
    size = {"eps": settings.eps / 255, "steps": settings.steps, "v": settings.v, "seed": seed}
    for name in ("clean", "gauss", "pca_minus"):
        seen = perturbed(name, scene.vae, x, **size)
        test[name] = measures.look(scene.vae, seen, x, y, scene.judge)
    floor = measures.floor(settings.attacked, len(scene.centres), scene.mean[0].numel())
    return {"sets": sets, "floor": floor, "test": test}


@experiment(version=1, each_seed=True)
def losses(settings: Settings, seed: int) -> dict:
    """What the loss of PCA- is made of, on few images.

    Returns:
        `v`, and for each: `signs`, the share of pixels at which the gradient on clean images has
        the sign of that of the squared mean; `psnr` of the reconstruction after descent;
        `gradients`, length of the gradients of the terms of mean, variance and logarithm, mean
        over images. The last v is that of the settings.
    """
    scene = Scene(settings, seed)
    x, _ = _first(FEW, scene.x, scene.y)
    x = x.requires_grad_()
    mean, logvar = scene.vae.encode(x)

    def gradient(value: Tensor) -> Tensor:
        return torch.autograd.grad(value.sum(), x, retain_graph=True)[0]

    squared = gradient(mean.square()).sign()
    found: dict = {"v": [*VARIANCES, settings.v], "signs": [], "psnr": [], "gradients": []}
    for v in found["v"]:
        whole = gradient(posterior_loss(mean, logvar, v))
        found["signs"].append((whole.sign() == squared).double().mean())
        terms = (mean.square() / (2 * v), logvar.exp() / (2 * v), logvar / 2)
        lengths = [gradient(term).double().flatten(1).norm(dim=1).mean() for term in terms]
        found["gradients"].append([float(length) for length in lengths])
        seen = perturbed(
            "pca_minus", scene.vae, x.detach(), eps=settings.eps / 255, steps=settings.steps, v=v
        )
        with torch.no_grad():
            decoded = scene.vae.decode(scene.vae.encode(seen)[0])
        found["psnr"].append(measures.psnr(decoded, x).mean().detach())
    return found


@experiment(version=1, each_seed=True)
def radii(settings: Settings, seed: int) -> dict:
    """The classes in the latent as the radius grows.

    Returns:
        `radii` in 1/255, from 0; `sets`, by perturbation a list over radii of `psnr`, `judged`,
        `length` and of what `measures.geometry` gives; `plane`, a list over radii of the posterior
        means under PCA- on the first two principal axes of the clean ones, N x 2; `labels`.
    """
    scene = Scene(settings, seed)
    sizes = sorted({0, *RADII, settings.eps})
    sets: dict = {}
    with torch.no_grad():
        clean = scene.vae.encode(scene.x)[0].flatten(1).double()
    axes = torch.linalg.svd(clean - clean.mean(0), full_matrices=False)[2][:2].T
    plane = []
    for name in SWEPT:
        for eps in sizes:
            seen = scene.perturbed(name, eps) if eps else scene.x
            looked = scene.look(seen)
            kept = {measure: looked[measure] for measure in ("psnr", "judged", "length")}
            sets.setdefault(name, []).append(kept | scene.geometry(seen))
            if name == "pca_minus":
                with torch.no_grad():
                    mean = scene.vae.encode(seen)[0].flatten(1).double()
                points, _ = _first(DOTS, (mean - clean.mean(0)) @ axes, scene.y)
                plane.append(np.round(points.numpy(), 3))
    return {
        "radii": sizes,
        "sets": sets,
        "plane": plane,
        "labels": _first(DOTS, scene.y, scene.y)[0],
    }


@experiment(version=1, each_seed=True)
def edits(settings: Settings, seed: int) -> dict:
    """Edits of each image towards the next class, by a `shift` and by diffusion at strengths.

    Returns:
        `sets`, by perturbation and edit: `target` and `source`, shares that are taken for the
        class of each; `clean_edit`, PSNR to the edit of the clean image; `own`, the share whose
        nearest clean edit, of images of its class, is that of the very image; `original`, PSNR to
        the unedited image. `strength`, the name of that of the settings. `stranger`, by edit PSNR
        of clean edits of two images of a class.
        `pictures`, by perturbation a sheet of images, with those of `DRAWN` in turn: the image as
        it is given, decoded, after the shift and after diffusion; `original`, a sheet of those.
    """
    scene = Scene(settings, seed)
    x, y, classes = scene.x, scene.y, len(scene.centres)
    target = (y + 1) % classes
    denoiser = editing.train_denoiser(scene.mean, scene.all_y, seed, editing.STEPS)
    strengths = sorted({*STRENGTHS, settings.strength})
    drawn = torch.tensor([int((y == c).nonzero()[0]) for c in DRAWN])

    def edited(seen: Tensor) -> dict[str, Tensor]:
        with torch.no_grad():
            mean = scene.vae.encode(seen)[0]
            latents = {"shift": editing.shift(mean, y, target, scene.centres)}
            for strength in strengths:
                latents[f"{strength:g}"] = editing.sdedit(
                    denoiser,
                    mean,
                    y,
                    target,
                    strength=strength,
                    guidance=settings.guidance,
                    seed=seed,
                )
            latents["decoded"] = mean
            return {name: scene.vae.decode(z) for name, z in latents.items()}

    clean = edited(x)
    sets: dict = {}
    pictures = {"original": sheets.packed(x[drawn])}
    for name in EDITED:
        seen = scene.perturbed(name)
        found = edited(seen)
        shown = (found["decoded"], found["shift"], found[f"{settings.strength:g}"])
        pictures[name] = sheets.packed(torch.cat([part[drawn] for part in (seen, *shown)]))
        for edit in ("shift", *(f"{strength:g}" for strength in strengths)):
            taken = scene.judge(found[edit])
            sets.setdefault(name, {})[edit] = {
                "target": measures.share(taken == target),
                "source": measures.share(taken == y),
                "clean_edit": float(measures.psnr(found[edit], clean[edit]).mean()),
                "own": _own(found[edit], clean[edit], y),
                "original": float(measures.psnr(found[edit], x).mean()),
            }
    stranger = {}
    for edit in sets["clean"]:
        rolled = clean[edit].unflatten(0, (classes, -1)).roll(1, 1).flatten(0, 1)
        stranger[edit] = float(measures.psnr(rolled, clean[edit]).mean())
    return {
        "sets": sets,
        "stranger": stranger,
        "strength": f"{settings.strength:g}",
        "pictures": pictures,
        "height": x.shape[2],
    }


def _own(edited: Tensor, clean: Tensor, y: Tensor) -> float:
    distances = torch.cdist(edited.flatten(1), clean.flatten(1))
    distances = distances.masked_fill(y[:, None] != y, torch.inf)
    return measures.share(distances.argmin(1) == torch.arange(len(y)))


@experiment(version=1, each_seed=True)
def purified(settings: Settings, seed: int) -> dict:
    """By perturbation and purification, `psnr` of the reconstruction, `judged`, and `shown`, PSNR
    of the image that is then encoded; see `measures.look`."""
    scene = Scene(settings, seed)
    found: dict = {}
    for name in PURIFIED:
        seen = scene.perturbed(name)
        for purification, (_, through) in PURIFICATIONS.items():
            looked = scene.look(through(seen))
            kept = {measure: looked[measure] for measure in ("psnr", "judged", "shown")}
            found.setdefault(name, {})[purification] = kept
    return found


@experiment(version=1, each_seed=True)
def crafted(settings: Settings, seed: int) -> dict:
    """By attack, a sheet of few attacked images of each class, for other autoencoders."""
    scene = Scene(settings, seed)
    return {
        name: sheets.packed(_first(FEW, scene.perturbed(name), scene.y)[0]) for name in CARRIED
    }


@experiment(version=1, each_seed=True)
def transfer(settings: Settings, seed: int) -> dict:
    """PSNR of reconstructions by the autoencoder of a seed: `clean`, `gauss`; and by attack `own`,
    of images crafted on it, and `other`, on the autoencoder of the next seed."""
    scene = Scene(settings, seed)
    x, _ = _first(FEW, scene.x, scene.y)
    sets = {name: _first(FEW, scene.perturbed(name), scene.y)[0] for name in ("clean", "gauss")}

    @torch.no_grad()
    def seen(images: Tensor) -> float:
        return float(measures.psnr(scene.vae.decode(scene.vae.encode(images)[0]), x).mean())

    found: dict = {name: seen(images) for name, images in sets.items()}
    own, other = crafted(settings, seed), crafted(settings, seed + 1)
    for name in CARRIED:
        found[name] = {
            "own": seen(sheets.unpacked(own[name], x.shape[2])),
            "other": seen(sheets.unpacked(other[name], x.shape[2])),
        }
    return found
