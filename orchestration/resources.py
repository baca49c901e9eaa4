"""The one resource: which folder holds params.yaml and the data."""

from __future__ import annotations

import os
from pathlib import Path

import dagster as dg

from mova_core.config import Config, load_config
from mova_core.workspace import Workspace

ROOT_VARIABLE = "MOVA_ROOT"


class LineageFolder(dg.ConfigurableResource):  # type: ignore[type-arg]  # the parameter is its own run-time value
    """A small client for the lineage's folder; read anew at every use, so an edited params.yaml counts at once."""

    root: str = "."

    def workspace(self) -> Workspace:
        return Workspace(Path(self.root).resolve())

    def config(self) -> Config:
        return load_config(self.workspace().params)


def lineage_folder() -> LineageFolder:
    """The folder that ``MOVA_ROOT`` names, else the current one."""
    return LineageFolder(root=os.environ.get(ROOT_VARIABLE, "."))
