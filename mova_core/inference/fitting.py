"""Whether a model, its codecs and the wanted sizes fit each other."""

from __future__ import annotations

from pathlib import Path

from mova_core.codecs.base import Codecs
from mova_core.errors import UserError
from mova_core.inference.inputs import Settings
from mova_core.models.build import MASK_CHANNELS
from mova_core.models.dual_tower import DualTower


def check_fit(model: DualTower, codecs: Codecs, folder: Path) -> None:
    """Holds a model against the codecs it is to work with.

    Raises
    ------
    UserError : if widths differ, naming both.
    """
    config = model.config
    pairs = {
        "video latent channels": (config.video.out_dim, codecs.video.latent_channels),
        "audio latent channels": (config.audio.out_dim, codecs.audio.latent_channels),
        "text width": (config.video.text_dim, codecs.text.dim),
        "audio latents a second": (config.bridge.audio_fps, codecs.audio.latent_rate_hz),
        "frames of the mask a latent frame": (MASK_CHANNELS, codecs.video.temporal_stride),
    }
    for name, (of_model, of_codec) in pairs.items():
        if of_model != of_codec:
            raise UserError(
                f"the model in {folder} has {name} {of_model}, its codecs {of_codec}",
                expected="them equal",
                remedy="give the codecs that the model was trained with, or train again after `mova encode`",
            )


def check_sizes(model: DualTower, codecs: Codecs, settings: Settings) -> None:
    """Holds a clip's size against the codec's strides and the tower's patches.

    Raises
    ------
    UserError : if a side or the length does not divide.
    """
    frames, rows, columns = model.config.video.patch_size
    spatial, temporal = codecs.video.spatial_stride, codecs.video.temporal_stride
    for name, value, multiple, rest in (
        ("height", settings.height, spatial * rows, 0),
        ("width", settings.width, spatial * columns, 0),
        ("num_frames", settings.num_frames, temporal, 1),
        ("latent frames", 1 + (settings.num_frames - 1) // temporal, frames, 0),
    ):
        if value % multiple != rest % multiple:
            raise UserError(
                f"{name} is {value}",
                expected=f"{multiple}k + {rest}, for this checkpoint's codec and patches",
                remedy=f"{value - (value - rest) % multiple} is the nearest below",
            )
