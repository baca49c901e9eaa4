"""Dagster's view of the lineage: thin assets that call `mova_core`."""
