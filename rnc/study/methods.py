"""Training methods: each says what a batch is perturbed by, and what loss is minimised.

A new method is one more entry of METHODS.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from rnc.attacks import pgd, trades_perturbation

Loss = tuple[Tensor, Tensor]  # the mean loss with its graph, and the logits that are trained on


def cross_entropy(
    model: nn.Module, x: Tensor, adversarial: Tensor, y: Tensor, beta: float
) -> Loss:
    """Of what the network makes of the perturbed images; for ST they are the clean ones."""
    logits = model(adversarial)
    return F.cross_entropy(logits, y), logits


def trades(model: nn.Module, x: Tensor, adversarial: Tensor, y: Tensor, beta: float) -> Loss:
    """Cross-entropy on x + beta * KL(model(x) || model(adversarial)) (Zhang et al. 2019)."""
    clean, logits = model(x), model(adversarial)
    return F.cross_entropy(clean, y) + beta * divergence(clean, logits), logits


def divergence(clean: Tensor, adversarial: Tensor) -> Tensor:
    """KL(softmax(clean) || softmax(adversarial)) of logits N x K, mean over points.

    Both sides stay in log space. With the probabilities themselves, as the official and the
    reference code have it, the gradient takes the logarithm of a probability that underflows to
    0 once logits are some 104 apart, and the loss of every later step is nan.
    """
    log_p, log_q = F.log_softmax(clean, dim=1), F.log_softmax(adversarial, dim=1)
    return F.kl_div(log_q, log_p, reduction="batchmean", log_target=True)


def label_free(model: Callable, x: Tensor, y: Tensor, **attack) -> Tensor:
    """The inner maximisation of TRADES in the form of `pgd`."""
    return trades_perturbation(model, x, **attack)


@dataclass(frozen=True)
class Method:
    """How a network is trained.

    Attributes:
        name: in settings, on the command line and in the names of files.
        title: in tables and figures.
        colour: in figures; of the palette of Okabe and Ito.
        perturb: finds the perturbed images of a batch, as `rnc.pgd` does; None: they are the
            clean ones.
        loss: from model, clean and perturbed images, labels and beta to the loss and logits.
        batchnorm: mode of BatchNorm while a batch is perturbed: "train" (running statistics
            absorb the attack's iterates), "eval" (then back to train mode), "frozen" (eval mode
            and never back: BatchNorm keeps its initial statistics, mean 0 and variance 1).
        passes: forward passes of one image in a step of training (a backward pass is two),
            without the attack's steps, of which each is two more.
        etf: whether the classifier is a fixed simplex, `rnc.simplex_etf`, without bias.
    """

    name: str
    title: str
    colour: str
    perturb: Callable[..., Tensor] | None = None
    loss: Callable[..., Loss] = cross_entropy
    batchnorm: str = "train"
    passes: int = 3
    etf: bool = False

    def draw(self, batches: list[int], mixing: float, generator: Generator) -> tuple[Tensor, ...]:
        """What chance decides of an epoch before it begins, so that no batch waits for it.

        Args:
            batches: their sizes, in order; together N.
            mixing: alpha of mixup; other methods leave it alone.
            generator: of the CPU.

        Returns:
            For each argument that `objective` takes at its end, N numbers, one for each image.
        """
        return ()

    def objective(
        self,
        model: nn.Module,
        x: Tensor,
        y: Tensor,
        attack: dict,
        beta: float,
        generator: Generator,
        *drawn: Tensor,
    ) -> Loss:
        """The loss of one batch and the logits that it is trained on; nothing in it waits for a
        GPU.

        Args:
            model: in train mode; left in train mode unless `batchnorm` is "frozen".
            x, y: images N x C x H x W in [0, 1] and labels N.
            attack: keyword arguments of `rnc.pgd`: eps, alpha, steps, norm; in image units.
            beta: weight of the regulariser of TRADES.
            generator: randomness of the attack, on the device of x.
            drawn: the batch's part of what `draw` gave, on the device of x.
        """
        adversarial = x
        if self.perturb is not None:
            # a plain callable is attacked in the mode it is in, a module in eval mode
            victim = model.forward if self.batchnorm == "train" else model
            adversarial = self.perturb(victim, x, y, generator=generator, check=False, **attack)
        if self.batchnorm == "frozen":
            model.eval()
        return self.loss(model, x, adversarial, y, beta)


@dataclass(frozen=True)
class Mixup(Method):
    """Training on mixes of two images, and of their labels (Zhang et al. 2018).

    Attributes:
        fit: from logits and the probabilities of the classes, both N x K, to the mean loss.
    """

    fit: Callable[[Tensor, Tensor], Tensor] = F.cross_entropy

    def draw(self, batches, mixing, generator) -> tuple[Tensor, Tensor]:
        """One order of the partners of a batch, and one lambda ~ Beta(mixing, mixing) for it."""
        from scipy.special import betaincinv  # here, since it takes as long to import as the rest

        partners, shares = [], []
        for size in batches:
            u = float(torch.rand((), generator=generator))
            lam = float(betaincinv(mixing, mixing, u))
            # Which of two images is first is chance. With the larger share to it, y stays the
            # label of most of the mix, and accuracy means something.
            shares.append(torch.full((size,), max(lam, 1 - lam)))
            partners.append(torch.randperm(size, generator=generator))
        return torch.cat(partners), torch.cat(shares)

    def objective(self, model, x, y, attack, beta, generator, partner, share) -> Loss:
        """On mixes of each image with its partner; see `draw`."""
        lam = share[0]  # one for the batch
        logits = model(torch.lerp(x[partner], x, lam))
        # one-hot; torch's own looks for labels out of range, and waits for what it finds
        labels = (y[:, None] == torch.arange(logits.shape[1], device=y.device)).float()
        return self.fit(logits, torch.lerp(labels[partner], labels, lam)), logits


def squared_error(logits: Tensor, target: Tensor) -> Tensor:
    """Sum over classes, mean over points."""
    return (logits.float() - target).square().sum(1).mean()


ST = Method("st", "ST", "#0072B2")
# As in the reference code, attacked in train mode (Madry et al. 2018 do not say).
AT = Method("at", "AT", "#D55E00", pgd)
TRADES = Method("trades", "TRADES", "#009E73", label_free, trades, "eval", passes=7)
# The reference code's attack calls model.eval(), and nothing calls model.train() before the next
# epoch begins: from the first batch on BatchNorm normalises by its initial statistics.
TRADES_FROZEN = Method(
    "trades-frozen", "TRADES (frozen BN)", "#CC79A7", label_free, trades, "frozen", passes=7
)
# the missing cell of the audit's 2 x 2
AT_FROZEN = Method("at-frozen", "AT (frozen BN)", "#E69F00", pgd, batchnorm="frozen")

MIXUP = Mixup("mixup", "mixup", "#882255")
MIXUP_MSE = Mixup("mixup-mse", "mixup, squared error", "#999933", fit=squared_error)
MIXUP_ETF = Mixup("mixup-etf", "mixup, fixed simplex", "#44AA99", etf=True)

METHODS = {
    m.name: m for m in (ST, AT, TRADES, TRADES_FROZEN, AT_FROZEN, MIXUP, MIXUP_MSE, MIXUP_ETF)
}
