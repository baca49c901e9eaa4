"""Collections as Dagster partitions: added when a folder under data/raw is first met, never guessed."""

from __future__ import annotations

from collections.abc import Iterable

import dagster as dg

COLLECTIONS = dg.DynamicPartitionsDefinition(name="collection")


def add_collections(instance: dg.DagsterInstance, collections: Iterable[str]) -> list[str]:
    """Adds the collections that have no partition yet; returns those added."""
    known = set(instance.get_dynamic_partitions(str(COLLECTIONS.name)))
    added = [name for name in collections if name not in known]
    if added:
        instance.add_dynamic_partitions(str(COLLECTIONS.name), added)
    return added
