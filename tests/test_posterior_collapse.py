"""Posterior collapse as an attack: its loss, measures and edits against formulas of other kinds,
and what the chapter says of its results."""

import json
import sys
import types
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from rnc import ParameterError
from rnc.attacks import maximise, pgd
from rnc.errors import UserError
from rnc.neighbours.posterior_collapse import (
    NEIGHBOUR,
    Settings,
    cifar10,
    editing,
    experiments,
    measures,
    pretrained,
    purification,
    sentences,
    sheets,
)
from rnc.neighbours.posterior_collapse.attacks import ATTACKS, TITLES, perturbed, posterior_loss
from rnc.neighbours.posterior_collapse.vae import VAE, Training, images, kl, train, trained
from rnc.show import posterior_collapse as show
from rnc.study import folders
from rnc.study.files import read_tensors
from rnc.study.findings.finding import NOTHING

TINY = Settings(Training(width=8, epochs=1, per_class=4), attacked=3, steps=1)


@pytest.fixture
def vae():
    torch.manual_seed(0)
    return VAE(8, 2, 4).eval().requires_grad_(False)


@pytest.fixture
def x(generator):
    return torch.rand(3, 3, 16, 16, generator=generator)


# The loss and the attacks --------------------------------------------------------------------


@pytest.mark.parametrize("v", [1e-8, 0.3, 1.0])
def test_the_loss_is_the_divergence_from_a_normal_but_for_a_constant(v):
    mean, logvar = torch.randn(2, 4, 1, 2, 2, dtype=torch.float64)
    posterior = torch.distributions.Normal(mean, (logvar / 2).exp())
    wanted = torch.distributions.kl_divergence(
        posterior, torch.distributions.Normal(0, torch.tensor(v, dtype=torch.float64).sqrt())
    )
    constant = 4 * np.log(v) / 2
    found = posterior_loss(mean, logvar, v) + constant
    assert found.tolist() == pytest.approx(wanted.flatten(1).sum(1).tolist(), rel=1e-9)
    if v == 1:
        assert torch.allclose(kl(mean, logvar), found)


def test_the_mean_is_all_that_counts_at_a_small_v(vae, x):
    x.requires_grad_()
    mean, logvar = vae.encode(x)
    logvar = logvar - 10  # as after training

    def gradient(value):
        return torch.autograd.grad(value.sum(), x, retain_graph=True)[0]

    signs = gradient(mean.square()).sign()
    agree = [
        float((gradient(posterior_loss(mean, logvar, v)).sign() == signs).double().mean())
        for v in (1e-8, 1.0)
    ]
    assert agree[0] > 0.99
    assert agree[1] < agree[0]


@pytest.mark.parametrize("v", [0.0, -1.0, float("nan"), float("inf")])
def test_v_must_be_a_positive_number(v):
    with pytest.raises(ParameterError, match="v must be a positive number; got"):
        posterior_loss(torch.zeros(1, 2), torch.zeros(1, 2), v)


def test_half_precision_is_refused():
    half = torch.zeros(1, 2, dtype=torch.float16)
    with pytest.raises(ParameterError, match="must be float32 or better; got float16"):
        posterior_loss(half, half, 1e-8)


@pytest.mark.parametrize("name", list(TITLES))
def test_perturbations_stay_in_their_ball(vae, x, name):
    found = perturbed(name, vae, x, eps=8 / 255, steps=3)
    assert found.min() >= 0
    assert found.max() <= 1
    if name != "gauss":
        assert (found - x).abs().max() <= 8 / 255 + 1e-6
    assert torch.equal(perturbed(name, vae, x, eps=0, steps=3), x)
    if name != "clean":
        assert not torch.equal(found, x)


@pytest.mark.parametrize("name", ["pca_minus", "pca_plus", "grey"])
def test_each_image_goes_its_own_way(vae, x, name):
    together = perturbed(name, vae, x, eps=8 / 255, steps=4)
    alone = torch.cat([perturbed(name, vae, one, eps=8 / 255, steps=4) for one in x.split(1)])
    assert (together == alone).double().mean() > 0.99  # rounding may turn a sign


