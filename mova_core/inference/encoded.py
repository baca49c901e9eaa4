"""One batch of clips, ready to sample: everything about it that does not change from step to step."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from mova_core.codecs.arrays import audio_tensor, video_tensor
from mova_core.codecs.base import Codecs, audio_latent_shape, video_latent_shape
from mova_core.diffusion.flow import Pair
from mova_core.inference.clip_inputs import ClipInputs
from mova_core.inference.conditioning import first_frame_condition, frames_condition, no_condition
from mova_core.inference.inputs import Pixels, Settings, white_frames
from mova_core.inference.known import Known, KnownPair
from mova_core.inference.noise import initial_noise
from mova_core.inference.texts import PromptTexts
from mova_core.models.build import MASK_CHANNELS


@dataclass(frozen=True)
class Encoded:
    """What a batch is sampled from.

    Attributes
    ----------
    text : embeddings `[b, m, d]`.
    empty_text : of the negative prompt, `[1, m, d]`; None where guidance evaluates none.
    condition : `[b, 4 + c, F, h, w]`, what the video tower is told of given pictures.
    noise : of video `[b, c, F, h, w]` and audio `[b, c, l]`.
    known : latents that are given.
    """

    text: torch.Tensor
    empty_text: torch.Tensor | None
    condition: torch.Tensor
    noise: Pair
    known: KnownPair


class Encoder:
    """Encodes batches with the codecs of one pipeline.

    num_given_frames : latent frames that the model leaves to be put back (see `mova_core.diffusion.scheduler`).

    Attributes
    ----------
    texts : embeddings of prompts.
    """

    def __init__(self, codecs: Codecs, num_given_frames: int, device: torch.device) -> None:
        self.codecs = codecs
        self.num_given_frames = num_given_frames
        self.device = device
        self.texts = PromptTexts(codecs.text)

    @torch.inference_mode()
    def batch(
        self, text: torch.Tensor, empty_text: torch.Tensor | None, clips: ClipInputs, settings: Settings
    ) -> Encoded:
        """Conditions, givens and noise of checked clips, beside the embeddings of `texts`."""
        video_shape = video_latent_shape(self.codecs.video, settings.num_frames, settings.height, settings.width)
        audio_shape = audio_latent_shape(self.codecs.audio, settings.num_samples(self.codecs.audio.sample_rate_hz))
        video_noise, audio_noise = initial_noise(clips.seeds, video_shape, audio_shape)
        condition = self._condition(clips, settings)
        return Encoded(
            text=text.to(self.device),
            empty_text=None if empty_text is None else empty_text.to(self.device),
            condition=condition,
            noise=(video_noise.to(self.device), audio_noise.to(self.device)),
            known=KnownPair(
                self._known_video(clips, settings, condition[:, MASK_CHANNELS:]),
                self._known_audio(clips, audio_shape[1]),
            ),
        )

    def _condition(self, clips: ClipInputs, settings: Settings) -> torch.Tensor:
        """What the tower is told of given pictures.

        A model that leaves given frames to be put back was trained to be told of the first alone. Told of more, the
        nano model's seam to what it generates jumped twice as far (44 grey levels a pixel against 20).
        """
        codec, num_frames = self.codecs.video, settings.num_frames
        first = self._first_frames(clips, settings)
        if self.num_given_frames or (clips.last_frames is None and clips.start_frames is None):
            if first is None:
                return no_condition(codec, (len(clips), num_frames, settings.height, settings.width), self.device)
            return first_frame_condition(codec, first, num_frames, self.device)
        pictures = np.zeros((len(clips), num_frames, settings.height, settings.width, 3), np.uint8)
        given = torch.zeros(num_frames, dtype=torch.bool)
        if first is not None:
            pictures[:, 0], given[0] = first, True
        if clips.last_frames is not None:
            pictures[:, -1], given[-1] = clips.last_frames, True
        if clips.start_frames is not None:
            num_start = clips.start_frames.shape[1]
            pictures[:, :num_start], given[:num_start] = clips.start_frames, True
        return frames_condition(codec, pictures, given, self.device)

    def _first_frames(self, clips: ClipInputs, settings: Settings) -> Pixels | None:
        if clips.start_frames is not None:
            return clips.start_frames[:, 0]
        if clips.video is not None:
            return clips.video[:, 0]
        if clips.first_frames is None and settings.text_only == "white":
            return white_frames(len(clips), settings)
        return clips.first_frames

    def _known_video(self, clips: ClipInputs, settings: Settings, condition: torch.Tensor) -> Known | None:
        num_latents = condition.shape[2]
        if clips.video is not None:
            return Known(self._encoded_video(clips.video), self._marked(num_latents, slice(None)))
        if clips.start_frames is not None:
            start = self._encoded_video(clips.start_frames)
            clean = torch.zeros_like(condition)
            clean[:, :, : start.shape[2]] = start
            return Known(clean, self._marked(num_latents, slice(start.shape[2])))
        if not self.num_given_frames:
            return None
        clean, frames = condition.clone(), self._marked(num_latents, slice(0))
        if self._first_frames(clips, settings) is not None:
            frames[: self.num_given_frames] = True
        if clips.last_frames is not None:
            # The last latent frame stands for a group of frames: the picture, held still.
            stride = self.codecs.video.temporal_stride
            still = np.repeat(clips.last_frames[:, None], 1 + stride, axis=1)
            clean[:, :, -1], frames[-1] = self._encoded_video(still)[:, :, -1], True
        return Known(clean, frames) if bool(frames.any()) else None

    def _known_audio(self, clips: ClipInputs, num_latents: int) -> Known | None:
        codec = self.codecs.audio
        if clips.audio is not None:
            return Known(self._encoded_audio(clips.audio), self._marked(num_latents, slice(None)))
        if clips.start_audio is None:
            return None
        start = self._encoded_audio(clips.start_audio)
        # The latent at the end heard silence after it, so it is not what the whole sound would have given.
        num_start = max(0, clips.start_audio.shape[1] // codec.hop - 1)
        clean = start.new_zeros(*start.shape[:2], num_latents)
        clean[:, :, :num_start] = start[:, :, :num_start]
        return Known(clean, self._marked(num_latents, slice(num_start)))

    def _encoded_video(self, frames: Pixels) -> torch.Tensor:
        return self.codecs.video.encode(video_tensor(frames, self.device)).float()

    def _encoded_audio(self, waveforms: np.ndarray) -> torch.Tensor:
        return self.codecs.audio.encode(audio_tensor(waveforms.astype(np.float32), self.device)).float()

    def _marked(self, length: int, chosen: slice) -> torch.Tensor:
        marks = torch.zeros(length, dtype=torch.bool, device=self.device)
        marks[chosen] = True
        return marks
