"""Settings of `encode`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from mova_core.config.base import Section

Side = Annotated[int, Field(gt=0, multiple_of=16)]


class NanoVideoFit(Section):
    """Fit the closed-form video codec on the training clips."""

    latent_channels: int = Field(ge=1, le=192, description="channels of a latent frame; 192 is a whole 8x8x3 patch")


class NanoAudioFit(Section):
    """Fit the closed-form audio codec on the training clips."""

    latent_channels: int = Field(ge=1, description="channels of a latent frame")
    hop_samples: int = Field(ge=16, multiple_of=4, description="samples a latent frame stands for")
    overlap_samples: int = Field(ge=0, multiple_of=2, description="length of the cross-fade between two hops")
    compand_power: float = Field(gt=0, le=1, description="coefficients are stored as sign(c) |c|^power")

    @model_validator(mode="after")
    def _fits_the_hop(self) -> NanoAudioFit:
        if self.overlap_samples > self.hop_samples:
            raise ValueError(
                f"overlap_samples is {self.overlap_samples}, expected at most hop_samples, {self.hop_samples}"
            )
        if self.latent_channels > self.hop_samples:
            raise ValueError(f"latent_channels is {self.latent_channels}, expected at most {self.hop_samples}")
        return self


class _FitOrFolder(Section):
    folder: str | None = Field(None, description="relative to the folder of params.yaml, or absolute")

    @model_validator(mode="after")
    def _one_of_the_two(self) -> _FitOrFolder:
        if (self.folder is None) == (getattr(self, "fit", None) is None):
            raise ValueError(
                "expected exactly one of `fit` (nano codec) and `folder` (of a released codec, such as .../video_vae)"
            )
        return self


class VideoCodecConfig(_FitOrFolder):
    """Where the video codec comes from: fitted here, or loaded from `folder`, whose config.json names its class."""

    fit: NanoVideoFit | None = None


class AudioCodecConfig(_FitOrFolder):
    """Where the audio codec comes from: fitted here, or loaded from `folder`, whose config.json names its class."""

    fit: NanoAudioFit | None = None


class MiniLmConfig(Section):
    """The small text encoder that an installed package carries."""

    max_tokens: int = Field(ge=4, le=512, description="longer prompts are cut")


class TextEncoderConfig(Section):
    """Where the text encoder comes from: a registry package, or a folder that holds text_encoder/ and tokenizer/."""

    minilm: MiniLmConfig | None = None
    folder: str | None = Field(None, description="relative to the folder of params.yaml, or absolute")

    @model_validator(mode="after")
    def _one_of_the_two(self) -> TextEncoderConfig:
        if (self.folder is None) == (self.minilm is None):
            raise ValueError("expected exactly one of `minilm` and `folder` (which holds text_encoder and tokenizer)")
        return self


class EncodeConfig(Section):
    """Codecs, text encoder, and the cached latents' layout."""

    resolutions: tuple[tuple[Side, Side], ...] = Field(
        min_length=1, description="height and width of every cached copy of the pictures, at most the clips' own"
    )
    loudness_lufs: float = Field(ge=-50, le=-5, description="integrated loudness of the levelled copy of the sound")
    fit_clips: int = Field(ge=1, description="training clips that codecs are fitted on, spread evenly over all")
    quality_clips: int = Field(ge=1, description="held-out clips on which codec quality is measured")
    clips_per_shard: int = Field(ge=1)
    batch_size: int = Field(ge=1, description="clips a codec takes at once")
    video: VideoCodecConfig
    audio: AudioCodecConfig
    text: TextEncoderConfig
