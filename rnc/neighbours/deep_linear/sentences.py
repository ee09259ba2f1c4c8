"""What the chapter on deep linear networks says of its results, whichever way they turn out."""

from __future__ import annotations

import numpy as np

from rnc.neighbours.deep_linear.experiments import DEPTHS
from rnc.study.findings import Text
from rnc.study.findings.finding import sentence, span


def on_frames(measured: dict) -> Text:
    """How far descent is from the closed form."""
    parts = [
        f"{name} {max(max(of[str(depth)]['error']) for depth in DEPTHS):.0e}"
        for name, of in measured["frames"].items()
    ]
    return Text(
        "The largest error over depths and starts, of all products and of the spectra of all "
        f"layers, over the largest entry: {', '.join(parts)}."
    )


def on_collapse(measured: dict) -> Text:
    """What becomes of small classes, by depth."""
    lines = []
    for depth in DEPTHS:
        of = measured["collapse"][str(depth)]
        alive = int(sum(np.array(of["predicted"]) > 0))
        free = sum(gap < 1e-6 for gap in of["random"])
        text = (
            f"M = {depth}: {alive} of {len(of['predicted'])} classes are alive at the minimum, "
            f"where {of['root']} have a root; {free} of {len(of['random'])} random starts reach it"
        )
        if min(of["all_alive"]) > 1e-6:
            text += (
                f", and with all classes alive at the start {span(of['kept'], '.0f')} stay, at a "
                f"loss that is {span(of['all_alive'], '.2g')} higher"
            )
        lines.append(text)
    small = [
        depth
        for depth, reached in measured["origin"]["reached"].items()
        if not np.any(reached[0]) and np.all(reached[-1])
    ]
    if small:
        lines.append(
            "with "
            + " and ".join(small)
            + " layers the smallest starts never reach the minimum of balanced classes, and the "
            "largest always do"
        )
    text = "; ".join(lines)
    return Text(sentence(text))


def on_entropy(measured: dict) -> Text:
    """Whether pairs are better than the simplex, and what descent finds."""
    found = measured["entropy"]
    better, never = [], []
    for name, pairs in found["pairs"].items():
        classes, depth = name.split(",")
        ratio = np.array(pairs) / np.array(found["simplex"][name])
        words = f"K = {classes}, M = {depth}"
        if ratio.min() < 1:
            at = f"at {(ratio < 1).sum()} of {ratio.size} decays"
            better.append(f"{words} {at} (by up to {1 - ratio.min():.0%})")
        else:
            never.append(words)
    parts = []
    if better:
        parts.append(f"Pairs are better than the simplex for {', '.join(better)}")
    if never:
        parts.append(f"at none of these decays for {', '.join(never)}")
    for depth, of in found["descent"].items():
        rank = int(sum(np.array(of["spectrum"]) > 1e-3))
        parts.append(
            f"with ten classes and M = {depth} descent ends at {span(of['loss'], '.4f')}, at its "
            f"best with rank {rank}; the simplex is at {of['simplex']:.4f} and pairs at "
            f"{of['pairs']:.4f}"
        )
    text = "; ".join(parts)
    return Text(sentence(text))


def on_digits(measured: dict) -> Text:
    """How close a network comes, and what is lost by class size."""
    found, parts = measured["digits"], []
    counts = np.array(found["counts"])
    small = counts <= found["threshold"]
    for depth, of in found["depths"].items():
        test, attacked = (np.array(of[name]).mean(0) for name in ("test", "attacked"))
        parts.append(
            f"M = {depth}: the objective exceeds the closed form by {span(of['gap'], '.0e')} of "
            f"it; of classes of at most {counts[small].max()} points {test[small].max():.0%} of "
            f"the test points are recognised, of the largest class {test[0]:.0%} and under attack "
            f"{attacked[0]:.0%}, of that of {counts[~small].min()} points {test[~small][-1]:.0%} "
            f"and {attacked[~small][-1]:.0%}"
        )
    return Text(f"{'; '.join(parts)}.")