def test_attacks_move_what_they_say(vae, x):
    def seen(name):
        attacked = perturbed(name, vae, x, eps=16 / 255, steps=10)
        mean, logvar = vae.encode(attacked)
        return mean, posterior_loss(mean, logvar, 1.0).mean(), vae.decode(mean)

    clean = dict(zip("mld", seen("clean"), strict=True))
    assert seen("pca_minus")[0].norm() < clean["m"].norm()
    assert seen("zero")[0].norm() < clean["m"].norm()
    assert seen("minus_up")[0].norm() > clean["m"].norm()
    assert seen("pca_plus")[1] > clean["l"]
    assert (seen("away")[0] - clean["m"]).norm() > 0.01
    grey = vae.encode(torch.full_like(x, 0.5))[0]
    assert (seen("grey")[0] - grey).norm() < (clean["m"] - grey).norm()
    assert (seen("decoded")[2] - x).norm() > (clean["d"] - x).norm()


def test_a_latent_shift_without_a_random_start_does_nothing(vae, x):
    still = replace(ATTACKS["away"], random_start=False)
    assert torch.equal(still(vae, x, eps=8 / 255), x)


def test_pgd_is_ascent_of_its_loss(x):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(768, 4))
    y, size = torch.tensor([0, 1, 2]), {"eps": 8 / 255, "alpha": 2 / 255, "steps": 5}
    found = maximise(
        lambda z: nn.functional.cross_entropy(network(z), y, reduction="sum"), x, **size
    )
    assert torch.equal(found, pgd(network, x, y, random_start=False, **size))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [({"eps": -1.0}, "eps and alpha"), ({"steps": 0}, "steps must be at least 1; got 0")],
)
def test_a_wrong_size_of_an_attack_is_named(vae, x, wrong, message):
    with pytest.raises(ValueError, match=message):
        perturbed("pca_minus", vae, x, **{"eps": 0.1} | wrong)
    with pytest.raises(ValueError, match="images must be in"):
        perturbed("pca_minus", vae, x + 1, eps=0.1)


# The autoencoder -----------------------------------------------------------------------------


