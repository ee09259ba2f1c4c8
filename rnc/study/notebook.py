"""The parameters of a notebook: what it declares, and what papermill or its reader set."""

from __future__ import annotations

import ast
from collections.abc import Collection, Mapping
from typing import Any

from rnc.errors import ParameterError, did_you_mean

MARK = "# Parameters"  # begins the cell that declares them, and that in which papermill sets them


def parameters(namespace: Mapping[str, Any], known: Collection[str]) -> dict[str, Any]:
    """Values of the parameters that a notebook declares.

    A name that is set in a cell of parameters but is not declared is an error, where papermill
    alone would only warn.

    Args:
        namespace: the notebook's globals().
        known: names that can be declared.

    Raises:
        ParameterError: names what cannot be declared or was not.
    """
    cells = [cell for cell in namespace.get("In", []) if cell.startswith(MARK) and _parses(cell)]
    if not cells:  # a runner that keeps no history, such as nbval, sets no parameters either
        return {name: namespace[name] for name in known if name in namespace}
    # A declaration has types, what papermill sets has none and comes after it. Of either the last
    # one that ran counts: whoever corrects a mistake in a cell runs it again.
    typed = [i for i, cell in enumerate(cells) if _declares(cell)]
    declared, *later = map(assigned, cells[typed[-1] if typed else 0 :])
    allowed = [name for name in declared if name in known]
    for name in (name for names in (declared, *later[-1:]) for name in names):
        if name not in allowed:  # set by papermill, or mistyped in the cell itself
            raise ParameterError(
                f"this notebook has no parameter {name!r}{did_you_mean(name, known)}; "
                f"it takes {', '.join(allowed)}"
            )
    return {name: namespace[name] for name in declared}


def whole_numbers(name: str, value: Any, example: str) -> Any:
    """Several whole numbers from text such as the example; what is no text stays as it is.

    Raises:
        ParameterError: the text is of something else.
    """
    if not isinstance(value, str):
        return value
    try:
        return tuple(int(part) for part in value.split(","))
    except ValueError:
        raise ParameterError(
            f'{name} must be whole numbers such as "{example}"; got {value!r}'
        ) from None


def assigned(source: str) -> list[str]:
    """Names that a cell of parameters assigns, with or without an annotation."""
    targets: list[ast.expr] = []
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign):
            targets += node.targets
        elif isinstance(node, ast.AnnAssign):
            targets.append(node.target)
    return [target.id for target in targets if isinstance(target, ast.Name)]


def _parses(source: str) -> bool:
    try:
        ast.parse(source)
    except SyntaxError:  # In keeps what never ran, too
        return False
    return True


def _declares(source: str) -> bool:
    return any(isinstance(node, ast.AnnAssign) for node in ast.parse(source).body)
