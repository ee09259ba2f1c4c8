"""Lines that bear their names at their right ends, where a legend would make the eye travel."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Annotation, Text

from rnc.show.vector import across

MARKS = {"o": "●", "^": "▲", "s": "■", "D": "◆", "v": "▼"}
APART = 1.05  # of the height of a name, from one to the next


def name_ends(figure: Figure, names: Mapping[str, str], marked: bool = False) -> None:
    """Writes names beside the rightmost points of lines, right of the panels, and none on another.

    Args:
        figure: with all that it shows; its layout is made here, so nothing may be added later.
        names: by label of a line; lines of other labels stay without.
        marked: the line's marker before its name, for lines of one colour.
    """
    written = {axis: _written(axis, names, marked) for axis in figure.axes}
    figure.draw_without_rendering()  # places the panels, of which the names take their part
    for axis, found in written.items():
        if found:
            _spread(axis, found)


def _written(axis: Axes, names: Mapping[str, str], marked: bool) -> list[Annotation]:
    found = []
    for line in axis.get_lines():
        if (end := _end(axis, line)) is None or line.get_label() not in names:
            continue
        text = names[line.get_label()]
        if marked and (mark := MARKS.get(line.get_marker())):
            text = f"{mark} {text}"
        found.append(
            axis.annotate(
                text,
                end,
                xytext=(
                    1.03,
                    axis.transAxes.inverted().transform(axis.transData.transform(end))[1],
                ),
                textcoords="axes fraction",
                color=line.get_color(),
                fontsize=8.5,
                va="center",
                annotation_clip=False,
                arrowprops={
                    "arrowstyle": "-",
                    "color": line.get_color(),
                    "linewidth": 0.5,
                    "relpos": (0, 0.5),
                    "shrinkA": 0,
                    "shrinkB": 2,
                },
            )
        )
    return found


def _end(axis: Axes, line: Line2D) -> tuple[float, float] | None:
    """The rightmost point that is drawn, on the edge of the panel if it lies beyond."""
    x, y = (np.asarray(values, float) for values in line.get_data())
    if across(axis, line):
        x = np.full_like(x, max(axis.get_xlim()))
    drawn = np.flatnonzero(np.isfinite(x) & np.isfinite(y))
    if not drawn.size:
        return None
    last = max(drawn, key=lambda at: axis.transData.transform((x[at], y[at]))[0])
    return float(x[last]), float(np.clip(y[last], *sorted(axis.get_ylim())))


def _spread(axis: Axes, found: list[Annotation]) -> None:
    """Moves names up and down, as little as keeps one off the other, in the order of the ends."""
    ends = np.array([axis.transData.transform(one.xy)[1] for one in found])
    order = np.argsort(ends, kind="stable")
    # an annotation's own extent has its leader in it
    heights = APART * np.array([Text.get_window_extent(one).height for one in found])[order]
    stacked = np.cumsum(heights) - heights / 2  # centres if they stood one on the other
    free = ends[order] - stacked
    # the mean of pushing up alone and of pushing down alone
    up, down = np.maximum.accumulate(free), np.minimum.accumulate(free[::-1])[::-1]
    for number, centre in zip(order, (up + down) / 2 + stacked, strict=True):
        x, _ = found[number].xyann
        found[number].xyann = (x, axis.transAxes.inverted().transform((0, centre))[1])