@pytest.mark.parametrize(("factor", "channels"), [(2, 3), (4, 1), (8, 4)])
def test_latents_are_as_small_as_asked_for(x, factor, channels):
    vae = VAE(8, channels, factor)
    mean, logvar = vae.encode(x)
    assert mean.shape == logvar.shape == (3, channels, 16 // factor, 16 // factor)
    assert vae.decode(mean).shape == x.shape


def test_training_learns_and_is_kept(empty_store, x):
    training = Training(width=8, epochs=12, per_class=6)
    seen, y, *_ = images(training)
    assert torch.bincount(y).tolist() == [6] * 10
    vae = trained(training, 0)
    (file,) = empty_store.rglob("*.safetensors")
    again = trained(training, 0)
    assert read_tensors(file)[1]["settings"]["epochs"] == 12
    assert torch.equal(vae.encode(x)[0], again.encode(x)[0])
    begun = train(replace(training, epochs=1), seen, 0)
    error = [float((of.decode(of.encode(seen)[0]) - seen).square().mean()) for of in (vae, begun)]
    assert error[0] < error[1] / 2


def test_weights_that_were_damaged_are_made_again(empty_store, x):
    training = Training(width=8, epochs=1, per_class=2)
    first = trained(training, 1).encode(x)[0]
    (file,) = empty_store.rglob("*.safetensors")
    file.write_bytes(file.read_bytes()[:-9])
    assert torch.equal(trained(training, 1).encode(x)[0], first)


# Measures ------------------------------------------------------------------------------------


def test_psnr_and_ssim_are_those_of_their_formulas(x, generator):
    seen = (x + 0.1 * torch.randn(x.shape, generator=generator)).clamp(0, 1)
    a, b = x.double().numpy(), seen.double().numpy()
    wanted = [10 * np.log10(1 / np.mean((p - q) ** 2)) for p, q in zip(a, b, strict=True)]
    assert measures.psnr(x, seen).tolist() == pytest.approx(wanted)
    values = []
    for i in range(10):
        for j in range(10):
            for p, q in zip(a[0], b[0], strict=True):
                u, w = p[i : i + 7, j : j + 7].ravel(), q[i : i + 7, j : j + 7].ravel()
                (su, suw), (_, sw) = np.cov(u, w)
                top = (2 * u.mean() * w.mean() + 1e-4) * (2 * suw + 9e-4)
                values.append(top / ((u.mean() ** 2 + w.mean() ** 2 + 1e-4) * (su + sw + 9e-4)))
    assert float(measures.ssim(x, seen)[0]) == pytest.approx(np.mean(values))
    assert measures.ssim(x, x).tolist() == pytest.approx([1.0] * 3)


def test_the_judge_is_blind_to_contrast():
    seen, y, x_test, y_test = images(Training())
    judge = measures.Judge(seen, y)
    assert torch.equal(judge(0.5 + 0.1 * (seen - 0.5)), y)
    assert measures.share(judge(x_test) == y_test) > 0.9


def test_a_shrinking_of_everything_is_invisible_to_nc1(generator):
    y = torch.arange(4).repeat_interleave(6)
    mean = torch.randn(24, 1, 3, 3, generator=generator) + 2 * y.view(-1, 1, 1, 1)
    centres = measures.centres_of(mean, y)
    before, after = (measures.geometry(scale * mean, y, centres) for scale in (1, 0.1))
    assert after["nc1"] == pytest.approx(before["nc1"], rel=1e-4)
    assert after["ncc_own"] == before["ncc_own"]
    assert after["between"] == pytest.approx(before["between"] / 100, rel=1e-4)
    assert after["scatter"] == pytest.approx(before["scatter"] / 100, rel=1e-4)
    assert after["ncc_clean"] < before["ncc_clean"]


def test_noise_alone_is_sorted_by_its_own_centres_better_than_by_chance():
    found = measures.floor(20, 10, 16)
    assert 0.27 < found["ncc_own"] < 0.35
    assert found["ncc_clean"] == pytest.approx(0.1, abs=0.02)
    assert found["nc1"] > 150


# Edits ---------------------------------------------------------------------------------------


def test_a_shift_takes_a_class_mean_to_that_of_its_target(generator):
    y = torch.tensor([0, 0, 1, 1])
    latents = torch.randn(4, 1, 2, 2, generator=generator)
    centres = measures.centres_of(latents, y)
    moved = editing.shift(latents, y, 1 - y, centres)
    assert torch.allclose(measures.centres_of(moved, y), centres.flip(0), atol=1e-6)


def test_diffusion_takes_latents_to_the_target(generator):
    """Two classes that are points but for a little: the denoiser leads to the other one."""
    y = torch.arange(2).repeat_interleave(40)
    latents = (4 * y - 2).view(-1, 1, 1, 1) + 0.2 * torch.randn(80, 1, 2, 2, generator=generator)
    denoiser = editing.train_denoiser(latents, y, seed=0, steps=300)
    edited = editing.sdedit(denoiser, latents, y, 1 - y, strength=1.0)
    assert edited.shape == latents.shape
    assert ((edited.mean((1, 2, 3)) > 0) == (y == 0)).double().mean() > 0.95
    near = editing.sdedit(denoiser, latents, y, 1 - y, strength=0.01)
    assert (near - latents).abs().mean() < (edited - latents).abs().mean() / 4


@pytest.mark.parametrize("strength", [0, 1.2, -0.5])
def test_a_wrong_strength_is_named(strength):
    denoiser = editing.Denoiser(torch.randn(4, 1, 2, 2), 2)
    latents, y = torch.randn(2, 1, 2, 2), torch.tensor([0, 1])
    with pytest.raises(ParameterError, match=r"strength must be in \(0, 1\]; got"):
        editing.sdedit(denoiser, latents, y, 1 - y, strength=strength)
    with pytest.raises(ParameterError, match="target must differ"):
        editing.sdedit(denoiser, latents, y, y, strength=0.5)


# Purification and pictures -------------------------------------------------------------------


def test_a_mean_filter_is_a_convolution(x):
    from scipy.ndimage import uniform_filter

    wanted = uniform_filter(x.double().numpy(), (1, 1, 3, 3), mode="nearest")
    assert np.allclose(purification.mean_filter(x).numpy(), wanted, atol=1e-6)


def test_jpeg_of_full_quality_keeps_colours_only_without_subsampling(x):
    full, usual = purification.jpeg(x, 100, "4:4:4"), purification.jpeg(x, 100)
    assert (full - x).abs().max() < 4 / 255
    assert (usual - x).abs().mean() > 10 * (full - x).abs().mean()
    grey = x[:, :1].expand(-1, 3, -1, -1)
    assert (purification.jpeg(grey, 100) - grey).abs().max() < 4 / 255


def test_pictures_come_back_from_their_text(x):
    assert torch.equal(sheets.unpacked(sheets.packed(x), 16), purification.rounded(x))


# The autoencoder of a latent diffusion model -------------------------------------------------


class StandIn(nn.Module):
    """The interface of diffusers' AutoencoderKL, tiny and random."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.config = types.SimpleNamespace(block_out_channels=(8, 8, 8))
        self.inner = VAE(8, 2, 4)

    def encode(self, x):
        mean, logvar = self.inner.encode((x + 1) / 2)
        return types.SimpleNamespace(latent_dist=types.SimpleNamespace(mean=mean, logvar=logvar))

    def decode(self, z):
        return types.SimpleNamespace(sample=2 * self.inner.decode(z) - 1)


def test_an_autoencoder_of_diffusers_is_attacked_alike(x):
    model = StandIn()
    vae = pretrained.Pretrained(model.double())
    assert vae.factor == 4
    mean, _ = vae.encode(x)
    assert mean.dtype == torch.float32
    assert torch.allclose(mean, model.inner.encode(x)[0], atol=1e-5)
    assert torch.allclose(vae.decode(mean), model.inner.decode(mean), atol=1e-5)
    attacked = perturbed("pca_minus", vae, x, eps=16 / 255, steps=5)
    assert vae.encode(attacked)[0].norm() < mean.norm()
    assert not any(parameter.requires_grad for parameter in model.parameters())
    with pytest.raises(ParameterError, match="sides that 4 divides; got 18 x 16 pixels"):
        vae.encode(torch.zeros(1, 3, 16, 18))


def test_the_loader_says_what_is_missing(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(UserError, match=r"needs diffusers.*pip install 'rnc\[diffusion\]'"):
        pretrained.load_pretrained(tmp_path)


def test_the_loader_takes_what_is_on_this_machine_alone(monkeypatch, tmp_path):
    asked = {}

    class AutoencoderKL(StandIn):
        @classmethod
        def from_pretrained(cls, path, **options):
            asked.update(options, path=path)
            if "nothing" in path:
                raise OSError("no file of weights")
            return cls()

    module = types.SimpleNamespace(AutoencoderKL=AutoencoderKL)
    monkeypatch.setitem(sys.modules, "diffusers", module)
    assert pretrained.load_pretrained(tmp_path).factor == 4
    assert asked == {"path": str(tmp_path), "subfolder": "vae", "local_files_only": True}
    with pytest.raises(UserError, match=r"no autoencoder of diffusers in nothing \(no file"):
        pretrained.load_pretrained("nothing")


# Settings ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"eps": -1}, "eps must be a number, at least 0; got -1"),
        ({"eps": float("inf")}, "eps must be finite"),
        ({"eps": 0}, "eps must be more than 0; got 0"),
        ({"v": 0}, "v must be more than 0; got 0"),
        ({"v": "small"}, "v must be a number"),
        ({"steps": 0}, "steps must be a whole number, at least 1; got 0"),
        ({"strength": 0}, r"strength must be in \(0, 1\]; got 0"),
        ({"strength": 1.5}, r"strength must be in \(0, 1\]; got 1.5"),
        ({"attacked": 1}, "attacked must be a whole number, at least 2; got 1"),
        ({"attacked": 60}, "attacked must be at most per_class, 50; got 60"),
        ({"width": 12}, "width must be a multiple of 8; got 12"),
        ({"factor": 6}, "factor must be a power of 2; got 6"),
        ({"channels": 0}, "channels must be a whole number, at least 1; got 0"),
        ({"beta": -1e-3}, "beta must be a number, at least 0"),
        ({"dataset": "cifar"}, "dataset must be one of digits, cifar10; got 'cifar'"),
        ({"seeds": "0,0"}, "seeds must be different whole numbers"),
    ],
)
def test_a_wrong_parameter_of_the_chapter_is_named(wrong, message):
    with pytest.raises(ParameterError, match=message):
        Settings.from_notebook(wrong)


def test_parameters_of_a_notebook_find_their_place():
    found = Settings.from_notebook({"eps": 8, "beta": 0.1, "seeds": "3"})
    assert found == Settings(Training(beta=0.1), eps=8, seeds=(3,))


def test_sides_that_the_factor_does_not_divide_are_named():
    with pytest.raises(ParameterError, match="sides that 32 divides; got 16 x 16 pixels"):
        images(Training(factor=32))


# Experiments ---------------------------------------------------------------------------------


def test_a_tiny_study_gives_all_that_the_chapter_asks_for(empty_store, tmp_path, monkeypatch):
    monkeypatch.setenv("RNC_RECORDS", str(tmp_path / "records"))
    monkeypatch.setattr(editing, "STEPS", 2)
    settings = replace(TINY, seeds=(0, 1))
    measured = NEIGHBOUR.measure(settings)
    judged = NEIGHBOUR.judge(measured, settings.seeds)
    assert len(judged) == 11
    clean = measured["perturbations"][0]["sets"]["clean"]
    swept = measured["radii"][0]["sets"]["pca_minus"][0]
    assert swept["psnr"] == clean["psnr"]
    assert swept["between"] == clean["between"]
    same = measured["edits"][0]["sets"]["clean"]["shift"]
    assert same["own"] == 1
    assert same["clean_edit"] > 100
    draw_and_say(measured)


def test_a_record_of_cifar10_is_shown_where_there_is_one(empty_store, tmp_path, monkeypatch):
    monkeypatch.setenv("RNC_RECORDS", str(tmp_path / "records"))
    assert cifar10.recorded() is None
    assert sentences.on_cifar10(None, TINY) == NOTHING
    monkeypatch.setattr(cifar10, "SETTINGS", TINY)
    cifar10.publish()
    assert len(list(folders.published().rglob("*.json"))) == 1
    assert "does not work here" in sentences.on_cifar10(cifar10.recorded(), TINY)
    weaker = replace(TINY, eps=TINY.eps / 2)
    assert "not to be compared" in sentences.on_cifar10(cifar10.recorded(), weaker)


def draw_and_say(measured):
    for draw in (
        show.pictures,
        show.plane,
        show.geometry,
        show.reconstructions,
        show.edits,
        show.variances,
        show.purification,
    ):
        assert draw(measured).axes
    assert sentences.on_edits(measured, TINY)
    assert sentences.on_geometry(measured, TINY)
    for name in ("posteriors", "loss", "reconstruction", "purification"):
        assert getattr(sentences, f"on_{name}")(measured)
    assert sentences.on_transfer(measured)


# Claims and sentences ------------------------------------------------------------------------


@pytest.fixture
def measured():
    """What experiments give where every claim holds, at two seeds."""
    look = {
        "length": 6.0,
        "square": 2.0,
        "logvar": -5.0,
        "kl": 3.0,
        "psnr": 30.0,
        "ssim": 0.9,
        "contrast": 1.0,
        "judged": 1.0,
        "shown": 24.0,
    }
    order = {
        "nc1": 20.0,
        "nc2_angles": 0.2,
        "between": 8.0,
        "scatter": 14.0,
        "ncc_clean": 0.9,
        "ncc_own": 0.9,
    }
    clean = look | order
    gone = {"psnr": 18.0, "length": 1.0, "kl": 0.2, "judged": 0.2, "between": 0.1}
    gone |= {"scatter": 0.5, "ncc_own": 0.3, "nc1": 240.0}
    sets = {name: clean | {"psnr": 25.0, "judged": 0.9} for name in TITLES}
    sets |= {"clean": clean, "gauss": clean | {"psnr": 28.0}, "pca_minus": clean | gone}
    # descent to 0 is both a rival, to be beaten by .3 dB, and the same attack within .3 dB
    sets["zero"] = clean | {"psnr": 18.3, "judged": 0.5}
    edit = {"target": 0.9, "source": 0.0, "clean_edit": 40.0, "own": 1.0, "original": 20.0}
    both = dict.fromkeys(("shift", "0.5"), edit)
    stopped = {"target": 0.2, "clean_edit": 18.0, "own": 0.1, "original": 22.0}
    stopped = dict.fromkeys(("shift", "0.5"), edit | stopped)
    purified = {"psnr": 20.0, "judged": 0.5, "shown": 24.0}
    seeds = {
        "perturbations": {
            "sets": sets,
            "floor": order | {"ncc_own": 0.3, "nc1": 250.0},
            "test": dict.fromkeys(("clean", "gauss", "pca_minus"), clean),
        },
        "radii": {
            "radii": [0, 4, 8, 16, 32],
            "sets": {
                "gauss": [clean] * 5,
                "pca_plus": [clean] * 5,
                "pca_minus": [
                    clean,
                    clean | {"between": 4.0, "nc1": 21.0},
                    clean,
                    clean | gone,
                    clean | gone,
                ],
            },
            "plane": [[[1.0, 2.0], [0.5, -1.0]]] * 5,
            "labels": [0, 1],
        },
        "edits": {
            "sets": dict.fromkeys(experiments.EDITED, both)
            | {"pca_minus": stopped, "pca_plus": stopped},
            "stranger": {"shift": 20.0, "0.5": 20.0},
            "strength": "0.5",
            "pictures": {
                name: sheets.packed(torch.full((2 if name == "original" else 8, 3, 4, 4), 0.5))
                for name in ("original", *experiments.EDITED)
            },
            "height": 4,
        },
        "losses": {
            "v": [1e-8, 1.0, 1e-8],
            "signs": [0.999, 0.9, 0.999],
            "psnr": [18.0, 20.0, 18.0],
            "gradients": [[1e9, 1e6, 1.0]] * 3,
        },
        "purified": {
            name: dict.fromkeys(purification.PURIFICATIONS, purified)
            for name in experiments.PURIFIED
        },
        "transfer": {
            "clean": 30.0,
            "gauss": 28.0,
            "pca_minus": {"own": 18.0, "other": 20.0},
            "decoded": {"own": 15.0, "other": 20.0},
        },
    }
    return json.loads(json.dumps({name: [of, of] for name, of in seeds.items()}))


# by claim, what to change at the first seed so that it does not hold fully
BREAKS = {
    "G1": ("perturbations", "sets", "pca_minus", "length", 4.0),
    "G2": ("perturbations", "sets", "gauss", "psnr", 22.0),
    "G3": ("perturbations", "sets", "minus_up", "psnr", 17.0),
    "G4": ("perturbations", "sets", "pca_minus", "kl", 2.0),
    "G5": ("edits", "sets", "pca_minus", "0.5", "clean_edit", 21.0),
    "G6": ("edits", "sets", "pca_minus", "shift", "target", 0.7),
    "G7": ("edits", "sets", "pca_plus", "0.5", "original", 19.0),
    "G8": ("perturbations", "sets", "grey", "psnr", 17.0),
    "G9": ("transfer", "pca_minus", "other", 27.0),
    "G10": ("perturbations", "sets", "pca_minus", "ncc_own", 0.6),
    "G11": ("losses", "signs", -1, 0.8),
}


def test_every_claim_can_hold(measured):
    # but for two that exclude each other where the difference is not exactly .3 dB
    measured["perturbations"][0]["sets"]["zero"]["psnr"] = 18.3
    judged = {v.claim.id: v.verdict for v in NEIGHBOUR.judge(measured, (0, 1))}
    assert set(judged) == set(BREAKS)
    either = {name: answer for name, answer in judged.items() if name not in ("G8", "G11")}
    assert set(either.values()) == {"holds"}
    for psnr, claim in ((18.2, "G11"), (18.4, "G8")):
        for of in measured["perturbations"]:
            of["sets"]["zero"]["psnr"] = psnr
        judged = {v.claim.id: v.verdict for v in NEIGHBOUR.judge(measured, (0, 1))}
        assert judged[claim] == "holds"


@pytest.mark.parametrize("claim", list(BREAKS))
def test_every_claim_can_fail(measured, claim):
    for of in measured["perturbations"]:
        of["sets"]["zero"]["psnr"] = 18.4 if claim == "G8" else 18.2
    before = {v.claim.id: v.verdict for v in NEIGHBOUR.judge(measured, (0, 1))}
    change(measured, claim)
    after = {v.claim.id: v.verdict for v in NEIGHBOUR.judge(measured, (0, 1))}
    assert before[claim] == "holds"
    assert after[claim] in ("partly", "does not hold here")
    assert {name for name in before if before[name] != after[name]} == {claim}


def change(measured, claim):
    experiment, *path, last, value = BREAKS[claim]
    place = measured[experiment][0] = json.loads(json.dumps(measured[experiment][0]))
    for step in path:
        place = place[step]
    place[last] = value


@pytest.mark.parametrize(
    ("claim", "path", "value"),
    [
        ("G2", ("perturbations", "sets", "clean", "psnr"), 20.0),
        ("G6", ("edits", "sets", "clean", "shift", "target"), 0.4),
        ("G9", ("transfer", "pca_minus", "own"), 27.0),
        ("G10", ("perturbations", "sets", "clean", "ncc_own"), 0.4),
    ],
)
def test_without_what_it_takes_for_granted_a_claim_is_not_judged(measured, claim, path, value):
    experiment, *steps, last = path
    for place in measured[experiment]:
        for step in steps:
            place = place[step]
        place[last] = value
    judged = {v.claim.id: v.verdict for v in NEIGHBOUR.judge(measured, (0, 1))}
    assert judged[claim] == "not applicable"


def test_figures_draw(measured):
    draw_and_say(measured)


def test_sentences_follow_the_values(measured):
    assert "7% of the KL divergence" in sentences.on_posteriors(measured)
    assert sentences.on_posteriors(measured).endswith("That is a posterior collapse.")
    assert "the attack carries over" in sentences.on_transfer(measured)
    assert "so that PCA− prevents the edit" in sentences.on_edits(measured, TINY)
    assert "PCA− destroys reconstructions" in sentences.on_reconstruction(measured)
    assert (
        "at 2 of 2 seeds that is as little as of random points, within five points, from 16/255 "
        "on." in sentences.on_geometry(measured, TINY)
    )
    assert "SSIM 0.90, where noise leaves 0.90" in sentences.on_reconstruction(measured)
    assert sentences.on_purification(measured).endswith("won back at every seed by none.")
    measured["purified"] = [
        of | {"pca_minus": of["pca_minus"] | {"mean": {"psnr": 26.0}}}
        for of in measured["purified"]
    ]
    assert sentences.on_purification(measured).endswith("at every seed by mean of 3 × 3.")
    first = measured["purified"][0]["pca_minus"]
    measured["purified"][0]["pca_minus"] = first | {"mean": first["none"]}
    assert sentences.on_purification(measured).endswith("at some seeds by mean of 3 × 3.")
    for claim in ("G4", "G6", "G9", "G2", "G8"):
        change(measured, claim)
    assert "this is one at some seeds only" in sentences.on_posteriors(measured)
    assert "the attack carries over at some seeds." in sentences.on_transfer(measured)
    assert "prevents it at some seeds" in sentences.on_edits(measured, TINY)
    assert "PCA− harms reconstructions" in sentences.on_reconstruction(measured)
    for of in measured["radii"][0]["sets"]["pca_minus"]:
        of["ncc_own"] = 0.9
    assert (
        "at 1 of 2 seeds that is as little as of random points, within five points, from 16/255 on"
        in sentences.on_geometry(measured, TINY)
    )


def test_sentences_say_where_there_is_nothing_to_judge(measured):
    for of in measured["edits"]:
        of["sets"]["clean"]["shift"]["target"] = 0.0
    assert "PCA− finds no edit to prevent" in sentences.on_edits(measured, TINY)
    for of in measured["transfer"]:
        of["pca_minus"]["own"] = of["gauss"]
    assert "too little" in sentences.on_transfer(measured)
