"""The nano preset at the smallest size at which every step still has something to do."""

from __future__ import annotations

from typing import Any

import yaml

from mova_core.config import preset_text


def smallest_params() -> str:
    """Text of a params.yaml: a minute and a half of corpus, four steps a phase, four samples a set."""
    values: dict[str, Any] = yaml.safe_load(preset_text("nano"))
    values["corpus"].update(minutes=1.5, video_seconds=6, clips_per_shot=[1, 2], faults=False)
    values["curate"].update(val_fraction=0.3)
    values["encode"].update(fit_clips=24, quality_clips=4, clips_per_shard=32)
    values["train"]["engine"].update(processes=1, state_every_steps=2)
    values["train"]["validation"].update(num_clips=4)
    for phase in values["train"]["phases"].values():
        phase.update(steps=4, batch_size=4, warmup_steps=1, decay_steps=1)
    values["sample"].update(num_clips=4, num_steps=2, batch_size=4)
    values["evaluate"].update(num_loss_clips=4, num_loss_draws=1, num_report_clips=2)
    values["release"].update(num_thumbnails=1)
    return str(yaml.safe_dump(values, sort_keys=False))
