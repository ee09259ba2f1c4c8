"""The page that one scrolls from chaos to the simplex, and on to what an attack makes of it."""

from __future__ import annotations

import math

import numpy as np

from rnc.show.explorer import VIEW
from rnc.show.plots import OUTSIDE, class_colours
from rnc.show.tables import Table, table
from rnc.study.findings.finding import span
from rnc.study.record import Record
from rnc.study.settings import scale_of

MEASURES = {  # of a chart: name, short and long
    "nc1": ("NC1", "spread"),
    "nc2_angles": ("NC2", "angles"),
    "nc3": ("NC3", "duality"),
    "nc4": ("NC4", "nearest mean"),
    "accuracy": ("accuracy", ""),
}
LABELS = 1.25  # where they stand, as a multiple of the corner
DOT = 0.05  # half of what a dot is wide, at the most
SHARES = ("nc4", "accuracy")  # measures that are shares of points
ALONG = ("nc1", "nc2_angles", "nc3", "nc4")  # the training
OVER = ("nc1", "nc2_angles", "nc3", "accuracy")  # radii


def journey(st: Record, at: Record) -> Table:
    """The page: steps of text, and beside them points that move as the reader scrolls.

    First the training of one network, from snapshot to snapshot, then attacks on it up to the
    radius of its evaluation, then the same attacks on it and another.

    Args:
        st: of standard training, with the measurement `journey`.
        at: of adversarial training, under the same evaluation.

    Raises:
        NotMeasured: the first record has no `journey`.
        ValueError: the evaluation's attack has no radius.
    """
    if not st.evaluation.attack.eps:
        raise ValueError("an evaluation with ε = 0 attacks nothing, so there is no leap to show")
    colours = class_colours((st, at))
    one, other = Moving(st, colours, st["journey"]), Moving(at, colours)
    radii, end, last = one.radii, len(st.epochs) - 1, len(one.points) - 1
    early = end // 3
    late = end - early
    # what each step shows: a frame of the points, and how much there is of the other network
    stops = {
        "start": (0, 0),
        "early": (early, 0),
        "late": (late, 0),
        "end": (end, 0),
        "halfway": (end + (len(radii) - 1) // 2, 0),
        "attacked": (last, 0),
        "other": (end, 1),
        "both": (last, 1),
    }
    # the view has room for all that is still to come, and so comes closer with time
    boxes, room = [], other.room(range(len(radii)))
    for frame in reversed(range(last + 1)):
        room = np.concatenate([room, one.room([frame])])
        boxes.insert(0, [*(room.min(0) - DOT), *(room.max(0) + DOT)])
    epochs, swept = range(len(st.epochs)), range(len(radii))
    data = {
        "view": VIEW,
        "boxes": np.round(boxes, 3).tolist(),
        "stops": list(stops.values()),
        "epochs": st.epochs,
        "radii": radii,
        "networks": [one.data(), other.data()],
        "charts": {
            # epochs as far apart as the snapshots are numbered: on a logarithmic axis
            "epochs": [chart(name, epochs, [st.curve("clean", name)]) for name in ALONG],
            "radii": [
                chart(name, radii, [r.swept(name)[swept] for r in (st, at)]) for name in OVER
            ],
        },
    }
    scale = scale_of([st.training, at.training])
    return table(
        "journey.html",
        data=data,
        stills=[one.still(frame, boxes[frame]) for frame in (0, late, end, last)]
        + [other.still(frame, boxes[end]) for frame in (0, len(radii) - 1)],
        one=one,
        other=other,
        at={name: frame for name, (frame, _) in stops.items()},
        end=end,
        number=number,
        share=_share,
        grey=OUTSIDE,
        labels=LABELS,
        features=st.training.num_features,
        setting=f"{scale}; {st.evaluation}; seed {st.training.seed}",
    )


class Moving:
    """The drawn points of a network in frames: along its training, then over radii of the attack.

    Args:
        record: of the network.
        colours: by class.
        way: its measurement `journey`; None: only radii.

    Attributes:
        radii: of the attack, in 1/255, from 0 to that of the evaluation.
        points, predicted, means: of each frame the points, N x 3, the classes that they are sorted
            into, N, and the means of the drawn classes, 4 x 3.
        right, grey: of each frame, how many of the points are sorted into their own class, and how
            many into a class that is not drawn.
    """

    def __init__(self, record: Record, colours: dict[int, str], way: dict | None = None):
        drawing = record.drawing
        self.record, self.title = record, record.training.method.title
        self.radii = [eps for eps in record.radii if eps <= record.evaluation.attack.eps]
        count = len(self.radii)
        # the last snapshot is the network without an attack
        before = {name: way[name][:-1] if way else [] for name in ("points", "predicted", "means")}
        self.points = before["points"] + drawing["points"][:count]
        self.predicted = before["predicted"] + drawing["predicted"][:count]
        self.means = before["means"] + [drawing["vertices"]] * count
        self.classes, self.true = drawing["classes"], drawing["true"]
        self.corners = drawing["vertices"]
        self.colours = [colours[c] for c in self.classes]
        self.names = [record.classes[c] for c in self.classes]
        guesses = np.array(self.predicted)
        self.right = (guesses == np.array(self.true)).sum(1).tolist()
        self.grey = (~np.isin(guesses, self.classes)).sum(1).tolist()

    def room(self, frames: range | list[int]) -> np.ndarray:
        """Where there are points or labels at some frames, N x 2, to the right and up."""
        labels = LABELS * np.array(self.corners) * 1.12  # which are no dots
        return seen(np.concatenate([*(self.points[frame] for frame in frames), labels]))[:, :2]

    def data(self) -> dict:
        """What the page draws: places in thousandths; of each point the number of its own class
        among those drawn, and for each frame whether it is sorted into another than these."""
        return {
            "title": self.title,
            "names": self.names,
            "colours": self.colours,
            "corners": self.corners,
            "own": [self.classes.index(c) for c in self.true],
            "out": [
                "".join("01"[guess not in self.classes] for guess in frame)
                for frame in self.predicted
            ],
            "right": self.right,
            "grey": self.grey,
            "points": _thousandths(self.points),
            "means": _thousandths(self.means),
        }

    def still(self, frame: int, box: list[float]) -> dict:
        """A frame as it is seen at first, in hundredths: edges between corners, sticks, labels
        and, for each colour, dots; and once more those dots that are grey within.

        Args:
            box: what is shown: left, low, right, high.
        """
        own, guesses = np.array(self.true), np.array(self.predicted[frame])
        inside = np.isin(guesses, self.classes)
        dots, corners = seen(self.points[frame]), seen(self.corners)
        left, low, right, high = (round(100 * x) for x in box)
        of_class = [dots[own == c] for c in self.classes]
        edges = [(a, b) for i, a in enumerate(corners) for b in corners[:i]]
        sticks = [(np.zeros(3), tip) for tip in seen(self.means[frame])]
        return {
            "box": f"{left} {-high} {right - left} {high - low}",
            "when": self.when(frame),
            "counted": self.counted(frame),
            "edges": "".join(_line(edge) for edge in edges),
            "sticks": list(zip(map(_line, sticks), self.colours, strict=True)),
            "dots": list(zip(map(_dots, of_class), self.colours, strict=True)),
            "out": _dots(dots[~inside]),
            "labels": [
                (round(100 * LABELS * x), round(-100 * LABELS * y), name)
                for (x, y, _), name in zip(corners, self.names, strict=True)
            ],
        }

    def when(self, frame: int) -> str:
        """Which frame it is: "ST after 22 epochs", "AT, attacked with ε = 8/255"."""
        at = frame - (len(self.points) - len(self.radii))
        if at > 0:
            return f"{self.title}, attacked with ε\u00a0=\u00a0{self.radii[at]:g}/255"
        epoch = self.record.epochs[frame] if at < 0 else self.record.training.epochs
        return f"{self.title} after {epoch} epochs" if epoch else f"{self.title} before training"

    def counted(self, frame: int) -> str:
        return f"{self.right[frame]} of {len(self.true)} right, {self.grey[frame]} grey"


def number(value: float) -> str:
    """Two digits, or all before the point: 0.074, 3.2, 148."""
    digits = 1 - math.floor(math.log10(value)) if value else 0
    return f"{value:.{max(digits, 0)}f}"


def chart(name: str, x: range | list[float], rows: list[np.ndarray]) -> dict:
    """A measure as lines in a square of side 1 from below left.

    Args:
        name: one of MEASURES.
        x: where it was measured, n.
        rows: what of each network, n.

    Returns:
        `x`, n; `lines`, `values` (in words), each a row per network; `ticks`, height and word.
    """
    values, x = np.array(rows), np.array(x) / max(x)
    tell = _share if name in SHARES else number
    if name == "nc1":
        values, ticks = np.log10(values), np.arange(-9, 10)
        low, high = values.min() - 0.1, values.max() + 0.1
        words = [f"{10.0**tick:g}" for tick in ticks]
    else:
        most = 1 if name in SHARES else values.max()
        ticks = np.array([0, 10 ** math.floor(math.log10(most))])
        low, high = 0, 1.05 * most
        words = [tell(tick) if name in SHARES else f"{tick:g}" for tick in ticks]
    lines, places = (values - low) / (high - low), (ticks - low) / (high - low)
    return {
        "name": MEASURES[name],
        "x": x.round(4).tolist(),
        "lines": lines.round(3).tolist(),
        "values": [[tell(value) for value in row] for row in rows],
        "ticks": [
            (round(float(y), 3), word)
            for y, word in zip(places, words, strict=True)
            if 0 <= y <= 1
        ],
    }


def _share(value: float) -> str:
    return span([value], ".0%")


def seen(points: list | np.ndarray) -> np.ndarray:
    """Points, N x 3, as the page shows them at first: to the right, up, and towards the reader."""
    x, y, z = np.array(points).T
    a, e = VIEW
    along, depth = x * math.cos(a) - y * math.sin(a), x * math.sin(a) + y * math.cos(a)
    up, near = z * math.cos(e) - depth * math.sin(e), depth * math.cos(e) + z * math.sin(e)
    return np.stack([along, up, near], 1)


def _line(places: list | tuple) -> str:
    """An SVG path from place to place, in hundredths."""
    return "M" + "L".join(f"{100 * x:.0f} {-100 * y:.0f}" for x, y, _ in places)


def _dots(places: np.ndarray) -> str:
    """An SVG path that is a dot at each place, in hundredths."""
    return "".join(f"{_line([place])}h0" for place in places)


def _thousandths(frames: list) -> list[list[int]]:
    return [np.rint(1000 * np.array(frame)).astype(int).ravel().tolist() for frame in frames]
