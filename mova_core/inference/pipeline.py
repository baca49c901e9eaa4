"""From prompts and first frames to video with sound.

`MovaPipeline.from_pretrained` reads a folder in the release's layout; `generate` checks its input, encodes text and
first frames once, and integrates from noise in batches of clips. All clips of a batch share the noise level, so one
expert serves a step. Axes: b clip, t pixel frame, s sample, m text row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from kernels.dispatch import Request
from mova_core.codecs.arrays import video_array
from mova_core.codecs.base import Codecs, audio_latent_shape, load_codecs, video_latent_shape
from mova_core.diffusion.flow import Pair, noised
from mova_core.diffusion.guidance import Guidance, JointModel, guided_velocity
from mova_core.diffusion.schedule import PairedSchedule, Point
from mova_core.diffusion.scheduler import Scheduler
from mova_core.diffusion.solvers import Euler, integrate
from mova_core.errors import UserError
from mova_core.inference.conditioning import first_frame_condition
from mova_core.inference.inputs import Pixels, Settings, check_clips, white_frames
from mova_core.inference.noise import initial_noise
from mova_core.models.build import MASK_CHANNELS
from mova_core.models.dual_tower import DualTower
from mova_core.models.weights import load_model

Waveforms = NDArray[np.float32]
Progress = Callable[[int], None]


@dataclass(frozen=True)
class Encoded:
    """One batch, ready to sample: embeddings `[b, m, d]`, condition `[b, 4 + c, F, h, w]`, noise of both modalities."""

    text: torch.Tensor
    empty_text: torch.Tensor
    condition: torch.Tensor
    noise: Pair


class MovaPipeline:
    """A model with its codecs and its noise schedule."""

    def __init__(
        self, model: DualTower, codecs: Codecs, scheduler: Scheduler, device: torch.device | str = "cpu"
    ) -> None:
        self.device = torch.device(device)
        self.model = model.eval().requires_grad_(False).to(self.device)
        self.codecs = codecs.to(self.device)
        self.scheduler = scheduler

    @classmethod
    def from_pretrained(
        cls,
        checkpoint_dir: Path,
        codecs_dir: Path | None = None,
        *,
        codecs: Codecs | None = None,
        device: torch.device | str = "cpu",
        compute_dtype: torch.dtype | None = None,
        kernels: Request = "auto",
    ) -> MovaPipeline:
        """Loads a release, or a training checkpoint with the codecs that encoded its data.

        Parameters
        ----------
        checkpoint_dir : a folder with model_index.json.
        codecs_dir : where video_vae, audio_vae, text_encoder and tokenizer lie; by default beside the model.
        codecs : loaded ones, to share between pipelines, instead of `codecs_dir`.
        compute_dtype : of matrix products; None stands for the parameters' own.

        Raises
        ------
        UserError : if a part is missing, unreadable, of other shapes than the rest, or has weights that are not finite.
        """
        model = load_model(checkpoint_dir, compute_dtype=compute_dtype, kernels=kernels)
        codecs = codecs or load_codecs(codecs_dir or checkpoint_dir)
        check_fit(model, codecs, checkpoint_dir)
        return cls(model, codecs, Scheduler.load(checkpoint_dir), device)

    def generate(
        self,
        prompts: Sequence[str],
        first_frames: Pixels | None,
        seeds: Sequence[int],
        num_steps: int,
        text_guidance: float,
        bridge_guidance: float,
        bridge: bool = True,
        *,
        height: int,
        width: int,
        num_frames: int,
        fps: float = 24.0,
        batch_size: int = 8,
        progress: Progress | None = None,
    ) -> tuple[Pixels, Waveforms]:
        """Generates one clip a prompt.

        A clip's noise depends on its seed alone. Its pictures and sound are the same bit for bit in batches of the same
        size, and up to rounding in others.

        Parameters
        ----------
        prompts : what is seen and heard, one a clip.
        first_frames : uint8 RGB `[b, height, width, 3]`; None stands for white ones, as for models without a picture.
        seeds : one a clip.
        num_steps, text_guidance, bridge_guidance, bridge, height, width, num_frames, fps : see `Settings`.
        batch_size : clips sampled at once.
        progress : called after each batch with the number of clips done.

        Returns
        -------
        (frames uint8 `[b, num_frames, height, width, 3]`, waveforms float32 `[b, s]` of exactly the frames' duration).

        Raises
        ------
        UserError : for input that cannot work, before any of the work; if the model's numbers overflow.
        """
        settings = Settings(
            num_steps=num_steps,
            text_guidance=text_guidance,
            bridge_guidance=bridge_guidance,
            bridge=bridge,
            height=height,
            width=width,
            num_frames=num_frames,
            fps=fps,
        )
        check_clips(prompts, first_frames, seeds, settings)
        if batch_size < 1:
            raise UserError(f"batch_size is {batch_size}", expected="at least 1", remedy="8 suits most machines")
        given = white_frames(len(prompts), settings) if first_frames is None else first_frames
        texts, empty_text = self.encode_texts(prompts)
        clips = []
        for start in range(0, len(prompts), batch_size):
            batch = slice(start, start + batch_size)
            clips.append(self.generate_batch(texts[batch], empty_text, given[batch], seeds[batch], settings))
            if progress is not None:
                progress(min(start + batch_size, len(prompts)))
        frames, waveforms = zip(*clips, strict=True)
        return np.concatenate(frames), np.concatenate(waveforms)

    def encode_texts(self, prompts: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
        """Embeddings of the prompts `[b, m, d]`, and of the empty one `[1, m, d]`."""
        texts, _ = self.codecs.text.encode([*prompts, ""])
        return texts[:-1], texts[-1:]

    def generate_batch(
        self, text: torch.Tensor, empty_text: torch.Tensor, given: Pixels, seeds: Sequence[int], settings: Settings
    ) -> tuple[Pixels, Waveforms]:
        """One batch of `generate`, from `encode_texts`' embeddings and checked input. Raises and returns as it does."""
        video, audio = self.sample(self.encode(text, empty_text, given, seeds, settings), settings)
        return self.decode_video(video), self.decode_audio(audio, settings)

    @torch.inference_mode()
    def encode(
        self, text: torch.Tensor, empty_text: torch.Tensor, given: Pixels, seeds: Sequence[int], settings: Settings
    ) -> Encoded:
        """Everything about a batch that does not change from step to step."""
        video_shape = video_latent_shape(self.codecs.video, settings.num_frames, settings.height, settings.width)
        audio_shape = audio_latent_shape(self.codecs.audio, self.num_samples(settings))
        noise = initial_noise(seeds, video_shape, audio_shape)
        return Encoded(
            text=text.to(self.device),
            empty_text=empty_text.to(self.device),
            condition=first_frame_condition(self.codecs.video, given, settings.num_frames, self.device),
            noise=(noise[0].to(self.device), noise[1].to(self.device)),
        )

    @torch.inference_mode()
    def sample(self, encoded: Encoded, settings: Settings, schedule: PairedSchedule | None = None) -> Pair:
        """Clean latents `[b, c, F, h, w]` and `[b, c, l]` of a batch; by default along the scheduler's own schedule.

        Raises
        ------
        UserError : if the result holds numbers that are not finite.
        """
        schedule = schedule or self.scheduler.schedule(settings.num_steps)
        branches = Guidance(settings.text_guidance, settings.bridge_guidance, settings.bridge).branches
        given, given_latents = self.scheduler.num_given_frames, encoded.condition[:, MASK_CHANNELS:]

        def evaluate(latents: Pair, point: Point) -> Pair:
            return guided_velocity(
                self._model_at(point, encoded.condition, settings.fps),
                latents,
                encoded.text,
                encoded.empty_text,
                branches,
            )

        def put_back_what_is_given(latents: Pair, point: Point) -> Pair:
            video, audio = latents
            level = torch.full((len(video),), point.video_sigma, dtype=torch.float64, device=self.device)
            video[:, :, :given] = noised(given_latents[:, :, :given], encoded.noise[0][:, :, :given], level)
            return video, audio

        latents = integrate(evaluate, encoded.noise, schedule, Euler(), put_back_what_is_given if given else None)
        if not all(bool(part.isfinite().all()) for part in latents):
            raise UserError(
                "the generated latents hold numbers that are not finite",
                expected="finite numbers",
                remedy="lower the guidance, or use another checkpoint: this one may not have finished training well",
            )
        return latents

    def _model_at(self, point: Point, condition: torch.Tensor, fps: float) -> JointModel:
        """The model as guidance calls it: the point's expert at the point's timesteps.

        Samples with the Bridge and samples without run apart. One batch would compute the Bridge, a third of the nano
        model's work, for all of them and drop it for some.
        """
        expert = self.model.expert_at(point.video_timestep)
        video_timestep = torch.tensor([point.video_timestep], device=self.device)
        audio_timestep = torch.tensor([point.audio_timestep], device=self.device)

        def joint(
            video: torch.Tensor, audio: torch.Tensor, text: torch.Tensor, bridge: torch.Tensor | bool, copies: int, /
        ) -> Pair:
            given = condition.repeat(copies, 1, 1, 1, 1)
            if isinstance(bridge, torch.Tensor):
                video_velocity, audio_velocity = torch.empty_like(video), torch.empty_like(audio)
                for switch in (False, True):
                    chosen = bridge == switch
                    video_velocity[chosen], audio_velocity[chosen] = evaluate(
                        video[chosen], given[chosen], audio[chosen], text[chosen], switch
                    )
                return video_velocity, audio_velocity
            return evaluate(video, given, audio, text, bridge)

        def evaluate(
            video: torch.Tensor, given: torch.Tensor, audio: torch.Tensor, text: torch.Tensor, bridge: bool
        ) -> Pair:
            velocities: Pair = self.model(
                video,
                given,
                audio,
                video_timestep,
                audio_timestep,
                text,
                expert=expert,
                bridge=bridge,
                video_fps=fps,
            )
            return velocities

        return joint

    @torch.inference_mode()
    def decode_video(self, latents: torch.Tensor) -> Pixels:
        """Video latents to uint8 frames `[b, t, h, w, 3]`."""
        return video_array(self.codecs.video.decode(latents))

    @torch.inference_mode()
    def decode_audio(self, latents: torch.Tensor, settings: Settings) -> Waveforms:
        """Audio latents to waveforms `[b, s]` in [-1, 1], cut to the duration of the frames."""
        waveforms = self.codecs.audio.decode(latents)[:, 0, : self.num_samples(settings)]
        return np.ascontiguousarray(waveforms.float().clamp(-1, 1).cpu().numpy())

    def num_samples(self, settings: Settings) -> int:
        """Audio samples of a clip: the duration of its frames, rounded to the nearest sample."""
        return round(settings.num_frames / settings.fps * self.codecs.audio.sample_rate_hz)


def check_fit(model: DualTower, codecs: Codecs, folder: Path) -> None:
    """Holds a model against the codecs it is to work with.

    Raises
    ------
    UserError : if widths differ, naming both, or a weight is not a finite number.
    """
    config = model.config
    pairs = {
        "video latent channels": (config.video.out_dim, codecs.video.latent_channels),
        "audio latent channels": (config.audio.out_dim, codecs.audio.latent_channels),
        "text width": (config.video.text_dim, codecs.text.dim),
        "audio latents a second": (config.bridge.audio_fps, codecs.audio.latent_rate_hz),
    }
    for name, (of_model, of_codec) in pairs.items():
        if of_model != of_codec:
            raise UserError(
                f"the model in {folder} has {name} {of_model}, its codecs {of_codec}",
                expected="them equal",
                remedy="give the codecs that the model was trained with, or train again after `mova encode`",
            )
    for name, weight in model.named_parameters():
        if not bool(weight.isfinite().all()):
            raise UserError(
                f"{name} in {folder} holds numbers that are not finite",
                expected="a checkpoint whose training did not diverge",
                remedy="use an earlier checkpoint, or train this phase again with a lower learning rate",
            )
