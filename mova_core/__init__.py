"""The lineage's logic: raw video in, a released joint video and audio model out. No Dagster in here."""

__version__ = "0.1.0"
