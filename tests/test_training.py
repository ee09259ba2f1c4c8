"""What makes each objective that objective, and what makes a training repeatable."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Generator
from torch.nn import functional as F

from rnc import progress
from rnc.attacks import pgd, trades_perturbation
from rnc.study import data
from rnc.study.methods import METHODS, divergence
from rnc.study.settings import Study
from rnc.study.step import autocast
from rnc.study.training import Diverged, build, reproducible, train


@pytest.fixture(scope="module")
def images():
    return data.load("digits", per_class=20)


def prepared(images, method):
    """A model in train mode, a batch, and the training's settings."""
    training = Study.of(width=2, epochs=2).training(method)
    model = build(training, images).train()
    return training, model, images.x[::10], images.y[::10]


def objective(training, model, x, y, generator):
    size = training.attack.size if training.attack else {}
    drawn = training.method.draw([len(y)], training.mixing, Generator().manual_seed(1))
    return training.method.objective(model, x, y, size, training.beta, generator, *drawn)


def updates(model):
    """How many batches the first BatchNorm has averaged."""
    return int(model.conv1.bn.num_batches_tracked)


def test_standard_training_is_cross_entropy_on_clean_images(images):
    training, model, x, y = prepared(images, "st")
    loss, logits = objective(training, model, x, y, Generator())
    assert torch.equal(loss, F.cross_entropy(logits, y))
    assert torch.equal(logits, model(x))


def test_adversarial_training_is_cross_entropy_on_images_attacked_in_train_mode(images):
    training, model, x, y = prepared(images, "at")
    loss, logits = objective(training, model, x, y, Generator().manual_seed(3))
    fresh = prepared(images, "at")[1]
    attacked = pgd(  # a function is attacked in the mode that its network is in
        fresh.forward, x, y, generator=Generator().manual_seed(3), **training.attack.size
    )
    expected = fresh(attacked)
    assert torch.equal(logits, expected)
    assert torch.equal(loss, F.cross_entropy(expected, y))
    assert not torch.equal(attacked, x)
    # the attack's iterates enter the statistics, and so does the batch that is trained on
    assert training.attack.steps == 5
    assert updates(model) == 5 + 1
    assert model.training


def test_frozen_at_stays_in_eval_mode_and_never_updates_statistics(images):
    training, model, x, y = prepared(images, "at-frozen")
    loss, logits = objective(training, model, x, y, Generator().manual_seed(3))
    assert not model.training
    fresh = prepared(images, "at-frozen")[1].eval()
    attacked = pgd(fresh, x, y, generator=Generator().manual_seed(3), **training.attack.size)
    assert torch.equal(logits, fresh(attacked))
    assert torch.equal(loss, F.cross_entropy(logits, y))
    assert int(train(training, images).model["conv1.bn.num_batches_tracked"]) == 0


def trades_loss(clean, adversarial, y, beta):
    """Cross-entropy + beta KL(clean || adversarial), written out."""
    p, q = clean.log_softmax(1), adversarial.log_softmax(1)
    divergence = (p.exp() * (p - q)).sum(1).mean()
    return -p[torch.arange(len(y)), y].mean() + beta * divergence


def test_official_trades_attacks_in_eval_mode_and_updates_in_train_mode(images):
    training, model, x, y = prepared(images, "trades")
    loss, _ = objective(training, model, x, y, Generator().manual_seed(3))
    assert model.training
    assert updates(model) == 2  # the clean and the attacked batch, not the attack's iterates
    fresh = prepared(images, "trades")[1]
    attacked = trades_perturbation(
        fresh, x, generator=Generator().manual_seed(3), **training.attack.size
    )
    clean = fresh(x)
    expected = trades_loss(clean, fresh(attacked), y, beta=6)
    assert torch.allclose(loss, expected, rtol=1e-5)


