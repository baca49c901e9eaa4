"""Whether one clip passes a gate. The worker that has a clip's pictures at hand asks this before it encodes them.

`mova_core.curation.gates` applies the same gates to the whole table, and has the last word.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from mova_core.config.curation import Gate
from mova_core.data.records import Clip


def passes(clip: Clip, gates: Iterable[Gate]) -> bool:
    """Whether the clip is within every bound. A score that is NaN passes."""
    return all(within(getattr(clip, gate.score), gate) for gate in gates)


def within(value: float, gate: Gate) -> bool:
    """Whether a score is within the gate's bounds, both included."""
    if math.isnan(value):
        return True
    return (gate.at_least is None or value >= gate.at_least) and (gate.at_most is None or value <= gate.at_most)


def bounds(gate: Gate) -> str:
    """The bounds in words, such as ``at most 0.8``."""
    parts = []
    if gate.at_least is not None:
        parts.append(f"at least {gate.at_least:g}")
    if gate.at_most is not None:
        parts.append(f"at most {gate.at_most:g}")
    return " and ".join(parts)
