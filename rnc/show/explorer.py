"""The simplex that can be touched: points of four classes in 3-D, at any radius of an attack, and
the images that they are."""

from __future__ import annotations

import math

from rnc.show.plots import OUTSIDE, class_colours
from rnc.show.tables import Table, table
from rnc.study.measurements.thumbnails import MAGNIFIED, SHADES
from rnc.study.record import Record
from rnc.study.records import Records
from rnc.study.settings import scale_of

VIEW = (0.42, 0.22)  # azimuth and elevation of what is seen at first, in radians
WIDE = 96  # pixels of a thumbnail at least


def simplex(records: Records, eps: float = 0) -> Table:
    """Four classes in the three dimensions that their clean means span, a panel for each method.

    Sticks are clean class means, dotted lines the means of the points that the network sorts
    into a class, dots are points in the colour of their true class, or grey where they are sorted
    into a class that is not drawn. A slider sets the radius of the attack for all panels, which
    turn together; nothing is ever outside of them. Of a record with thumbnails a point shows its
    image, clean and attacked, and what became of it; of others it does not.

    Args:
        records: of one attack and data set; the first seed of each method is drawn.
        eps: the radius that is shown first, in 1/255; one of those in the records' sweep.
    """
    drawn = {method: seeds[0] for method, seeds in records.items()}
    one = next(iter(drawn.values()))
    radii = one.radii
    colours = class_colours(drawn.values())
    panels = [
        {
            "title": method,
            "classes": record.drawing["classes"],
            "colours": [colours[c] for c in record.drawing["classes"]],
            "vertices": record.drawing["vertices"],
            "true": record.drawing["true"],
            "points": record.drawing["points"],
            "predicted": record.drawing["predicted"],
            "means": record.drawing["predicted_means"],
            "images": _images(record),
        }
        for method, record in drawn.items()
    ]
    trained = [r.training.attack.eps for r in drawn.values() if r.training.attack]
    labels = [[1.35 * x for x in vertex] for panel in panels for vertex in panel["vertices"]]
    points = [point for panel in panels for frame in panel["points"] for point in frame]
    data = {
        "view": VIEW,
        "panels": panels,
        "radii": radii,
        "names": one.classes,
        "trained": trained[0] if trained else None,
        "reach": 1.03 * max(math.hypot(*point) for point in points + labels),
    }
    return table(
        "simplex.html",
        data=data,
        at=radii.index(eps),
        last=len(radii) - 1,
        pictured=next((panel["images"] for panel in panels if panel["images"]), None),
        grey=OUTSIDE,
        magnified=MAGNIFIED,
        shades=SHADES,
        setting=f"{scale_of([r.training for r in drawn.values()])}; seed {one.training.seed}",
    )


def _images(record: Record) -> dict | None:
    """The thumbnails with the `side`s, width and height, at which a page shows one: enlarged by a
    whole number to at least WIDE pixels; None of a record without them."""
    if "thumbnails" not in record.measured:
        return None
    height, width = record["thumbnails"]["size"]
    scale = math.ceil(WIDE / width)
    return record["thumbnails"] | {"side": [scale * width, scale * height]}
