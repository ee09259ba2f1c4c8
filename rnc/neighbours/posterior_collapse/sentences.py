"""What the chapter on posterior collapse says of its results, whichever way they turn out."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from rnc.neighbours.posterior_collapse import cifar10
from rnc.neighbours.posterior_collapse.attacks import ATTACKS, TITLES
from rnc.neighbours.posterior_collapse.claims import DESTROYED, RECONSTRUCTS
from rnc.neighbours.posterior_collapse.experiments import FEW
from rnc.neighbours.posterior_collapse.purification import PURIFICATIONS
from rnc.neighbours.posterior_collapse.settings import Settings
from rnc.study.findings import Text
from rnc.study.findings.finding import NOTHING, sentence, span
from rnc.study.settings import named_seeds

SAME = 0.3  # dB
POINTS = 0.05  # of a share


def _over_seeds(found: list[dict], value: Callable[[dict], float]) -> np.ndarray:
    return np.array([value(of) for of in found])


def _sets(measured: dict, name: str, measure: str) -> np.ndarray:
    return _over_seeds(measured["perturbations"], lambda of: of["sets"][name][measure])


def on_setting(settings: Settings) -> Text:
    """How images are attacked."""
    return Text(
        f"Here: attacks of {settings.steps} steps, ℓ∞, ε = {settings.eps:g}/255, but where "
        f"another radius is named; {named_seeds(settings.seeds)} of the autoencoder."
    )


def on_posteriors(measured: dict) -> Text:
    """What becomes of mean, variance and KL."""
    length, kl = (
        _sets(measured, "pca_minus", name) / _sets(measured, "clean", name)
        for name in ("length", "kl")
    )
    clean, attacked = (np.exp(_sets(measured, name, "logvar")) for name in ("clean", "pca_minus"))
    said = (
        "That is a posterior collapse."
        if max(kl) <= 0.1
        else "A posterior collapse would take it to 0: this is one at some seeds only."
        if min(kl) <= 0.1
        else "A posterior collapse would take it to 0: this is none."
    )
    return Text(
        f"PCA− leaves {span(length, '.2f')} of the length of the mean; the variance, a geometric "
        f"mean, is {span(attacked, '.4f')}, clean {span(clean, '.4f')}; and {span(kl, '.0%')} of "
        f"the KL divergence from the prior is left. {said}"
    )


def on_loss(measured: dict) -> Text:
    """How much of the loss is its mean term, and what is left of the difference from descent to
    0."""
    found = measured["losses"]
    signs = _over_seeds(found, lambda of: of["signs"][-1])
    variance = found[0]["v"][-1]
    terms = np.array([of["gradients"][-1] for of in found])
    apart = abs(_sets(measured, "pca_minus", "psnr") - _sets(measured, "zero", "psnr"))
    judged = [_sets(measured, name, "judged") for name in ("pca_minus", "zero")]
    other = "do not cost the same" + " at some seeds" * bool(min(apart) <= SAME)
    same = "cost the same, by our bound on PSNR" if max(apart) <= SAME else other
    return Text(
        f"At v = {variance:g} the gradient of the mean term is {span(terms[:, 0], '.0e')} long, "
        f"that of the variance {span(terms[:, 1], '.0e')}, of the logarithm "
        f"{span(terms[:, 2], '.0e')}; {span(signs, '.2%')} of the pixels have the sign of the "
        f"gradient of the squared mean alone. Reconstructions have a PSNR {span(apart, '.2f')} dB "
        f"from that of descent to 0, and {span(judged[0], '.0%')} are still taken for their "
        f"class, after descent to 0 {span(judged[1], '.0%')}: the two {same}."
    )


def on_reconstruction(measured: dict) -> Text:
    """What each perturbation costs."""
    parts = [
        f"{title} {span(_sets(measured, name, 'psnr'), '.1f')} dB "
        f"({span(_sets(measured, name, 'judged'), '.0%')} still their class)"
        for name, title in TITLES.items()
    ]
    minus = _sets(measured, "pca_minus", "psnr")
    lost = _sets(measured, "gauss", "psnr") - minus
    less = "harms, at some seeds only," if max(lost) > 0 else "does not harm"
    verb = "destroys" if min(lost) >= DESTROYED.bound else "harms" if min(lost) > 0 else less
    worse = [
        title
        for name, title in TITLES.items()
        if name not in ("pca_minus", "clean", "gauss")
        and max(_sets(measured, name, "psnr") - minus) < -SAME
    ]
    said = f"Lower than PCA− at every seed: {', '.join(worse) if worse else 'none'}."
    test = _over_seeds(measured["perturbations"], lambda of: of["test"]["pca_minus"]["psnr"])
    ssim = [span(_sets(measured, name, "ssim"), ".2f") for name in ("clean", "gauss", "pca_minus")]
    return Text(
        f"{', '.join(parts)}. PCA− {verb} reconstructions: {span(lost, '.1f')} dB less than noise "
        f"leaves (test images: {span(test, '.1f')} dB), and SSIM {ssim[2]}, where noise leaves "
        f"{ssim[1]} and clean images have {ssim[0]}. {said}"
    )


def on_geometry(measured: dict, settings: Settings) -> Text:
    """How far classes shrink, and from which radius nothing is left of their order."""
    found, swept = measured["perturbations"], measured["radii"]
    shrunk = _sets(measured, "clean", "scatter") / _sets(measured, "pca_minus", "scatter")
    between = _sets(measured, "clean", "between") / _sets(measured, "pca_minus", "between")
    own = _sets(measured, "pca_minus", "ncc_own")
    clean_own = _sets(measured, "clean", "ncc_own")
    floor = found[0]["floor"]["ncc_own"]
    lost = [_lost_at(of, floor) for of in swept]
    gone = [eps for eps in lost if eps is not None]
    if not gone:
        said = (
            "at no radius of the sweep is that as little as of random points, within five points"
        )
    else:
        said = f"at {len(gone)} of {len(lost)} seeds that is as little as of random points, "
        said += f"within five points, from {span(gone, 'g')}/255 on"
    small = _over_seeds(swept, lambda of: of["sets"]["pca_minus"][1]["nc1"])
    small /= _over_seeds(swept, lambda of: of["sets"]["pca_minus"][0]["nc1"])
    less = _over_seeds(swept, lambda of: of["sets"]["pca_minus"][0]["between"])
    less /= _over_seeds(swept, lambda of: of["sets"]["pca_minus"][1]["between"])
    return Text(
        f"Under PCA− at {settings.eps:g}/255 the mean squared distance of posterior means from "
        f"their own mean falls {span(shrunk)}-fold, and Tr Σ_B falls {span(between)}-fold. "
        f"Centres of their own sort {span(own, '.0%')} of them (of clean ones "
        f"{span(clean_own, '.0%')}, of random points {floor:.0%}); {said}. At "
        f"{swept[0]['radii'][1]:g}/255 NC1 is {span(small, '.2f')} times what it was, while "
        f"Tr Σ_B is {span(less, '.1f')} times smaller."
    )


def _lost_at(found: dict, floor: float) -> float | None:
    """The least radius from which on the classes are sorted no better than random points."""
    order = [of["ncc_own"] <= floor + POINTS for of in found["sets"]["pca_minus"]]
    beyond = [all(order[number:]) for number in range(len(order))]
    return found["radii"][beyond.index(True)] if any(beyond) else None


def on_edits(measured: dict, settings: Settings) -> Text:
    """Whether edits succeed, and of whom they are."""
    found = measured["edits"]
    lines = []
    for edit, words in _edit_names(found):
        clean, minus, plus = (
            _edits(found, name, edit, "target") for name in ("clean", "pca_minus", "pca_plus")
        )
        own = _edits(found, "pca_minus", edit, "own")
        verb = _prevented(minus, clean)
        lines.append(
            f"{words}: {span(clean, '.0%')} of clean edits are taken for the target, "
            f"after PCA− {span(minus, '.0%')}, so that PCA− {verb} (after PCA+ "
            f"{span(plus, '.0%')}); of PCA−'s edits "
            f"{span(own, '.0%')} are still nearest to that of the very image, where chance gives "
            f"{1 / settings.attacked:.0%}"
        )
    text = "; ".join(lines)
    return Text(sentence(text))


def _edits(found: list[dict], name: str, edit: str, measure: str) -> np.ndarray:
    return _over_seeds(found, lambda of: of["sets"][name][edit][measure])


def _prevented(after: np.ndarray, clean: np.ndarray) -> str:
    if min(clean) < 0.5:
        return "finds no edit to prevent"
    halved = after <= clean / 2
    if halved.all():
        return "prevents the edit"
    return "prevents it at some seeds" if halved.any() else "does not prevent the edit"


def _edit_names(found: list[dict]) -> list[tuple[str, str]]:
    strength = found[0]["strength"]
    return [("shift", "shift"), (strength, f"diffusion to {strength}")]


def on_purification(measured: dict) -> Text:
    """What undoes the perturbation."""
    found = measured["purified"]
    minus = {
        name: _over_seeds(found, lambda of, n=name: of["pca_minus"][n]["psnr"])
        for name in PURIFICATIONS
    }
    parts = [
        f"{PURIFICATIONS[name][0]} {span(values, '.1f')} dB" for name, values in minus.items()
    ]
    gained = {name: values - minus["none"] for name, values in minus.items()}

    def listed(helps: Callable[[np.ndarray], bool]) -> str:
        return ", ".join(PURIFICATIONS[name][0] for name, of in gained.items() if helps(of >= 1))

    always, ever = listed(np.all), listed(lambda wins: wins.any() and not wins.all())
    said = f"At least 1 dB is won back at every seed by {always or 'none'}"
    said += f", and at some seeds by {ever}" * bool(ever)
    return Text(f"PCA− {', '.join(parts)}. {said}.")


def on_transfer(measured: dict) -> Text:
    """What another autoencoder sees of an attack."""
    found = measured["transfer"]
    noise = _over_seeds(found, lambda of: of["gauss"])
    own, other = (
        _over_seeds(found, lambda of, k=key: of["pca_minus"][k]) for key in ("own", "other")
    )
    if min(noise - own) < DESTROYED.bound:
        return Text("PCA− destroys too little of its own autoencoder's for a word on another.")
    share = (noise - other) / (noise - own)
    less = "carries over at some seeds" if max(share) >= 0.5 else "does not carry over"
    said = "carries over" if min(share) >= 0.5 else less
    return Text(
        f"Of the first {FEW} images of each class, kept in eight bits, those of PCA− made on the "
        f"autoencoder of another seed: {span(other, '.1f')} dB, made on the own "
        f"{span(own, '.1f')} dB, noise {span(noise, '.1f')} dB. Of the loss beyond noise "
        f"{min(share):.0%} to {max(share):.0%} are left: the attack {said}."
    )


def on_cifar10(found: dict | None, settings: Settings) -> Text:
    """Whether the same happens on CIFAR-10; settings are those of the digits."""
    if found is None:
        return Text(NOTHING)
    sets = found["sets"]
    clean, noise, minus = (sets[name] for name in ("clean", "gauss", "pca_minus"))
    lost = noise["psnr"] - minus["psnr"]
    same = lost >= DESTROYED.bound and minus["length"] <= clean["length"] / 2
    said = "as on the digits" if same else "it does not work here as on the digits"
    if settings.eps != cifar10.SETTINGS.eps:
        said = "not to be compared with digits at another radius"
    poor = (
        " Its reconstructions are poor to begin with."
        if clean["psnr"] < RECONSTRUCTS.bound
        else ""
    )
    order = sorted(ATTACKS, key=lambda name: sets[name]["psnr"])
    each = (f"{TITLES[name]} {sets[name]['psnr']:.1f}" for name in order)
    return Text(
        "A wider autoencoder of 1,000 images of CIFAR-10, 64 latent numbers, one seed, from a "
        f"record, attacked at {cifar10.SETTINGS.eps:g}/255: reconstructions have "
        f"{clean['psnr']:.1f} dB, under noise {noise['psnr']:.1f}, under PCA− "
        f"{minus['psnr']:.1f} and through the decoder {sets['decoded']['psnr']:.1f}; "
        f"the mean keeps {minus['length'] / clean['length']:.0%} of its length, and its mean "
        f"squared distance from the mean of all falls from {clean['scatter']:.0f} to "
        f"{minus['scatter']:.0f}: {said}.{poor} All attacks, from the one that takes most: "
        f"{', '.join(each)}."
    )
