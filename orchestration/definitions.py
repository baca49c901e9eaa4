"""What `workspace.yaml` loads: the whole lineage for Dagster."""

from __future__ import annotations

import dagster as dg

from orchestration.assets import lineage_assets
from orchestration.automation import curate_collection, new_collection, nightly_recuration
from orchestration.resources import lineage_folder

defs = dg.Definitions(
    assets=lineage_assets(),
    jobs=[curate_collection],
    schedules=[nightly_recuration],
    sensors=[new_collection],
    resources={"folder": lineage_folder(), "pipes": dg.PipesSubprocessClient()},
    # One step at a time: each uses all the cores it is given, and memory is meant for one.
    executor=dg.multiprocess_executor.configured({"max_concurrent": 1}),
)
