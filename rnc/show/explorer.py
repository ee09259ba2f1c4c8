"""The simplex that can be touched: a 3-D figure in the browser, drawn by plotly.

Needs plotly, which the other modules do not.
"""

from __future__ import annotations

import plotly.graph_objects as go

from rnc.show.plots import CLASS_COLOURS, GREY
from rnc.study.record import Record
from rnc.study.records import Records


def simplex(records: Records, eps: float = 0) -> go.Figure:
    """Four classes in the three dimensions that their clean means span, at any radius.

    Sticks are clean class means, dotted lines the means of the points that the network sorts
    into a class, dots are points in the colour of their true class. A slider sets the radius of
    the attack, buttons choose the method.

    Args:
        records: of one attack; the first seed of each method is drawn.
        eps: the radius that is shown first, in 1/255; one of those in the records' sweep.
    """
    drawn = {method: seeds[0] for method, seeds in records.items()}
    methods, radii = list(drawn), next(iter(drawn.values())).radii
    figure, moving = go.Figure(), []
    for method, record in drawn.items():
        shown = method == methods[0]
        for trace in _still(record):
            figure.add_trace(trace.update(visible=shown))
        for trace in _moving(record, radii.index(eps)):
            moving.append(len(figure.data))
            figure.add_trace(trace.update(visible=shown))
    figure.frames = [
        go.Frame(
            name=f"{radius:g}",
            data=[trace for record in drawn.values() for trace in _moving(record, at)],
            traces=moving,
        )
        for at, radius in enumerate(radii)
    ]
    each = len(figure.data) // len(methods)
    buttons = [
        {
            "label": method,
            "method": "restyle",
            "args": [{"visible": [i // each == number for i in range(len(figure.data))]}],
        }
        for number, method in enumerate(methods)
    ]
    steps = [
        {
            "label": frame.name,
            "method": "animate",
            "args": [
                [frame.name],
                {
                    "mode": "immediate",
                    "frame": {"duration": 0, "redraw": True},
                    "transition": {"duration": 0},
                },
            ],
        }
        for frame in figure.frames
    ]
    axis = {"visible": False, "range": [-1.25, 1.25]}
    figure.update_layout(
        height=520,
        margin={"l": 0, "r": 0, "t": 50, "b": 0},
        paper_bgcolor="rgba(0,0,0,0)",
        font={"color": GREY, "size": 14},
        showlegend=False,
        hoverlabel={"font": {"size": 13}},
        scene={
            "xaxis": axis,
            "yaxis": axis,
            "zaxis": axis,
            "aspectmode": "cube",
            "camera": {"eye": {"x": 0.52, "y": 1.2, "z": 0.34}},
        },
        updatemenus=[
            {
                "type": "buttons",
                "direction": "right",
                "buttons": buttons,
                "x": 0,
                "xanchor": "left",
                "y": 1.02,
                "yanchor": "bottom",
                "pad": {"l": 5},
            }
        ],
        sliders=[
            {
                "active": radii.index(eps),
                "steps": steps,
                "currentvalue": {"prefix": "radius of the attack, ε = ", "suffix": "/255"},
                "x": 0.04,
                "len": 0.92,
                "pad": {"t": 0, "b": 20},
            }
        ],
    )
    return figure


def _still(record: Record) -> list[go.Scatter3d]:
    """Edges of the tetrahedron, sticks and names of the classes."""
    drawn = record.drawing
    vertices = drawn["vertices"]
    colours = CLASS_COLOURS[: len(vertices)]
    pairs = [(a, b) for i, a in enumerate(vertices) for b in vertices[:i]]
    names = [record.classes[c] for c in drawn["classes"]]
    return [
        _lines(pairs, ["#bbbbbb"] * len(pairs), width=1),
        _lines([((0, 0, 0), v) for v in vertices], colours, width=9),
        go.Scatter3d(
            **_xyz([[1.16 * x for x in vertex] for vertex in vertices]),
            mode="text",
            text=[f"<b>{name}</b>" for name in names],
            textfont={"size": 15, "color": colours},
            hoverinfo="skip",
        ),
    ]


def _moving(record: Record, at: int) -> list[go.Scatter3d]:
    """Predicted means and points at one radius of the sweep."""
    drawn, classes = record.drawing, record.classes
    palette = dict(zip(drawn["classes"], CLASS_COLOURS, strict=False))
    means = [
        ((0, 0, 0), mean if None not in mean else (0, 0, 0))
        for mean in drawn["predicted_means"][at]
    ]
    pairs = zip(drawn["true"], drawn["predicted"][at], strict=True)
    return [
        _lines(means, CLASS_COLOURS[: len(means)], width=5, dash="dot"),
        go.Scatter3d(
            **_xyz(drawn["points"][at]),
            mode="markers",
            marker={"size": 3.5, "color": [palette[c] for c in drawn["true"]], "opacity": 0.85},
            text=[f"true {classes[a]}, predicted {classes[b]}" for a, b in pairs],
            hovertemplate="%{text}<extra></extra>",
        ),
    ]


def _lines(pairs: list, colours: tuple | list, **style) -> go.Scatter3d:
    points = [point for a, b in pairs for point in (a, b, (None, None, None))]
    return go.Scatter3d(
        **_xyz(points),
        mode="lines",
        line={"color": [colour for colour in colours for _ in range(3)], **style},
        hoverinfo="skip",
    )


def _xyz(points: list) -> dict:
    return dict(zip("xyz", map(list, zip(*points, strict=True)), strict=True))
