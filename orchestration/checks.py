"""The curation gates as a blocking asset check: nothing downstream in the run starts on clips that fail it."""

from __future__ import annotations

import dagster as dg

from mova_core.errors import UserError
from mova_core.steps import Step
from orchestration.resources import LineageFolder

GATED_STEP = "curate"
CHECK_NAME = "clips_meet_expectations"


def gate_check_specs(step: Step) -> list[dg.AssetCheckSpec]:
    """The check that `step`'s asset carries: one on the clips, none elsewhere."""
    if step.name != GATED_STEP:
        return []
    description = "Great Expectations over the collection's clip manifest: every bound of the gates, for every row."
    return [dg.AssetCheckSpec(name=CHECK_NAME, asset=step.name, blocking=True, description=description)]


def gate_check_results(step: Step, folder: LineageFolder, collection: str | None) -> list[dg.AssetCheckResult]:
    """Evaluates the gates on what the step just wrote."""
    if step.name != GATED_STEP or collection is None:
        return []
    from mova_core.curation.gates import check_gates

    results = check_gates(folder.config(), folder.workspace(), collection)
    rows = [
        dg.TableRecord({"gate": gate.name, "passed": gate.passed, "expected": gate.expected, "observed": gate.observed})
        for gate in results
    ]
    return [
        dg.AssetCheckResult(
            check_name=CHECK_NAME,
            passed=all(gate.passed for gate in results),
            metadata={"collection": collection, "gates": dg.MetadataValue.table(rows)},
        )
    ]


def failed_gate_results(step: Step, folder: LineageFolder, collection: str | None) -> list[dg.AssetCheckResult]:
    """The same for a step that refused what it had written: empty unless the gates say why."""
    try:
        return [result for result in gate_check_results(step, folder, collection) if not result.passed]
    except UserError:  # nothing was written that could be checked
        return []
