"""PGD against foolbox step by step, and what every attack must respect."""

import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from rnc import gaussian, pgd, trades_perturbation
from rnc.attacks import LOSSES, margin
from rnc.models import VGG11

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of a library that still uses pkg_resources
    import foolbox


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    model = VGG11(10, width=4, mean=(0.4,) * 3, std=(0.3,) * 3)
    x = torch.rand(64, 3, 16, 16)
    for _ in range(5):  # so that running statistics are not the initial ones
        model(x)
    return model.double().eval()


@pytest.fixture(scope="module")
def batch():
    g = torch.Generator().manual_seed(1)
    x = torch.rand(6, 3, 16, 16, generator=g, dtype=torch.float64)
    return x, torch.arange(6)


@pytest.mark.parametrize("steps", [1, 2, 3, 7])
@pytest.mark.parametrize("targeted", [False, True])
@pytest.mark.parametrize(("norm", "eps", "alpha"), [("linf", 0.05, 0.02), ("l2", 0.8, 0.3)])
def test_every_step_agrees_with_foolbox(model, batch, norm, eps, alpha, steps, targeted):
    x, y = batch
    library = {
        "linf": foolbox.attacks.LinfProjectedGradientDescentAttack,
        "l2": foolbox.attacks.L2ProjectedGradientDescentAttack,
    }[norm](abs_stepsize=alpha, steps=steps, random_start=False)
    criterion = (
        foolbox.criteria.TargetedMisclassification
        if targeted
        else foolbox.criteria.Misclassification
    )(y)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = library.run(
            foolbox.PyTorchModel(model, bounds=(0, 1), device="cpu"), x, criterion, epsilon=eps
        )
    mine = pgd(
        model,
        x,
        y,
        eps=eps,
        alpha=alpha,
        steps=steps,
        norm=norm,
        targeted=targeted,
        random_start=False,
    )
    assert torch.allclose(mine, theirs, atol=1e-6, rtol=0)


attack_settings = given(
    norm=st.sampled_from(["linf", "l2"]),
    eps=st.floats(0, 2),
    alpha=st.floats(0, 2),
    steps=st.integers(1, 3),
    loss=st.sampled_from(list(LOSSES)),
    targeted=st.booleans(),
    seed=st.integers(0, 1000),
)


@attack_settings
@settings(max_examples=30, deadline=None)
def test_pgd_stays_in_the_ball_and_in_the_range(
    model, batch, norm, eps, alpha, steps, loss, targeted, seed
):
    x, y = batch
    g = torch.Generator().manual_seed(seed)
    size = {"eps": eps, "alpha": alpha, "steps": steps, "norm": norm}
    out = pgd(model, x, y, **size, loss=loss, targeted=targeted, generator=g)
    _assert_near(out, x, eps, norm)


