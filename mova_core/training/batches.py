"""From cached latents and pure draws to what a step trains on, for this process's share of the batch."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Generic, TypeVar

import torch

from mova_core.config.training import AudioPhaseConfig, JointPhaseConfig
from mova_core.data.shards import BatchSampler, LatentBatch, LatentStore
from mova_core.diffusion.flow import unshifted
from mova_core.models.dual_tower import Expert
from mova_core.training.draws import Draw, draw, number_for
from mova_core.training.objective import AudioBatch, JointBatch, first_frame_condition, levels_of

GOLDEN = 0.6180339887498949
"""Multiples of it, modulo one, spread evenly over [0, 1) however many are taken."""

Batch = TypeVar("Batch", AudioBatch, JointBatch)
Clip = tuple[int, Draw]
"""A row of the store and its draw."""


class Batches(Generic[Batch]):
    """What the phases share; `AudioBatches` and `JointBatches` add what a batch is made of.

    Parameters
    ----------
    store : the cached latents.
    name : the phase's, on which all its draws depend.
    phase, seed : the phase's settings and the configuration's seed.
    rank, num_ranks : which share of every batch is this process's.
    """

    def __init__(
        self,
        store: LatentStore,
        name: str,
        phase: AudioPhaseConfig | JointPhaseConfig,
        seed: int,
        rank: int,
        num_ranks: int,
    ) -> None:
        self.store, self.name, self.seed = store, name, seed
        self.text_dropout = phase.text_dropout
        self.rank, self.num_ranks = rank, num_ranks
        self.null_text = store.null_text
        self.train_rows = store.indices(split="train", phase=name)
        self._sampler = BatchSampler(self.train_rows, phase.batch_size, number_for(seed, name))

    def training(self, step: int, expert: Expert, micro_batch: int) -> Iterator[Batch]:
        """This process's micro-batches of a step, in the order of the whole batch."""
        rows = self._sampler.batch(step, self.rank, self.num_ranks)
        first = self.rank * len(rows)
        clips = [(row, self._draw(step, first + place)) for place, row in enumerate(rows)]
        for start in range(0, len(clips), micro_batch):
            yield self._batch(clips[start : start + micro_batch], expert, training=True)

    def validation(self, num_clips: int, micro_batch: int) -> Iterator[tuple[Batch, torch.Tensor]]:
        """This process's share of the held-out clips: batches without dropout, and the weight of each clip.

        Draws are the same each time. Noise levels divide their whole range evenly between the clips, and a clip goes to
        the expert that its level belongs to, so the weighted mean of the losses stands for all levels. Every process
        receives as many batches of as many clips, the last ones filled up with clips of weight zero.
        """
        rows = self.store.indices(split="val", phase=self.name)[:num_clips]
        clips = [(row, self._spread(place, len(rows))) for place, row in enumerate(rows)]
        for expert, members in self._by_expert(clips).items():
            if not members:
                continue
            padded = members + members[:1] * (-len(members) % self.num_ranks)
            own = range(self.rank, len(padded), self.num_ranks)
            for start in range(0, len(own), micro_batch):
                places = own[start : start + micro_batch]
                weights = torch.tensor([float(place < len(members)) for place in places])
                yield self._batch([padded[place] for place in places], expert, training=False), weights

    def _draw(self, step: int | str, sample: int) -> Draw:
        return draw(self.seed, self.name, step, sample, self._video_shape(), self.store.audio_shape)

    def _spread(self, place: int, num: int) -> Draw:
        one = self._draw("validation", place)
        audio_u = (place * GOLDEN + one.audio_u / num) % 1.0
        return dataclasses.replace(one, video_u=(place + one.video_u) / num, audio_u=audio_u)

    def _text(self, cached: LatentBatch, clips: Sequence[Clip], training: bool) -> torch.Tensor:
        dropped = torch.tensor([training and each.text_u < self.text_dropout for _, each in clips])
        return torch.where(dropped[:, None, None], self.null_text, cached.text)

    def _video_shape(self) -> tuple[int, ...]:
        raise NotImplementedError

    def _by_expert(self, clips: list[Clip]) -> dict[Expert, list[Clip]]:
        raise NotImplementedError

    def _batch(self, clips: Sequence[Clip], expert: Expert, training: bool) -> Batch:
        raise NotImplementedError


class AudioBatches(Batches[AudioBatch]):
    """Batches of phase 0."""

    def __init__(
        self, store: LatentStore, name: str, phase: AudioPhaseConfig, seed: int, rank: int, num_ranks: int
    ) -> None:
        super().__init__(store, name, phase, seed, rank, num_ranks)
        self.phase = phase

    def _video_shape(self) -> tuple[int, ...]:
        return ()

    def _by_expert(self, clips: list[Clip]) -> dict[Expert, list[Clip]]:
        return {"high_noise": clips}

    def _batch(self, clips: Sequence[Clip], expert: Expert, training: bool) -> AudioBatch:
        resolution = self.store.resolutions[0]
        cached = self.store.batch([row for row, _ in clips], resolution, self.phase.loudness_normalised)
        return AudioBatch(
            audio=cached.audio,
            audio_noise=_stacked([each.audio_noise for _, each in clips]),
            audio_sigma=levels_of(None, self.phase.audio_shift)(_column([each.audio_u for _, each in clips])),
            text=self._text(cached, clips, training),
        )


class JointBatches(Batches[JointBatch]):
    """Batches of a joint phase.

    Parameters
    ----------
    num_experts, boundary_ratio : the model's.
    """

    def __init__(
        self,
        store: LatentStore,
        name: str,
        phase: JointPhaseConfig,
        seed: int,
        rank: int,
        num_ranks: int,
        *,
        num_experts: int,
        boundary_ratio: float,
    ) -> None:
        super().__init__(store, name, phase, seed, rank, num_ranks)
        self.phase, self.num_experts, self.boundary = phase, num_experts, boundary_ratio
        self.resolution = (phase.height, phase.width)

    def _video_shape(self) -> tuple[int, ...]:
        return self.store.video_shape(self.resolution)

    def _by_expert(self, clips: list[Clip]) -> dict[Expert, list[Clip]]:
        if self.num_experts == 1:
            return {"high_noise": clips}
        boundary = float(unshifted(torch.tensor(self.boundary, dtype=torch.float64), self.phase.video_shift))
        return {
            "high_noise": [clip for clip in clips if clip[1].video_u >= boundary],
            "low_noise": [clip for clip in clips if clip[1].video_u < boundary],
        }

    def _batch(self, clips: Sequence[Clip], expert: Expert, training: bool) -> JointBatch:
        phase = self.phase
        cached = self.store.batch([row for row, _ in clips], self.resolution, phase.loudness_normalised)
        draws = [each for _, each in clips]
        levels = levels_of(expert if training and self.num_experts == 2 else None, phase.video_shift, self.boundary)
        return JointBatch(
            audio=cached.audio,
            audio_noise=_stacked([each.audio_noise for each in draws]),
            audio_sigma=levels_of(None, phase.audio_shift)(_column([each.audio_u for each in draws])),
            text=self._text(cached, clips, training),
            video=cached.video,
            video_noise=_stacked([each.video_noise for each in draws]),
            video_sigma=levels(_column([each.video_u for each in draws])),
            condition=first_frame_condition(cached.first_frame),
            bridge=torch.tensor([not training or each.bridge_u >= phase.bridge_dropout for each in draws]),
            expert=expert,
        )


def _stacked(arrays: Sequence[object]) -> torch.Tensor:
    return torch.stack([torch.from_numpy(array) for array in arrays])


def _column(values: Sequence[float]) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)