def test_the_divergence_is_that_of_the_definition(generator):
    clean, adversarial = (4 * torch.randn(7, 5, generator=generator).double() for _ in range(2))
    p, q = clean.softmax(1), adversarial.softmax(1)
    expected = (p * (p.log() - q.log())).sum(1).mean()
    assert torch.allclose(divergence(clean, adversarial), expected, rtol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_divergence_has_a_gradient_where_a_probability_underflows(dtype):
    """Logits so far apart that softmax gives an exact 0, as late in a training they are."""
    clean = torch.tensor([[0.0, -120.0, 3.0]], dtype=dtype, requires_grad=True)
    adversarial = torch.tensor([[0.0, -150.0, 1.0]], dtype=dtype, requires_grad=True)
    assert clean.softmax(1)[0, 1] == 0
    divergence(clean, adversarial).backward()
    p, q = (t.detach().double().softmax(1) for t in (clean, adversarial))
    assert clean.grad.isfinite().all()
    assert torch.allclose(adversarial.grad.double(), q - p, atol=1e-2)  # its closed form


def test_frozen_trades_stays_in_eval_mode_and_never_updates_statistics(images):
    training, model, x, y = prepared(images, "trades-frozen")
    loss, _ = objective(training, model, x, y, Generator().manual_seed(3))
    assert not model.training
    fresh = prepared(images, "trades-frozen")[1]
    attacked = trades_perturbation(
        fresh, x, generator=Generator().manual_seed(3), **training.attack.size
    )
    fresh.eval()
    expected = trades_loss(fresh(x), fresh(attacked), y, beta=6)
    assert torch.allclose(loss, expected, rtol=1e-5)

    end = train(training, images).model
    assert int(end["conv1.bn.num_batches_tracked"]) == 0
    assert end["conv1.bn.running_mean"].eq(0).all()
    assert end["conv1.bn.running_var"].eq(1).all()


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("method", METHODS)
def test_the_loss_reaches_every_weight(images, method, precision):
    training, model, x, y = prepared(images, method)
    with autocast(precision, x.device):  # whose cache of weights an attack has filled before
        loss, _ = objective(training, model, x, y, Generator())
    loss.backward()
    assert loss.dtype == torch.float32
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def same(a, b):
    return (
        a.epoch == b.epoch
        and a.history == b.history
        and all(torch.equal(t, b.model[n]) for n, t in a.model.items())
        and all(torch.equal(s, t) for s, t in zip(a.momentum, b.momentum, strict=True))
    )


@pytest.mark.parametrize("method", METHODS)
def test_training_twice_is_bitwise_the_same(images, tiny, method):
    training = tiny.training(method)
    assert same(train(training, images), train(training, images))


def test_threads_side_by_side_train_what_one_after_the_other_does(images, tiny):
    trainings = tiny.trainings(*METHODS)
    alone = [train(training, images) for training in trainings]
    with reproducible(images.y.device), ThreadPoolExecutor(len(trainings)) as pool:
        together = list(pool.map(lambda training: train(training, images), trainings))
    assert all(map(same, together, alone))


def test_a_budget_is_of_its_thread():
    with progress.until(0), ThreadPoolExecutor(1) as pool:
        assert progress.seconds_left() < 0
        assert pool.submit(progress.seconds_left).result() == float("inf")


def test_another_seed_is_another_network(images, tiny):
    one, two = (train(tiny.training("st", seed=seed), images) for seed in (0, 1))
    assert not torch.equal(one.model["classifier.weight"], two.model["classifier.weight"])


@pytest.mark.parametrize("method", METHODS)
def test_going_on_from_any_checkpoint_ends_the_same(images, tiny, method):
    training = tiny.training(method)
    kept = []
    whole = train(training, images, on_checkpoint=kept.append, checkpoint_seconds=0)
    assert [c.epoch for c in kept] == [1, 2, 3]
    for checkpoint in kept:
        assert same(train(training, images, checkpoint), whole)


def test_training_learns(images):
    history = train(Study.of(width=4, epochs=6).training("st"), images).history
    assert history[-1]["accuracy"] > 0.6 > history[0]["accuracy"]


def test_divergence_names_the_epoch_and_the_loss(images, tiny):
    training = replace(tiny.training("st"), lr=1e9)
    with pytest.raises(Diverged, match=r"ST diverged in epoch \d: loss (nan|inf)"):
        train(training, images)


def test_the_callers_threads_and_determinism_are_put_back():
    torch.set_num_threads(2)
    with reproducible(torch.device("cpu")):
        assert torch.get_num_threads() == 1
        assert torch.are_deterministic_algorithms_enabled()
    assert torch.get_num_threads() == 2
    assert not torch.are_deterministic_algorithms_enabled()


def test_after_a_resume_momentum_lies_in_memory_as_its_weights_do(images, tiny, monkeypatch):
    """Otherwise every later step is slow, and the fused one of a GPU refuses."""
    training, kept, seen = tiny.training("st"), [], []
    train(training, images, on_checkpoint=kept.append, checkpoint_seconds=0)
    # as they come from a file: contiguous
    start = replace(kept[0], momentum=[m.contiguous() for m in kept[0].momentum])
    step = torch.optim.SGD.step

    def looked(optimiser, *arguments):
        seen.append(
            all(p.stride() == s["momentum_buffer"].stride() for p, s in optimiser.state.items())
        )
        return step(optimiser, *arguments)

    monkeypatch.setattr(torch.optim.SGD, "step", looked)
    train(training, images, start)
    assert all(seen)
    assert any(m.dim() == 4 and m.shape[1] > 1 for m in start.momentum)


def test_a_budget_stops_between_epochs_and_keeps_a_checkpoint(images, tiny, monkeypatch):
    training, kept = replace(tiny.training("st"), epochs=5), []
    clock = iter(range(100))
    monkeypatch.setattr(progress.time, "time", lambda: next(clock))
    with progress.until(2.5), pytest.raises(progress.OutOfTime, match="ST, seed 0: epoch 3 of 5"):
        train(training, images, on_checkpoint=kept.append, checkpoint_seconds=1e9)
    assert [checkpoint.epoch for checkpoint in kept] == [3]
    assert same(train(training, images, kept[0]), train(training, images))


def test_images_of_one_channel_are_said_before_any_training(tmp_path):
    x, y = np.zeros((20, 16, 16), np.uint8), np.repeat(np.arange(2), 10)
    np.savez(tmp_path / "grey.npz", x=x, y=y, x_test=x, y_test=y)
    study = Study.of(dataset=f"npz:{tmp_path / 'grey.npz'}")
    images = data.load(study.base.dataset)
    with pytest.raises(data.DataError, match=r"images must have 3 channels .*grey.npz have 1"):
        build(study.training("st"), images)
