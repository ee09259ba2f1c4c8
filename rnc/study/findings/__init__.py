"""Sentences that state what was found: each is chosen by what the records hold.

A finding looks at the records of a study, says which of its outcomes they show, and gives the
numbers that its sentence needs, so that a chapter at another preset, radius or seed never says
what its own records contradict. A new finding is one more function; `say` gives its sentence.
"""

from rnc.study.findings import beyond, reproduction
from rnc.study.findings.finding import FINDINGS, NOTHING, Finding, Text, finding, say
from rnc.study.findings.series import draws, drift, over_lengths, over_weights
from rnc.study.findings.summaries import (
    changes,
    in_short,
    lettered,
    overview,
    summary,
    under_stronger,
)

__all__ = [
    "FINDINGS", "NOTHING", "Finding", "Text", "beyond", "changes", "draws", "drift", "finding",
    "in_short", "lettered", "over_lengths", "over_weights", "overview", "reproduction", "say",
    "summary", "under_stronger",
]  # fmt: skip