@given(norm=st.sampled_from(["linf", "l2"]), eps=st.floats(0, 2), seed=st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_trades_stays_in_the_ball_and_in_the_range(model, batch, norm, eps, seed):
    x, _ = batch
    g = torch.Generator().manual_seed(seed)
    out = trades_perturbation(model, x, eps=eps, alpha=eps / 2, steps=2, norm=norm, generator=g)
    _assert_near(out, x, eps, norm)


def _assert_near(out, x, eps, norm):
    assert out.min() >= 0
    assert out.max() <= 1
    order = float("inf") if norm == "linf" else 2
    assert (out - x).flatten(1).norm(order, dim=1).max() <= eps * (1 + 1e-9) + 1e-12


@pytest.mark.parametrize("attack", ["pgd", "trades"])
@pytest.mark.parametrize("training", [True, False])
def test_a_module_is_left_as_it_was(batch, attack, training):
    torch.manual_seed(0)
    model = VGG11(10, width=2).double().train(training)
    model.conv3.eval()  # a mode of a part, too
    model(batch[0]).sum().backward()
    state = {n: t.clone() for n, t in model.state_dict().items()}
    gradients = [p.grad.clone() for p in model.parameters()]
    modes = [m.training for m in model.modules()]
    size = {"eps": 0.1, "alpha": 0.05, "steps": 2}
    if attack == "pgd":
        pgd(model, *batch, **size)
    else:
        trades_perturbation(model, batch[0], **size)
    assert all(torch.equal(t, state[n]) for n, t in model.state_dict().items())
    assert all(torch.equal(p.grad, g) for p, g in zip(model.parameters(), gradients, strict=True))
    assert [m.training for m in model.modules()] == modes


def test_modes_are_put_back_when_the_attack_fails(batch):
    model = nn.Sequential(nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(5, 2)).double()
    with pytest.raises(RuntimeError):
        pgd(model, *batch, eps=0.1, alpha=0.1, steps=1)
    assert model.training


def test_the_attack_raises_the_loss_and_the_targeted_one_lowers_it(model, batch):
    x, y = batch
    size = {"eps": 0.05, "alpha": 0.01, "steps": 10, "random_start": False}
    before = F.cross_entropy(model(x), y)
    assert F.cross_entropy(model(pgd(model, x, y, **size)), y) > before
    assert F.cross_entropy(model(pgd(model, x, y, targeted=True, **size)), y) < before


def test_any_callable_can_be_attacked(batch):
    weight = torch.randn(10, 768, dtype=torch.float64)
    out = pgd(
        lambda x: x.flatten(1) @ weight.T, *batch, eps=0.1, alpha=0.1, steps=1, random_start=False
    )
    assert not torch.equal(out, batch[0])


def test_a_generator_decides_the_start(model, batch):
    def attack(seed):
        g = torch.Generator().manual_seed(seed)
        return pgd(model, *batch, eps=0.1, alpha=0.0, steps=1, generator=g)

    assert torch.equal(attack(1), attack(1))
    assert not torch.equal(attack(1), attack(2))


def test_radius_zero_is_the_clean_image(model, batch):
    x, y = batch
    assert torch.equal(pgd(model, x, y, eps=0, alpha=0.1, steps=3), x)
    assert torch.equal(gaussian(x, eps=0), x)


def test_trades_climbs_the_divergence_from_the_clean_output(model, batch):
    x, _ = batch

    def divergence(adversarial):
        p, q = model(x).softmax(1), model(adversarial).softmax(1)
        return (p * (p.log() - q.log())).sum()

    out = trades_perturbation(model, x, eps=0.05, alpha=0.01, steps=5)
    noisy = (x + 0.001 * torch.randn_like(x)).clamp(0, 1)
    assert divergence(out) > 10 * divergence(noisy)


def test_the_margin_is_above_zero_where_a_point_is_misclassified(generator):
    logits = torch.randn(200, 5, dtype=torch.float64, generator=generator)
    y = torch.randint(5, (200,), generator=generator)
    by_hand = [
        max(z for c, z in enumerate(row) if c != label) - row[label]
        for row, label in zip(logits.tolist(), y.tolist(), strict=True)
    ]
    assert margin(logits, y).tolist() == by_hand
    assert torch.equal(margin(logits, y) > 0, logits.argmax(1) != y)


@pytest.mark.parametrize("targeted", [False, True])
def test_a_step_on_the_margin_of_a_linear_model_is_known(targeted):
    """Up from the weights of the label to those of the largest other logit."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 3)).double()
    x, y = 0.4 + 0.2 * torch.rand(5, 3, 2, 2, dtype=torch.float64), torch.arange(5) % 3
    logits, weight = model(x), model[1].weight
    other = torch.stack(
        [row.index_fill(0, c, -1e9) for row, c in zip(logits, y, strict=True)]
    ).argmax(1)
    direction = (weight[other] - weight[y]).sign().view_as(x) * (-1 if targeted else 1)
    out = pgd(
        model, x, y, eps=0.1, alpha=0.03, steps=1, loss="margin", targeted=targeted,
        random_start=False,
    )  # fmt: skip
    assert torch.allclose(out, x + 0.03 * direction, atol=1e-12, rtol=0)


def test_noise_has_the_size_of_the_attack():
    x = torch.full((200, 3, 16, 16), 0.5)
    g = torch.Generator().manual_seed(0)
    linf = gaussian(x, eps=0.03, norm="linf", generator=g) - x
    assert linf.std() == pytest.approx(0.03, rel=0.01)
    l2 = (gaussian(x, eps=0.5, norm="l2", generator=g) - x).flatten(1).norm(dim=1)
    assert torch.allclose(l2, torch.full((200,), 0.5), rtol=1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"norm": "l3"}, "norm must be 'linf' or 'l2'; got 'l3'"),
        ({"eps": -1}, "must not be negative; got -1"),
        ({"steps": 0}, "steps must be at least 1; got 0"),
        ({"loss": "hinge"}, "loss must be one of cross_entropy, margin; got 'hinge'"),
        ({"x": torch.full((6, 3, 16, 16), 2.0)}, r"images must be in \[0, 1\]; got \[2, 2\]"),
    ],
)
def test_bad_input_is_named(model, batch, change, message):
    arguments = {"x": batch[0], "y": batch[1], "eps": 0.1, "alpha": 0.1, "steps": 1} | change
    with pytest.raises(ValueError, match=message):
        pgd(model, **arguments)
