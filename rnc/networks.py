"""A network of your own by its name, with weights from a file: for `rnc.survey` and its report."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import pickle
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from rnc.errors import ParameterError
from rnc.models import Normalise, frozen

NAME = re.compile(r"(?P<place>.+?):(?P<name>[A-Za-z_]\w*)(?P<arguments>\(.*\))?")
NAMED = "MODULE:NAME or FILE.py:NAME, such as torchvision.models:resnet18(num_classes=10)"
WITHIN = ("state_dict", "model_state_dict", "model", "net", "network", "weights")
TOLD = 3  # of names that do not fit


def load(
    network: str,
    weights: str | Path | None = None,
    mean: str | Sequence[float] | None = None,
    std: str | Sequence[float] | None = None,
) -> nn.Module:
    """A network, in eval mode, that takes images in [0, 1].

    Args:
        network: what makes it, a class or function: "MODULE:NAME" or "FILE.py:NAME", with its
            arguments in brackets if it wants some: "torchvision.models:resnet18(num_classes=10)".
        weights: a file of its weights, .safetensors or what `torch.save` wrote of its
            `state_dict()`, also within a checkpoint or with a prefix such as "module.". Nothing
            in it but tensors and plain values is loaded. None: as it is made.
        mean, std: per channel, in [0, 1], such as "0.485,0.456,0.406", if it was trained on
            normalised images; names of its layers stay as they are.

    Raises:
        ParameterError: names what cannot be found, read or fitted.
    """
    built = _build(network)
    if weights is not None:
        _fit(built, read_weights(weights), f"weights of {weights}", network)
    if (mean is None) != (std is None):
        raise ParameterError(f"mean and std must be given together; got {mean!r} and {std!r}")
    if mean is not None:
        normalise = Normalise(_numbers("mean", mean), _positive("std", std))
        built.register_forward_pre_hook(
            lambda _, given: (normalise.to(given[0].device)(given[0]),)
        )
    return built.eval()


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """Tensors by name from a file; arguments and errors as in `load`."""
    path = Path(path).expanduser()
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        found = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise ParameterError(
            f"weights must be a file that can be read; {path} cannot ({error.strerror or error})"
        ) from error
    except pickle.UnpicklingError as error:
        raise ParameterError(
            f"weights must hold tensors alone; {path} holds more, which could be code, or is no "
            f"file of weights; save network.state_dict() instead of the network"
        ) from error
    except (RuntimeError, EOFError, safetensors.SafetensorError) as error:
        raise ParameterError(f"weights of {path} are damaged ({error})") from error
    keys = list(found) if isinstance(found, Mapping) else [type(found).__name__]
    while isinstance(found, Mapping):
        if found and all(isinstance(value, Tensor) for value in found.values()):
            return dict(found)
        found = next((found[name] for name in WITHIN if name in found), None)
    raise ParameterError(
        f"weights must be a state_dict, alone or under {', '.join(WITHIN)}; {path} holds "
        f"{_some(list(map(str, keys)))}"
    )


def classifier_of(model: nn.Module, x: Tensor) -> str:
    """The name of the linear layer that ran last, of a few images x."""
    ran = _that_ran(model, x)
    linear = [name for name in ran if isinstance(model.get_submodule(name), nn.Linear)]
    if not linear:
        raise ParameterError("classifier must be named: the network ran no torch.nn.Linear")
    return linear[-1]


def layers_before(model: nn.Module, x: Tensor, classifier: str) -> list[str]:
    """Names of the modules that ran before the classifier on a few images x: the network's own
    children, and of the one within which the classifier is its children in its place."""
    parts = classifier.split(".")
    around = {".".join(parts[:depth]) for depth in range(len(parts))}
    ran = _that_ran(model, x)
    beside = [n for n in ran if n and n not in around and n.rpartition(".")[0] in around]
    return beside[: beside.index(classifier)] if classifier in beside else beside


def _that_ran(model: nn.Module, x: Tensor) -> list[str]:
    ran: dict[str, None] = {}
    handles = [
        module.register_forward_hook(lambda *_, name=name: ran.setdefault(name))
        for name, module in model.named_modules()
    ]
    try:
        with torch.no_grad(), frozen(model):
            model(x)
    finally:
        for handle in handles:
            handle.remove()
    return list(ran)


def _build(network: str) -> nn.Module:
    parsed = NAME.fullmatch(network) if isinstance(network, str) else None
    if parsed is None:
        raise ParameterError(f"network must be {NAMED}; got {network!r}")
    place, name = parsed["place"], parsed["name"]
    try:
        module = (
            _from_file(Path(place)) if place.endswith(".py") else importlib.import_module(place)
        )
    except ModuleNotFoundError as error:
        raise ParameterError(
            f"network must be {NAMED}; there is no module {error.name!r}"
        ) from error
    except FileNotFoundError as error:
        raise ParameterError(f"network must be {NAMED}; there is no file {place}") from error
    except Exception as error:  # whatever the reader's own code raises
        raise ParameterError(
            f"network could not be found: {place} ends with {type(error).__name__} ({error})"
        ) from error
    if not callable(make := getattr(module, name, None)):
        raise ParameterError(f"network must be {NAMED}; {place} makes nothing named {name!r}")
    try:
        call = ast.parse(f"f{parsed['arguments'] or '()'}", mode="eval").body
        given = [ast.literal_eval(one) for one in call.args]
        named = {one.arg: ast.literal_eval(one.value) for one in call.keywords}
    except (SyntaxError, ValueError) as error:
        raise ParameterError(
            f"network must have numbers, words or lists in its brackets; got {network!r}"
        ) from error
    try:
        built = make(*given, **named)
    except Exception as error:
        raise ParameterError(
            f"network {network} could not be made: {type(error).__name__} ({error})"
        ) from error
    if not isinstance(built, nn.Module):
        raise ParameterError(
            f"network must make a torch.nn.Module; {network} made {type(built).__name__}"
        )
    return built


def _from_file(place: str) -> ModuleType:
    path = Path(place).expanduser()
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _fit(model: nn.Module, given: dict[str, Tensor], source: str, network: str) -> None:
    """Loads weights, without a prefix that all of their names may have."""
    wanted = model.state_dict()
    if not set(wanted) & set(given):
        ends = ((n, name) for name in wanted for n in given if n.endswith(f".{name}"))
        prefix = next((n.removesuffix(name) for n, name in ends), "")
        if all(n.startswith(prefix) for n in given):
            given = {n.removeprefix(prefix): tensor for n, tensor in given.items()}
    counts = {name for name in wanted if name.endswith("num_batches_tracked")}  # of no use here
    missing = [name for name in wanted if name not in given and name not in counts]
    unknown = [name for name in given if name not in wanted]
    shapes = [
        f"{name} ({_shape(given[name])} there, {_shape(tensor)} here)"
        for name, tensor in wanted.items()
        if name in given and given[name].shape != tensor.shape
    ]
    told = [
        f"{what} {_some(names)}"
        for what, names in (
            ("they lack", missing),
            ("the network has no", unknown),
            ("of another shape is", shapes),
        )
        if names
    ]
    if told:
        raise ParameterError(f"{source} do not fit {network}: {'; '.join(told)}")
    model.load_state_dict(given, strict=False)


def _some(names: list[str]) -> str:
    more = f" and {len(names) - TOLD} more" if len(names) > TOLD else ""
    return f"{', '.join(names[:TOLD])}{more}"


def _shape(tensor: Tensor) -> str:
    return " x ".join(map(str, tensor.shape)) or "a number"


def _numbers(name: str, value: Any) -> list[float]:
    try:
        parts = value.split(",") if isinstance(value, str) else value
        return [float(part) for part in ([parts] if isinstance(parts, int | float) else parts)]
    except (TypeError, ValueError):
        raise ParameterError(
            f'{name} must be numbers for each channel such as "0.485,0.456,0.406"; got {value!r}'
        ) from None


def _positive(name: str, value: Any) -> list[float]:
    found = _numbers(name, value)
    if min(found, default=0) <= 0:
        raise ParameterError(f"{name} must be more than 0; got {value!r}")
    return found
