"""From prompts and pictures to video with sound.

`MovaPipeline.from_pretrained` reads a folder in the release's layout. Calling the pipeline takes arguments as the
pipelines of diffusers do; `generate` takes arrays. Both check their input, encode what is given once, and sample in
batches of clips, through `run`. Axes: b clip, t pixel frame, s sample, m text row.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from kernels.dispatch import Request
from mova_core.codecs.arrays import decoded_frames
from mova_core.codecs.base import Codecs, load_codecs
from mova_core.config.sampling import SolverName
from mova_core.diffusion.flow import Pair
from mova_core.diffusion.schedule import PairedSchedule
from mova_core.diffusion.scheduler import Scheduler
from mova_core.errors import UserError
from mova_core.inference.arguments import Picture, pictures_of, prompts_of, seeds_of
from mova_core.inference.callbacks import StepEnd, as_on_step
from mova_core.inference.clip_inputs import ClipInputs
from mova_core.inference.defaults import RELEASED_SETTINGS, Defaults
from mova_core.inference.denoising import OnStep, denoise
from mova_core.inference.encoded import Encoded, Encoder
from mova_core.inference.extension import DEFAULT_OVERLAP_FRAMES, Extension, extended
from mova_core.inference.fitting import check_fit, check_sizes
from mova_core.inference.guiding import guidance_of
from mova_core.inference.inputs import Pixels, Settings, TextOnly
from mova_core.inference.joining import with_given_start
from mova_core.inference.known import KnownPair
from mova_core.inference.output import MovaOutput, OutputType, as_asked, check_output_type
from mova_core.inference.placement import Memory, Placement, Run, on_turn, run_of
from mova_core.inference.texts import wording_of
from mova_core.models.compiling import compile_layers
from mova_core.models.dual_tower import DualTower
from mova_core.models.weights import load_model
from mova_core.progress import say

Waveforms = NDArray[np.float32]
Progress = Callable[[int], None]
DEFAULT_BATCH_SIZE = 8


class MovaPipeline:
    """A model with its codecs and its noise schedule.

    Attributes
    ----------
    defaults : the settings that calls fall back on: what the checkpoint is meant for, else the released model's.
    """

    def __init__(
        self,
        model: DualTower,
        codecs: Codecs,
        scheduler: Scheduler,
        device: torch.device | str = "cpu",
        defaults: Settings = RELEASED_SETTINGS,
        memory: Memory = "auto",
    ) -> None:
        self.device = torch.device(device)
        self.model = model.eval().requires_grad_(False)
        self.placement = Placement(self.model, codecs, self.device, memory)
        self.codecs = on_turn(codecs, self.placement)
        self.scheduler = scheduler
        self.defaults = defaults
        self.encoder = Encoder(self.codecs, scheduler.num_given_frames, self.device)

    @classmethod
    def from_pretrained(
        cls,
        checkpoint_dir: Path | str,
        codecs_dir: Path | None = None,
        *,
        codecs: Codecs | None = None,
        device: torch.device | str = "cpu",
        compute_dtype: torch.dtype | None = None,
        vae_dtype: torch.dtype = torch.float32,
        kernels: Request = "auto",
        memory: Memory = "auto",
        compile: bool = False,
    ) -> MovaPipeline:
        """Loads a release, or a training checkpoint with the codecs that encoded its data.

        Parameters
        ----------
        checkpoint_dir : a folder with model_index.json.
        codecs_dir : where video_vae, audio_vae, text_encoder and tokenizer lie; by default beside the model.
        codecs : loaded ones, to share between pipelines, instead of `codecs_dir`.
        compute_dtype : of matrix products; None stands for the parameters' own.
        vae_dtype : what the video VAE computes in, unless `codecs` are given.
        compile : whether `torch.compile` makes code of the layers, at their first run; see
            `mova_core.models.compiling`.
        memory : where weights are: `resident`, `swap`, `stream`, or `auto` (see `mova_core.inference.placement`).

        Raises
        ------
        UserError : if a part is missing, unreadable, of other shapes than the rest, or has weights that are not finite.
        """
        folder = Path(checkpoint_dir)
        model = load_model(folder, compute_dtype=compute_dtype, kernels=kernels)
        codecs = codecs or load_codecs(codecs_dir or folder, vae_dtype)
        check_fit(model, codecs, folder)
        if compile:
            say(f"compiling {compile_layers(model, torch.device(device))} layers at their first run")
        meant = Defaults.load(folder)
        settings = meant.settings if meant else RELEASED_SETTINGS
        return cls(model, codecs, Scheduler.load(folder), device, settings, memory)

    def __call__(
        self,
        prompt: str | Sequence[str],
        image: Picture | Sequence[Picture] | None = None,
        negative_prompt: str | None = None,
        *,
        height: int | None = None,
        width: int | None = None,
        num_frames: int | None = None,
        frame_rate: float | None = None,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        bridge_guidance_scale: float | None = None,
        audio_guidance_scale: float | None = None,
        audio_bridge_guidance_scale: float | None = None,
        bridge: bool | None = None,
        solver: str | None = None,
        video_shift: float | None = None,
        audio_shift: float | None = None,
        text_only: TextOnly | None = None,
        compat: bool | None = None,
        last_image: Picture | Sequence[Picture] | None = None,
        video: Pixels | None = None,
        audio: Waveforms | None = None,
        num_videos_per_prompt: int = 1,
        seed: int | Sequence[int] | None = None,
        generator: torch.Generator | Sequence[torch.Generator] | None = None,
        batch_size: int = DEFAULT_BATCH_SIZE,
        callback_on_step_end: StepEnd[MovaPipeline] | None = None,
        output_type: OutputType = "np",
    ) -> MovaOutput:
        """Generates clips; what is None follows the checkpoint's defaults.

        Parameters
        ----------
        prompt : what is seen and heard; one or several.
        image, last_image : the first and last frame, one for all prompts or one each; files, arrays or Pillow images of
            any size. Without a first frame, `text_only` says what stands in.
        negative_prompt : what to guide away from; used where guidance evaluates it.
        height, width, num_frames, frame_rate : of the clips: pixels, frames, frames a second.
        num_inference_steps, solver, video_shift, audio_shift, compat : the way from noise to clip (see `Settings`).
        guidance_scale, bridge_guidance_scale : s_T and s_B; 1 is none. The audio ones apply to the sound alone.
        video : `[b, t, h, w, 3]` uint8 of the clips' size: kept as it is, and given a sound.
        audio : `[b, s]` or `[s]` in [-1, 1] at the codec's rate, as long as the clips: kept, and given pictures.
        seed, generator : see `mova_core.inference.arguments.seeds_of`; the seeds used are in the output.
        batch_size : clips sampled at once.
        callback_on_step_end : see `mova_core.inference.callbacks.StepEnd`.
        output_type : see `MovaOutput`.

        Raises
        ------
        UserError : for input that cannot work, before any of the work; if the model's numbers overflow.
        """
        asked = {
            "height": height,
            "width": width,
            "num_frames": num_frames,
            "fps": frame_rate,
            "num_steps": num_inference_steps,
            "text_guidance": guidance_scale,
            "bridge_guidance": bridge_guidance_scale,
            "audio_text_guidance": audio_guidance_scale,
            "audio_bridge_guidance": audio_bridge_guidance_scale,
            "bridge": bridge,
            "solver": solver,
            "video_shift": video_shift,
            "audio_shift": audio_shift,
            "text_only": text_only,
            "compat": compat,
        }
        given = {name: value for name, value in asked.items() if value is not None}
        settings = dataclasses.replace(self.defaults, **given)  # type: ignore[arg-type]  # each of its field's type
        prompts = prompts_of(prompt, num_videos_per_prompt)
        clips = ClipInputs(
            prompts=prompts,
            seeds=seeds_of(seed, generator, len(prompts)),
            negative_prompt=negative_prompt or "",
            first_frames=pictures_of("image", image, len(prompts), settings),
            last_frames=pictures_of("last_image", last_image, len(prompts), settings),
            video=video if video is None or video.ndim != 4 else video[None],
            audio=audio if audio is None or audio.ndim != 1 else audio[None],
        )
        return self.run(
            clips,
            settings,
            batch_size=batch_size,
            on_step=as_on_step(self, callback_on_step_end),
            output_type=output_type,
        )

    def extend(
        self,
        video: Pixels,
        audio: Waveforms,
        prompt: str | Sequence[str],
        *,
        num_frames: int,
        overlap_frames: int = DEFAULT_OVERLAP_FRAMES,
        settings: Settings | None = None,
        negative_prompt: str = "",
        seed: int | Sequence[int] | None = None,
        batch_size: int = DEFAULT_BATCH_SIZE,
        callback_on_step_end: StepEnd[MovaPipeline] | None = None,
    ) -> MovaOutput:
        """Continues clips beyond what the model makes at once.

        Parameters
        ----------
        video, audio : `[b, t, h, w, 3]` uint8 and `[b, s]`, such as a call's output; they come out unchanged, followed
            by what is added.
        prompt : of what is added; one a clip.
        num_frames : of the whole clips in the end.
        overlap_frames : 4k + 1, how many frames, and the sound with them, each window is given to continue from.
        settings : of a window; by default the pipeline's.
        seed : as in a call.

        Raises
        ------
        UserError : as a call.
        """
        window = settings or self.defaults
        prompts = prompts_of(prompt, 1)
        clips = ClipInputs(prompts, seeds_of(seed, None, len(prompts)), negative_prompt)
        extension = Extension(num_frames, overlap_frames, window, self.codecs.audio.sample_rate_hz)
        on_step = as_on_step(self, callback_on_step_end)

        def generate(inputs: ClipInputs) -> tuple[Pixels, Waveforms]:
            output = self.run(inputs, window, batch_size=batch_size, on_step=on_step)
            return output.frames, output.audio

        frames, waveforms = extended(generate, extension, video, audio, clips)
        return MovaOutput(
            frames=frames,
            audio=waveforms,
            sample_rate_hz=extension.sample_rate_hz,
            settings=window,
            prompts=tuple(prompts),
            seeds=tuple(clips.seeds),
            negative_prompt=negative_prompt,
        )

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
        solver: SolverName = "euler",
        batch_size: int = DEFAULT_BATCH_SIZE,
        progress: Progress | None = None,
    ) -> tuple[Pixels, Waveforms]:
        """Generates one clip a prompt, with every setting stated.

        Parameters
        ----------
        prompts : what is seen and heard, one a clip.
        first_frames : uint8 RGB `[b, height, width, 3]`; None stands for white ones, as for models without a picture.
        seeds : one a clip.
        num_steps, text_guidance, bridge_guidance, bridge, height, width, num_frames, fps, solver : see `Settings`.
        batch_size : clips sampled at once.
        progress : called after each batch with the number of clips done.

        Returns
        -------
        (frames uint8 `[b, num_frames, height, width, 3]`, waveforms float32 `[b, s]` of exactly the frames' duration).

        Raises
        ------
        UserError : as a call.
        """
        settings = Settings(
            num_steps, text_guidance, bridge_guidance, bridge, height, width, num_frames, fps, solver=solver
        )
        clips = ClipInputs(prompts, seeds, first_frames=first_frames)
        output = self.run(clips, settings, batch_size=batch_size, progress=progress)
        return output.frames, output.audio

    def run(
        self,
        clips: ClipInputs,
        settings: Settings,
        *,
        batch_size: int = DEFAULT_BATCH_SIZE,
        progress: Progress | None = None,
        on_step: OnStep | None = None,
        output_type: OutputType = "np",
    ) -> MovaOutput:
        """Generates clips.

        A clip's noise depends on its seed alone. Its pictures and sound are the same bit for bit in batches of the same
        size, and up to rounding in others.

        Raises
        ------
        UserError : for input that cannot work, before any of the work; if the model's numbers overflow.
        """
        self.check(clips, settings)
        check_output_type(output_type)
        if batch_size < 1:
            raise UserError(f"batch_size is {batch_size}", expected="at least 1", remedy="8 suits most machines")
        self.prepare(settings, min(batch_size, len(clips)), len(clips))
        texts, empty_text = self.encode_texts(*wording_of(clips.prompts, clips.negative_prompt, settings))
        parts = []
        for start in range(0, len(clips), batch_size):
            batch = slice(start, start + batch_size)
            parts.append(self._batch(texts[batch], empty_text, clips.part(batch), settings, on_step, output_type))
            if progress is not None:
                progress(min(start + batch_size, len(clips)))
        frames, audio = zip(*parts, strict=True)
        join = np.concatenate if output_type == "np" else torch.cat
        return MovaOutput(
            frames=join(frames),
            audio=join(audio),
            sample_rate_hz=self.codecs.audio.sample_rate_hz,
            settings=settings,
            prompts=tuple(clips.prompts),
            seeds=tuple(clips.seeds),
            negative_prompt=clips.negative_prompt,
        )

    def check(self, clips: ClipInputs, settings: Settings) -> None:
        """Whether the clips can be generated so.

        Raises
        ------
        UserError : if not, saying what was found and what is allowed.
        """
        check_sizes(self.model, self.codecs, settings)
        clips.check(settings, self.codecs.audio.sample_rate_hz)

    def prepare(self, settings: Settings, num_clips: int, num_prompts: int) -> None:
        """Chooses the memory mode for batches of `num_clips`, and says what it takes.

        Raises
        ------
        UserError : if there is not enough memory.
        """
        self.placement.prepare(self.run_shapes(settings, num_clips, num_prompts))

    def run_shapes(self, settings: Settings, num_clips: int, num_prompts: int) -> Run:
        """What `prepare` measures."""
        rows = num_clips * guidance_of(settings, KnownPair()).most_together
        return run_of(self.codecs, settings, num_clips, rows, num_prompts + 1)

    def encode_texts(
        self, prompts: Sequence[str], negative_prompt: str | None = ""
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Embeddings of the prompts `[b, m, d]`, and of the negative one `[1, m, d]` unless it is None."""
        return self.encoder.texts(prompts, negative_prompt)

    def generate_batch(
        self, text: torch.Tensor, empty_text: torch.Tensor | None, clips: ClipInputs, settings: Settings
    ) -> tuple[Pixels, Waveforms]:
        """One batch of `run`, from `encode_texts`' embeddings and checked input: frames and waveforms."""
        self.prepare(settings, len(clips), len(clips))
        return self._batch(text, empty_text, clips, settings, None, "np")

    def encode(
        self, text: torch.Tensor, empty_text: torch.Tensor | None, clips: ClipInputs, settings: Settings
    ) -> Encoded:
        """Everything about a batch that does not change from step to step."""
        return self.encoder.batch(text, empty_text, clips, settings)

    @torch.inference_mode()
    def sample(
        self,
        encoded: Encoded,
        settings: Settings,
        schedule: PairedSchedule | None = None,
        on_step: OnStep | None = None,
    ) -> Pair:
        """Clean latents `[b, c, F, h, w]` and `[b, c, l]` of a batch; by default along the scheduler's own schedule.

        Raises
        ------
        UserError : as soon as numbers are not finite.
        """
        schedule = schedule or self.scheduler.schedule(
            settings.num_steps,
            video_shift=settings.video_shift,
            audio_shift=settings.audio_shift,
            compat=settings.compat,
        )
        return denoise(self.model, encoded, settings, schedule, on_step)

    @torch.inference_mode()
    def decode_video(self, latents: torch.Tensor) -> Pixels:
        """Video latents to uint8 frames `[b, t, h, w, 3]`."""
        return decoded_frames(self.codecs.video, latents)

    @torch.inference_mode()
    def decode_audio(self, latents: torch.Tensor, settings: Settings) -> Waveforms:
        """Audio latents to waveforms `[b, s]` in [-1, 1], cut to the duration of the frames."""
        waveforms = self.codecs.audio.decode(latents)[:, 0, : self.num_samples(settings)]
        return np.ascontiguousarray(waveforms.float().clamp(-1, 1).cpu().numpy())

    def num_samples(self, settings: Settings) -> int:
        """Audio samples of a clip: the duration of its frames, rounded to the nearest sample."""
        return settings.num_samples(self.codecs.audio.sample_rate_hz)

    def _batch(
        self,
        text: torch.Tensor,
        empty_text: torch.Tensor | None,
        clips: ClipInputs,
        settings: Settings,
        on_step: OnStep | None,
        output_type: OutputType,
    ) -> tuple[Any, Any]:
        latents = self.sample(self.encode(text, empty_text, clips, settings), settings, on_step=on_step)
        if output_type == "latent":
            return latents
        frames = self.decode_video(latents[0]) if clips.video is None else clips.video
        audio = self.decode_audio(latents[1], settings) if clips.audio is None else clips.audio
        frames, audio = with_given_start(clips, frames, audio.astype(np.float32), self.codecs.audio.sample_rate_hz)
        return as_asked(frames, audio, output_type)
