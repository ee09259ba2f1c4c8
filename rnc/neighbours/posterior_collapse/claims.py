"""The claims of Guo et al. (2025) as testable statements, and ours on what their loss does.

Bounds were chosen from the words before values were looked at: *at most half* for what is taken
away, a tenth for what collapses, .3 dB for two images of the same quality and 5 dB for a destroyed
one, .05 for two shares that are the same. What is destroyed is compared with noise of the attack's
size, and an edit with that of another image of the class.
"""

from __future__ import annotations

import functools

from rnc.neighbours.neighbour import Seed, claim
from rnc.study.claims import Condition, Value, constant, less, ratio

RIVALS = {"zero": "descent to 0", "grey": "descent to grey", "away": "a latent shift"}


def _of(seed: Seed, experiment: str) -> dict:
    return seed[experiment][seed["number"]]


def _sets(name: str, measure: str) -> Value:
    return lambda seed: _of(seed, "perturbations")["sets"][name][measure]


def _over_clean(name: str, measure: str) -> Value:
    return ratio(_sets(name, measure), _sets("clean", measure))


def _edit(name: str, edit: str, measure: str) -> Value:
    """Of an edit; `strength` stands for diffusion at that of the settings."""
    return lambda seed: _of(seed, "edits")["sets"][name][_edit_name(seed, edit)][measure]


def _edit_name(seed: Seed, edit: str) -> str:
    return edit if edit == "shift" else _of(seed, "edits")["strength"]


def _stranger(edit: str) -> Value:
    return lambda seed: _of(seed, "edits")["stranger"][_edit_name(seed, edit)]


def _lost(by: str) -> Value:
    """dB beyond noise that PCA- takes, made on the `own` autoencoder or the `other`."""

    def value(seed: Seed) -> float:
        found = _of(seed, "transfer")
        return found["gauss"] - found["pca_minus"][by]

    return value


def _signs(seed: Seed) -> float:
    return _of(seed, "losses")["signs"][-1]


def _own_over_floor(seed: Seed) -> float:
    found = _of(seed, "perturbations")
    return found["sets"]["pca_minus"]["ncc_own"] - found["floor"]["ncc_own"]


def _rivals_judged(seed: Seed) -> float:
    return min(_sets(name, "judged")(seed) for name in RIVALS)


_claim = functools.partial(claim, "14_posterior_collapse")
_psnr = functools.partial(_sets, measure="psnr")
RECONSTRUCTS = Condition("PSNR of a clean reconstruction", _psnr("clean"), ">=", 25)
DESTROYED = Condition(
    "PSNR under noise − under PCA−", less(_psnr("gauss"), _psnr("pca_minus")), ">=", 5
)
EDITS = {"shift": "class shift", "strength": "diffusion"}


def _edits_work(edit: str) -> Condition:
    what = f"{EDITS[edit]}: clean edits taken for the target"
    return Condition(what, _edit("clean", edit, "target"), ">=", 0.5)


def _target(name: str, edit: str) -> Condition:
    return Condition(
        f"{EDITS[edit]}: taken for the target, over clean",
        ratio(_edit(name, edit, "target"), _edit("clean", edit, "target")),
        "<=",
        0.5,
        constant(1.0),
    )


