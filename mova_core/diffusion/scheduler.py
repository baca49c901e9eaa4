"""How a checkpoint wants to be sampled, as its scheduler/scheduler_config.json states it."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

from mova_core.diffusion.flow import NUM_TRAIN_TIMESTEPS
from mova_core.diffusion.schedule import (
    SIGMA_MIN,
    PairedSchedule,
    paired_schedule,
    snapped_as_released,
    training_grid,
)
from mova_core.errors import UserError
from mova_core.files import write_text

SCHEDULER_FILE = "scheduler/scheduler_config.json"
FIXED: dict[str, object] = {
    "exponential_shift": False,
    "inverse_timesteps": False,
    "num_train_timesteps": NUM_TRAIN_TIMESTEPS,
    "reverse_sigmas": False,
    "shift_terminal": None,
    "sigma_max": 1.0,
}
"""Options of the family's scheduler at the values that MOVA has; a file that says otherwise is refused."""


@dataclass(frozen=True)
class Scheduler:
    """Each modality's shift of one common schedule, and what is not predicted.

    Attributes
    ----------
    video_shift, audio_shift : positive; above 1, more of the path lies near noise.
    num_given_frames : latent frames at the start that training left out of the loss since they are given; sampling puts
        them back after each step. 0 in the release, whose model predicts them too.
    extra_one_step, sigma_min : see `mova_core.diffusion.schedule.paired_schedule`.
    """

    video_shift: float
    audio_shift: float
    num_given_frames: int = 0
    extra_one_step: bool = True
    sigma_min: float = SIGMA_MIN

    def schedule(
        self,
        num_steps: int,
        *,
        video_shift: float | None = None,
        audio_shift: float | None = None,
        compat: bool = False,
    ) -> PairedSchedule:
        """The noise levels of `num_steps` solver steps.

        Parameters
        ----------
        video_shift, audio_shift : instead of the checkpoint's own.
        compat : round the levels that the solver steps between, as the release does, to the grid of 1000 levels that
            the checkpoint's own video shift makes. Off by up to 2.2e-3; only for comparing with the release.
        """
        exact = paired_schedule(
            num_steps,
            video_shift=self.video_shift if video_shift is None else video_shift,
            audio_shift=self.audio_shift if audio_shift is None else audio_shift,
            extra_one_step=self.extra_one_step,
            sigma_min=self.sigma_min,
        )
        if not compat:
            return exact
        return snapped_as_released(exact, training_grid(self.video_shift, self.extra_one_step, self.sigma_min))

    def save(self, folder: Path) -> None:
        """Writes the file, with the entries that readers of the release look for, and both shifts."""
        entries = {
            "_class_name": "FlowMatchPairScheduler",
            "extra_one_step": self.extra_one_step,
            "num_train_timesteps": NUM_TRAIN_TIMESTEPS,
            "shift": self.video_shift,
            "visual_shift": self.video_shift,
            "audio_shift": self.audio_shift,
            "num_given_frames": self.num_given_frames,
            "sigma_max": 1.0,
            "sigma_min": self.sigma_min,
        }
        write_text(folder / SCHEDULER_FILE, json.dumps(entries, indent=2, sort_keys=True) + "\n")

    @staticmethod
    def load(folder: Path) -> Scheduler:
        """Reads the file; one `shift` serves both modalities where it states no other.

        Raises
        ------
        UserError : if it is absent, is not JSON, holds a shift that is no positive number or a sigma_min outside
            [0, 1), or asks for a schedule of another kind.
        """
        path = folder / SCHEDULER_FILE
        try:
            entries = json.loads(path.read_text(encoding="utf-8"))
            shift = entries["shift"]
            video_shift, audio_shift = (entries.get(name, shift) for name in ("visual_shift", "audio_shift"))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(
                f"no readable noise schedule at {path} ({type(error).__name__}: {error})",
                expected="a scheduler_config.json with a shift",
                remedy="fetch the checkpoint again, or train the phase again",
            ) from error
        for value in (video_shift, audio_shift):
            if not isinstance(value, int | float) or not math.isfinite(value) or value <= 0:
                raise UserError(f"{path} holds shift {value!r}", expected="a positive number", remedy="mend the file")
        sigma_min = entries.get("sigma_min", SIGMA_MIN)
        if not isinstance(sigma_min, int | float) or not 0 <= sigma_min < 1:
            raise UserError(
                f"{path} holds sigma_min {sigma_min!r}", expected="a number from 0, below 1", remedy="mend the file"
            )
        for name, value in FIXED.items():
            if entries.get(name, value) != value:
                raise UserError(
                    f"{path} holds {name} {entries[name]!r}",
                    expected=f"{value!r}, as MOVA has it",
                    remedy="use a checkpoint of the MOVA family",
                )
        return Scheduler(
            video_shift=float(video_shift),
            audio_shift=float(audio_shift),
            num_given_frames=int(entries.get("num_given_frames", 0)),
            extra_one_step=bool(entries.get("extra_one_step", False)),
            sigma_min=float(sigma_min),
        )
