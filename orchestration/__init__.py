"""Dagster's view of the lineage: thin assets over `mova_core.steps`, checks, partitions, a schedule and a sensor."""