CLAIMS = (
    _claim(
        "G1",
        "the posterior mean goes to 0",
        "PCA− concentrates the posterior mean at 0.",
        "Guo et al., concentration collapse",
        Condition(
            "length of the mean, over clean",
            _over_clean("pca_minus", "length"),
            "<=",
            0.5,
            _over_clean("gauss", "length"),
        ),
    ),
    _claim(
        "G2",
        "the reconstruction is destroyed",
        "PCA− destroys the reconstruction, and does not merely make it noisy.",
        "Guo et al., figures",
        DESTROYED,
        premises=(RECONSTRUCTS,),
    ),
    _claim(
        "G3",
        "descent is what destroys",
        "Of both directions of the loss it is descent that destroys.",
        "Guo et al., objectives 1 and 2",
        Condition("PSNR: PCA− − its ascent", less(_psnr("pca_minus"), _psnr("minus_up")), "<=", 0),
        Condition("PSNR: PCA− − PCA+", less(_psnr("pca_minus"), _psnr("pca_plus")), "<=", 0),
        premises=(RECONSTRUCTS, DESTROYED),
    ),
    _claim(
        "G4",
        "a posterior collapse",
        "The posterior of an attacked image collapses to the prior.",
        "Guo et al., title",
        Condition("KL to the prior, over clean", _over_clean("pca_minus", "kl"), "<=", 0.1),
    ),
    _claim(
        "G5",
        "the edit is another one",
        "The edit of a protected image is far from that of the image: no nearer than that of "
        "another image of the class.",
        "Guo et al., objective 2",
        *(
            Condition(
                f"{words}: PSNR to the clean edit − a stranger's",
                less(_edit("pca_minus", edit, "clean_edit"), _stranger(edit)),
                "<=",
                0,
            )
            for edit, words in EDITS.items()
        ),
        premises=tuple(map(_edits_work, EDITS)),
    ),
    _claim(
        "G6",
        "editing is prevented",
        "A protected image cannot be edited: it becomes the target at most half as often.",
        "Guo et al., abstract",
        *(_target("pca_minus", edit) for edit in EDITS),
        premises=tuple(map(_edits_work, EDITS)),
    ),
    _claim(
        "G7",
        "PCA+ keeps the original",
        "After PCA+ the edit stays with the original.",
        "Guo et al., objective 1",
        *(_target("pca_plus", edit) for edit in EDITS),
        *(
            Condition(
                f"{words}: PSNR of the edit to the original, PCA+ − clean",
                less(_edit("pca_plus", edit, "original"), _edit("clean", edit, "original")),
                ">=",
                0,
            )
            for edit, words in EDITS.items()
        ),
        premises=tuple(map(_edits_work, EDITS)),
    ),
    _claim(
        "G8",
        "better than earlier protections",
        "PCA− destroys more than earlier attacks on the encoder.",
        "Guo et al., comparison",
        *(
            Condition(f"PSNR: PCA− − {words}", less(_psnr("pca_minus"), _psnr(name)), "<=", -0.3)
            for name, words in RIVALS.items()
        ),
        Condition(
            "still taken for its class: PCA− − the least of these",
            less(_sets("pca_minus", "judged"), _rivals_judged),
            "<=",
            -0.05,
        ),
        premises=(RECONSTRUCTS,),
    ),
    _claim(
        "G9",
        "it transfers",
        "An attack made on one autoencoder destroys the reconstruction of another.",
        "Guo et al., abstract",
        Condition(
            "share of the loss beyond noise that carries over",
            ratio(_lost("other"), _lost("own")),
            ">=",
            0.5,
        ),
        premises=(Condition("loss on its own autoencoder", _lost("own"), ">=", 5),),
    ),
    _claim(
        "G10",
        "all classes go to one point",
        "Posterior means of all classes go to one point, and nothing is left of their order.",
        "ours",
        Condition("Tr Σ_B, over clean", _over_clean("pca_minus", "between"), "<=", 0.1),
        Condition("NCC with own centres − that of random points", _own_over_floor, "<=", 0.05),
        premises=(
            Condition(
                "clean NCC with own centres, over that of random points",
                lambda seed: (
                    _sets("clean", "ncc_own")(seed)
                    / _of(seed, "perturbations")["floor"]["ncc_own"]
                ),
                ">=",
                1.5,
            ),
        ),
    ),
    _claim(
        "G11",
        "an earlier attack under another name",
        "PCA− is PhotoGuard's attack on the encoder with target 0.",
        "ours",
        Condition(
            "signs of the gradient that agree", _signs, ">=", 0.99, constant(0.5), neutral=1
        ),
        Condition(
            "PSNR: |PCA− − descent to 0|",
            lambda seed: abs(less(_psnr("pca_minus"), _psnr("zero"))(seed)),
            "<=",
            0.3,
        ),
    ),
)
