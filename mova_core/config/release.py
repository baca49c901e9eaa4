"""Settings of `release`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from mova_core.config.base import Section


class ReleaseConfig(Section):
    """What the released folder is called and says of itself."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="the model's name in its card")
    version: str = Field(pattern=r"^[0-9A-Za-z][0-9A-Za-z.-]*$", description="with `name`, the lakeFS tag")
    licence: Literal["Apache-2.0"] = Field(description="of weights and card; its text goes beside them")
    sample_set: str = Field(description="the set of `sample` that thumbnails and the demo clip come from")
    num_thumbnails: int = Field(ge=1, le=12, description="samples shown in the card")
    credits: tuple[str, ...] = Field(description="whom the training data obliges to name, one sentence each")
