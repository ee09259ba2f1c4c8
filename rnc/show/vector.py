"""Figures as SVG for pages, and the data that they show as CSV.

In the book a figure becomes part of its page (`inlined`): its text and lines have the colours of
the page's theme, and at the width of a phone its panels stand below each other, each as wide as
the screen. For that an SVG says where its panels and the entries of its legend are.
"""

from __future__ import annotations

import csv
import io
import itertools
import re
from collections.abc import Iterator
from html import escape

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.transforms import Bbox

# what follows the theme of the page; rules of a style sheet do not reach into what is used again
THEMED = {
    "stroke: #000000": "stroke: currentcolor",
    "fill: #000000": "fill: currentcolor",
    "#e5e5e5": "var(--pst-color-border)",
    "#cccccc": "var(--pst-color-border)",
}
MARGIN = 3  # points around a panel
SMALLEST, LARGEST = 1.3, 2.0  # pixels for a point, of which the least text has 8.5


def bundle(figure: Figure, **_) -> dict[str, str]:
    """What a notebook keeps of a figure, by MIME type; pictures of images have no data."""
    found = data(figure)
    kept = {"text/csv": found} if found.count("\n") > 1 else {}
    return {"image/svg+xml": svg(figure)} | kept


def svg(figure: Figure) -> str:
    """A figure as SVG with text that is text; `data-panels` and `data-legend` have boxes of panels
    and of entries of the legend, each as "x y width height" in the units of the view box."""
    figure.draw_without_rendering()  # places everything
    panels, entries = _panels(figure) or [figure.bbox], _entries(figure)
    buffer = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none"}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    boxes = "".join(
        f' data-{name}="{";".join(_written(box, figure) for box in found)}"'
        for name, found in (("panels", panels), ("legend", entries))
    )
    return text.replace("<svg ", f"<svg{boxes} ", 1)


def inlined(picture: str, description: str, name: str) -> str:
    """HTML of an SVG of `svg`, to stand within a page.

    Args:
        picture: the SVG.
        description: what it shows, for who does not see it.
        name: of the figure, unlike those of the page's other figures.
    """
    drawing = picture[picture.index("<svg") :].strip()
    head, rest = drawing.split(">", 1)
    view = re.search(r'viewBox="([^"]+)"', head)[1]
    boxes = {
        n: re.search(rf'data-{n}="([^"]*)"', head)[1].split(";") for n in ("panels", "legend")
    }
    # its rules would be those of the whole page
    body = re.sub(r"<style.*?</style>|<metadata.*?</metadata>", "", rest, flags=re.S)
    body = body.removesuffix("</svg>")
    for drawn, themed in THEMED.items():
        body = body.replace(drawn, themed)
    used = set(re.findall(r'(?:url\(#|href="#)([^)"]+)', body))
    # names that another figure of the page may have too
    body = re.sub(r' id="([^"]+)"', lambda m: m[0] if m[1] in used else "", body)

    def sized(box: str, **factors: float) -> str:
        """The style of a part: for names such as max_width the pixels for a point."""
        w, h = map(float, box.split()[2:])
        widths = (f"{n.replace('_', '-')}: {factor * w:.0f}px" for n, factor in factors.items())
        return f"aspect-ratio: {w} / {h}; {'; '.join(widths)}"

    def part(box: str, **factors: float) -> str:
        style = sized(box, **factors)
        return (
            f'<svg aria-hidden="true" viewBox="{box}" style="{style}"><use href="#{name}"/></svg>'
        )

    entries = "".join(part(box, width=SMALLEST) for box in boxes["legend"] if box)
    panels = "".join(
        # what may scroll must be reached by keys
        f'<span tabindex="0" role="group" aria-label="Panel {number}">'
        f"{part(box, min_width=SMALLEST, max_width=LARGEST)}</span>"
        for number, box in enumerate(boxes["panels"], start=1)
    )
    style = sized(view, max_width=1.6)
    return (
        f'<span class="rnc-figure"><svg class="rnc-wide" role="img" '
        f'aria-label="{escape(description)}" viewBox="{view}" style="{style}">'
        f'<g id="{name}" fill="currentcolor" stroke-linejoin="round">{body}</g></svg>'
        f'<span class="rnc-narrow"><span class="rnc-legend">{entries}</span>{panels}</span></span>'
    )


