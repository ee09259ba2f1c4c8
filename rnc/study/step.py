"""One update of the weights: the same code run as it is, and on a GPU captured as a graph.

A step takes everything from tensors that stay in their place and leaves everything in such: the
order of an epoch and how far it has come are on the device, and nothing is read from it before
the epoch ends. So a GPU, which is given some thousand small kernels for a step, can be given all
of them at once, as a graph that was captured before (see `rnc.study.capture`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Generator, Tensor, nn

from rnc.study.data import Images, unit
from rnc.study.settings import Training


def autocast(precision: str, device: torch.device) -> torch.autocast:
    """The precision of a training's matrix products."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")


@dataclass
class State:
    """All that a step changes: copies.

    Attributes:
        weights, buffers, momentum: of the network and of SGD, in their order.
        at, sums: see `Step`.
        noise: state of the generator.
    """

    weights: list[Tensor]
    buffers: list[Tensor]
    momentum: list[Tensor]
    at: Tensor
    sums: Tensor
    noise: Tensor


class Step:
    """One update of the weights of one network.

    Args:
        training: the settings.
        model: the network; its tensors are changed and stay in their place.
        images: the data, on the device of the network; N of them.

    Attributes:
        batches: sizes of the batches of an epoch, in order; the last one may be smaller.
        order: of the images in this epoch, N.
        drawn: what the method drew for this epoch, each N; see `Method.draw`.
        at: how many images of the epoch are done; a number on the device.
        sums: over the images done, of the loss and of right predictions; 2.
        picked: by size of batch, which images the last one of that size had.
        noise: the generator of the attack; the step's own.
        run: makes an update from the next batch, of a size; `body`, or a graph of it.
        stream: of a GPU, on which it is captured; None: that of whoever calls.
    """

    def __init__(self, training: Training, model: nn.Module, images: Images):
        self.training, self.model, self.images = training, model, images
        n, device = len(images.y), images.y.device
        self.parameters = list(model.parameters())
        cuda = device.type == "cuda"
        self.optimiser = torch.optim.SGD(
            self.parameters,
            # a graph reads a rate that lies on the device; SGD asks for the fused one with it
            lr=torch.tensor(training.lr, device=device) if cuda else training.lr,
            momentum=training.momentum,
            weight_decay=training.weight_decay,
            fused=cuda or None,
        )
        # there from the first update on, which so is like any other
        for parameter in self.parameters:
            self.optimiser.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
        self.batches = [training.batch] * (n // training.batch)
        self.batches += [n % training.batch] * (n % training.batch > 0)
        self.order = torch.zeros(n, dtype=torch.long, device=device)
        self.drawn = [drawn.to(device) for drawn in self._draw(0)]
        self.at = torch.zeros((), dtype=torch.long, device=device)
        self.sums = torch.zeros(2, device=device)
        self.picked = {
            size: torch.zeros(size, dtype=torch.long, device=device)
            for size in dict.fromkeys(self.batches)
        }
        self._ramp = {size: torch.arange(size, device=device) for size in self.picked}
        self.noise = Generator(device)
        self.run: Callable[[int], None] = self.body
        self.stream: torch.cuda.Stream | None = None

    @property
    def momentum(self) -> list[Tensor]:
        """SGD's buffers in the order of the parameters."""
        return [self.optimiser.state[p]["momentum_buffer"] for p in self.parameters]

    def body(self, size: int) -> None:
        """One update from the next `size` images of the epoch."""
        training, images = self.training, self.images
        place = self.at + self._ramp[size]
        picked = self.picked[size].copy_(self.order[place])
        x, y = unit(images.x[picked]), images.y[picked]
        attack = training.attack.size if training.attack else {}
        # entered within a capture, so that its cache of weights ends with it
        with autocast(training.precision, y.device):
            loss, logits = training.method.objective(
                self.model,
                x,
                y,
                attack,
                training.beta,
                self.noise,
                *(d[place] for d in self.drawn),
            )
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.optimiser.step()
        self.sums[0] += loss.detach() * size
        self.sums[1] += (logits.detach().argmax(1) == y).sum()
        self.at += size

    def epoch(self, number: int) -> dict[str, float]:
        """An epoch, counted from 0; gives loss and accuracy on the batches as trained on."""
        self.begin(number)
        for size in self.batches:
            self.run(size)
        # read once: reading each batch would wait for it
        loss, right = (total / len(self.order) for total in self.sums.tolist())
        return {"loss": loss, "accuracy": right}

    def begin(self, number: int) -> None:
        """All randomness and the rate of an epoch, counted from 0, and nothing of it done."""
        self.model.train()
        self.set_rate(self.training.learning_rate(number))
        self.order.copy_(torch.randperm(len(self.order), generator=self._seeded(number)))
        for drawn, new in zip(self.drawn, self._draw(number), strict=True):
            drawn.copy_(new)
        self.noise.manual_seed(self._seed(number))
        self.at.zero_()
        self.sums.zero_()

    def _draw(self, number: int) -> tuple[Tensor, ...]:
        training = self.training
        return training.method.draw(self.batches, training.mixing, self._seeded(number))

    def _seeded(self, number: int) -> Generator:
        return Generator().manual_seed(self._seed(number))

    def _seed(self, number: int) -> int:
        return self.training.seed * 1_000_003 + number

    def place(self, size: int) -> int:
        """Where in an epoch the first batch of a size begins; one of another size may not."""
        return self.batches.index(size) * self.training.batch

    def set_rate(self, rate: float) -> None:
        """The learning rate of the updates to come."""
        (group,) = self.optimiser.param_groups
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate

    def state(self) -> State:
        """A copy of all that an update changes."""
        weights, buffers, momentum = ([t.detach().clone() for t in of] for of in self._changed())
        return State(
            weights, buffers, momentum, self.at.clone(), self.sums.clone(), self.noise.get_state()
        )

    @torch.no_grad()
    def restore(self, state: State) -> None:
        """Puts a state back, each tensor in its place."""
        theirs = (state.weights, state.buffers, state.momentum)
        for own, kept in zip(self._changed(), theirs, strict=True):
            for tensor, value in zip(own, kept, strict=True):
                tensor.copy_(value)
        self.at.copy_(state.at)
        self.sums.copy_(state.sums)
        self.noise.set_state(state.noise)

    def _changed(self) -> tuple[list[Tensor], ...]:
        return self.parameters, list(self.model.buffers()), self.momentum

    @contextmanager
    def running(self) -> Iterator[None]:
        """Its stream is the current one within the block, and at rest after it."""
        if self.stream is None:
            yield
            return
        self.stream.wait_stream(torch.cuda.current_stream())
        try:
            with torch.cuda.stream(self.stream):
                yield
        finally:  # whatever ends the block: what comes next is on another stream
            self.stream.synchronize()
