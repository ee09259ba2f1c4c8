"""Perturbations of images: PGD, the inner maximisation of TRADES, Gaussian noise.

Sizes are in image units, [0, 1]: eps 8/255 is `eps=8 / 255`. A model is any callable from
images to logits. A `torch.nn.Module` is attacked in eval mode and left as it was: its modes,
gradients and BatchNorm statistics do not change. Any other callable is called as it is, so
`pgd(model.forward, ...)` attacks a module in whatever mode it is in.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from rnc.models import frozen

Model = Callable[[Tensor], Tensor]


def margin(logits: Tensor, y: Tensor) -> Tensor:
    """The largest other logit minus that of the label: above 0 where a point is misclassified.

    The loss of Carlini and Wagner (2017). Unlike that of the cross-entropy, its gradient does
    not vanish where a network is sure of itself, and its direction does not depend on the scale
    of the logits.

    Args:
        logits: N x K; y: labels, N.

    Returns:
        N margins.
    """
    label = y[:, None]
    return logits.scatter(1, label, -torch.inf).amax(1) - logits.gather(1, label).squeeze(1)


LOSSES = {  # by name, N x K logits and N labels to N losses
    "cross_entropy": lambda logits, y: F.cross_entropy(logits, y, reduction="none"),
    "margin": margin,
}


def pgd(
    model: Model,
    x: Tensor,
    y: Tensor,
    *,
    eps: float,
    alpha: float,
    steps: int,
    norm: str = "linf",
    loss: str = "cross_entropy",
    targeted: bool = False,
    random_start: bool = True,
    generator: Generator | None = None,
    check: bool = True,
) -> Tensor:
    """Projected gradient descent (Madry et al. 2018).

    Args:
        model: from images to logits, N x K.
        x: images, N x C x H x W, in [0, 1].
        y: labels to move away from or, if `targeted`, to move to; N.
        eps, alpha: radius and step, in image units; `eps` 0 gives back x.
        steps: number of steps.
        norm: "linf" or "l2"; an l2 step has length alpha.
        loss: "cross_entropy" or "margin"; see `margin`.
        targeted: minimise the loss instead of maximising it.
        random_start: start at a random point of the ball, not at x.
        generator: source of the random start, on the device of x.
        check: look whether x is in [0, 1]; on a GPU that waits for it, which a training
            loop, whose images are, need not do.

    Returns:
        Perturbed images: in [0, 1], at most `eps` from x.

    Raises:
        ValueError: a size, the norm, the loss or the range of x is not allowed.
    """
    _check(x if check else None, eps, alpha, steps, norm)
    if loss not in LOSSES:
        raise ValueError(f"loss must be one of {', '.join(LOSSES)}; got {loss!r}")
    project = _projection(x, eps, norm)
    start = project(x + _uniform(x, eps, norm, generator)) if random_start else x
    sign = -1 if targeted else 1

    def ascended(adversarial: Tensor) -> Tensor:
        return sign * LOSSES[loss](model(adversarial), y).sum()

    with frozen(model) if isinstance(model, nn.Module) else nullcontext():
        return _ascend(ascended, start, project, eps, alpha, steps, norm)


def trades_perturbation(
    model: Model,
    x: Tensor,
    *,
    eps: float,
    alpha: float,
    steps: int,
    norm: str = "linf",
    generator: Generator | None = None,
    check: bool = True,
) -> Tensor:
    """The inner maximisation of TRADES (Zhang et al. 2019): no labels, KL to the clean output.

    It starts at Gaussian noise of standard deviation 0.001 and ascends
    KL(model(x) || model(adversarial)). Arguments, result and errors as in `pgd`.
    """
    _check(x if check else None, eps, alpha, steps, norm)
    noise = 0.001 * torch.randn(x.shape, generator=generator, device=x.device)
    project = _projection(x, eps, norm)
    start = project(x + noise)
    with frozen(model) if isinstance(model, nn.Module) else nullcontext():
        with torch.no_grad():
            clean = F.softmax(model(x), dim=1)

        def loss(adversarial: Tensor) -> Tensor:
            return F.kl_div(F.log_softmax(model(adversarial), dim=1), clean, reduction="sum")

        return _ascend(loss, start, project, eps, alpha, steps, norm)


def maximise(
    objective: Callable[[Tensor], Tensor],
    x: Tensor,
    *,
    eps: float,
    alpha: float,
    steps: int,
    norm: str = "linf",
    start: Tensor | None = None,
) -> Tensor:
    """Projected gradient ascent on any objective of images.

    Args:
        objective: from images to one number; a sum over images, so that each goes its own way.
        start: where to start, within the ball or not; by default at x.
        x, eps, alpha, steps, norm: as in `pgd`, and so are result and errors.
    """
    _check(x, eps, alpha, steps, norm)
    project = _projection(x, eps, norm)
    start = x if start is None else project(start)
    return _ascend(objective, start, project, eps, alpha, steps, norm)


def gaussian(
    x: Tensor, *, eps: float, norm: str = "linf", generator: Generator | None = None
) -> Tensor:
    """Images with Gaussian noise of an attack's size, clipped to [0, 1].

    Args:
        x: images, N x C x H x W, in [0, 1].
        eps: for "linf" the standard deviation of each pixel's noise; for "l2" the length of
            each image's noise; in image units.
        norm: "linf" or "l2".
        generator: source of the noise, on the device of x.
    """
    _check(x, eps, 0, 1, norm)
    noise = torch.randn(x.shape, generator=generator, device=x.device)
    if norm == "l2":
        noise = noise / _lengths(noise)
    return (x + eps * noise).clamp(0, 1)


def _ascend(loss, start: Tensor, project, eps, alpha, steps, norm) -> Tensor:
    adversarial = start.detach()
    for _ in range(steps if eps > 0 else 0):
        adversarial.requires_grad_()
        with torch.enable_grad():
            # only the gradient of the input: the weights' would cost a third more
            (gradient,) = torch.autograd.grad(loss(adversarial), adversarial)
        step = gradient.sign() if norm == "linf" else gradient / _lengths(gradient)
        adversarial = project(adversarial.detach() + alpha * step)
    return adversarial


def _projection(x: Tensor, eps: float, norm: str) -> Callable[[Tensor], Tensor]:
    """Onto the ball around x and the range of pixels."""
    if norm == "linf":
        low, high = (x - eps).clamp_min(0), (x + eps).clamp_max(1)
        return lambda adversarial: torch.clamp(adversarial, low, high)

    def project(adversarial: Tensor) -> Tensor:
        delta = adversarial - x
        return (x + delta * (eps / _lengths(delta)).clamp_max(1)).clamp(0, 1)

    return project


def _uniform(x: Tensor, eps: float, norm: str, generator: Generator | None) -> Tensor:
    if norm == "linf":
        return eps * (2 * torch.rand(x.shape, generator=generator, device=x.device) - 1)
    # a uniform direction and a uniform length, as in the reference code
    direction = torch.randn(x.shape, generator=generator, device=x.device)
    length = torch.rand(x.shape[0], generator=generator, device=x.device)
    return eps * length.view(-1, *[1] * (x.dim() - 1)) * direction / _lengths(direction)


def _lengths(x: Tensor) -> Tensor:
    """Euclidean length of each sample, never 0, in a shape that divides x."""
    return x.flatten(1).norm(dim=1).clamp_min(1e-12).view(-1, *[1] * (x.dim() - 1))


def _check(x: Tensor | None, eps: float, alpha: float, steps: int, norm: str) -> None:
    if norm not in ("linf", "l2"):
        raise ValueError(f"norm must be 'linf' or 'l2'; got {norm!r}")
    if eps < 0 or alpha < 0:
        raise ValueError(f"eps and alpha must not be negative; got {eps!r} and {alpha!r}")
    if steps < 1:
        raise ValueError(f"steps must be at least 1; got {steps!r}")
    if x is None:
        return
    low, high = torch.aminmax(x)
    if low < 0 or high > 1:
        raise ValueError(f"images must be in [0, 1]; got [{low:.3g}, {high:.3g}]")