def data(figure: Figure) -> str:
    """What a figure shows as CSV: a row for each point of a line, dot, bar or cell of an image."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["panel", "series", "x", "y", "value"])
    for number, axis in enumerate(figure.axes, start=1):
        label = axis.get_title() or axis.get_ylabel() or f"panel {number}"
        panel = " ".join(label.split())
        writer.writerows([panel, *row] for row in _rows(axis))
    return buffer.getvalue()


def _rows(axis: Axes) -> Iterator[list]:
    """Series, x, y and value of all that is drawn; what lies in space has its third as value."""
    count = itertools.count(1)

    def named(artist) -> str:
        label = str(artist.get_label())
        return f"series {next(count)}" if label.startswith("_") or not label else label

    for line in axis.get_lines():
        if not across(axis, line):
            series, *space = named(line), *getattr(line, "_verts3d", ())
            points = zip(*(space or (*line.get_data(), itertools.repeat(""))), strict=False)
            yield from ([series, *map(_plain, point)] for point in points)
    for dots in axis.collections:
        if isinstance(dots, PathCollection):
            series, space = named(dots), getattr(dots, "_offsets3d", None)
            points = zip(*space, strict=True) if space else ((*p, "") for p in dots.get_offsets())
            yield from ([series, *map(_plain, point)] for point in points)
    for bars in axis.containers:
        if all(hasattr(bar, "get_height") for bar in bars):
            series = named(bars)
            yield from (
                [series, _plain(b.get_x() + b.get_width() / 2), _plain(b.get_height()), ""]
                for b in bars
            )
    for image in axis.get_images():
        series, values = named(image), np.asarray(image.get_array())
        if values.ndim == 2:
            yield from ([series, x, y, _plain(value)] for (y, x), value in np.ndenumerate(values))


def across(axis: Axes, line: Line2D) -> bool:
    """Whether a line goes across the panel, whatever its data, and so is none."""
    return not all(line.get_transform().contains_branch_seperately(axis.transData))


def _plain(value: object) -> object:
    return value if isinstance(value, str) else f"{float(value):.6g}"


def _panels(figure: Figure) -> list[Bbox]:
    """Boxes in pixels of what must stay together: axes that overlap, or whose ticks are named by
    those of a neighbour."""
    groups: list[list[tuple[Axes, Bbox]]] = []
    for axis in figure.axes:
        if (box := axis.get_tightbbox()) is None:
            continue
        for group in groups:
            if any(_together(axis, box, *other) for other in group):
                group.append((axis, box))
                break
        else:
            groups.append([(axis, box)])
    return [Bbox.union([box for _, box in group]) for group in groups]


def _together(axis: Axes, box: Bbox, other: Axes, theirs: Bbox) -> bool:
    both, areas = Bbox.intersection(box, theirs), (b.width * b.height for b in (box, theirs))
    if both and both.width * both.height > 0.3 * min(areas):
        return True
    shares = axis.get_shared_y_axes().joined(axis, other) and axis.axison
    beside = abs(axis.get_position().y0 - other.get_position().y0) < 0.01
    return shares and beside and not any(t.get_text() for t in axis.get_yticklabels())


def _entries(figure: Figure) -> list[Bbox]:
    """Boxes in pixels of the entries of the figure's own legends, and of its own words."""
    found = []
    for legend in figure.legends:
        for handle, text in zip(legend.legend_handles, legend.get_texts(), strict=True):
            boxes = [handle.get_window_extent(), text.get_window_extent()]
            found.append(Bbox.union(boxes))
    return found + [text.get_window_extent() for text in figure.texts if text.get_text()]


def _written(box: Bbox, figure: Figure) -> str:
    scale, height = 72 / figure.dpi, 72 * figure.get_figheight()
    x, y = box.x0 * scale - MARGIN, height - box.y1 * scale - MARGIN
    width, tall = box.width * scale + 2 * MARGIN, box.height * scale + 2 * MARGIN
    return f"{x:.1f} {y:.1f} {width:.1f} {tall:.1f}"
