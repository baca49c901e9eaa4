"""Curated clips as arrays, decoded by a pool of processes. Imports no torch, so that workers start fast and small."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mova_core.data.media import MediaError, read_clip
from mova_core.errors import UserError
from mova_core.workers import available_cores, map_in_order, process_pool

Frames = NDArray[np.uint8]
Waveform = NDArray[np.float32]
Resolution = tuple[int, int]

# Fewer clips than this are decoded sooner than processes start.
WORTH_A_POOL = 64
# At and under this loudness curation has found silence (BS.1770-4's absolute gate), and there is nothing to level.
QUIETEST_LUFS = -70.0


@dataclass(frozen=True)
class ClipTask:
    """A clip to decode: its file, the form it must have, and what is wanted of it.

    resolutions : (height, width) of every copy of the pictures. loudness_lufs : of the sound, as curation measured it;
    wanted_lufs : of the levelled sound.
    """

    path: Path
    num_frames: int
    height: int
    width: int
    num_samples: int
    loudness_lufs: float
    wanted_lufs: float
    resolutions: tuple[Resolution, ...]


@dataclass(frozen=True)
class DecodedClip:
    """Pictures uint8 [T, h, w, 3] by resolution, sound float32 [S], and the factor that levels it."""

    frames: dict[Resolution, Frames]
    waveform: Waveform
    gain: float

    @property
    def levelled(self) -> Waveform:
        return (self.waveform * np.float32(self.gain)).astype(np.float32)


@contextlib.contextmanager
def clip_reader() -> Iterator[ClipReader]:
    """A reader whose worker processes start when there is enough to read, and end with the block."""
    with contextlib.ExitStack() as stack:
        yield ClipReader(stack)


class ClipReader:
    """Decodes clips on all cores; see `clip_reader`."""

    def __init__(self, stack: contextlib.ExitStack) -> None:
        self._num_workers = available_cores()
        self._stack = stack
        self._pool: ProcessPoolExecutor | None = None

    def read(self, tasks: Sequence[ClipTask]) -> Iterator[DecodedClip]:
        """The clips in the tasks' order.

        Raises
        ------
        UserError : if a clip is absent, does not decode, or is not of the form its row states.
        """
        for result in self._results(tasks):
            if isinstance(result, str):
                raise UserError(
                    result,
                    expected="the clip that its manifest row describes",
                    remedy="delete data/clips and run `mova curate`, `mova caption` and this again",
                )
            yield result

    def _results(self, tasks: Sequence[ClipTask]) -> Iterator[DecodedClip | str]:
        if self._pool is None and len(tasks) < WORTH_A_POOL:
            return map(decode_clip, tasks)
        if self._pool is None:
            self._pool = self._stack.enter_context(process_pool(self._num_workers))
        return map_in_order(self._pool, self._num_workers, decode_clip, tasks)


def decode_clip(task: ClipTask) -> DecodedClip | str:
    """The clip of `task`, or a sentence on why there is none (errors do not travel between processes whole)."""
    try:
        frames, waveform = read_clip(task.path)
    except MediaError as error:
        return f"{task.path} does not decode ({error.reason}: {error.detail})"
    except OSError as error:
        return f"{task.path} does not open ({error.strerror})"
    found = (*frames.shape[:3], waveform.size)
    wanted = (task.num_frames, task.height, task.width, task.num_samples)
    if found != wanted:
        return f"{task.path} has {found} frames, rows, columns and samples; its row says {wanted}"
    return DecodedClip(
        frames={resolution: area_resized(frames, resolution) for resolution in task.resolutions},
        waveform=waveform,
        gain=levelling_gain(waveform, task.loudness_lufs, task.wanted_lufs),
    )


def area_resized(frames: Frames, resolution: Resolution) -> Frames:
    """Frames [T, H, W, 3] brought down to (height, width): every new pixel is the mean of the area it covers."""
    import cv2

    height, width = resolution
    if frames.shape[1:3] == (height, width):
        return frames
    return np.stack([cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA) for frame in frames])


def levelling_gain(waveform: Waveform, loudness_lufs: float, wanted_lufs: float) -> float:
    """The factor that brings a sound of `loudness_lufs` to `wanted_lufs`, held back where a peak would pass full scale.

    Loudness is integrated loudness by ITU-R BS.1770-4. Silence keeps its level.
    """
    peak = float(np.abs(waveform).max(initial=0.0))
    if loudness_lufs <= QUIETEST_LUFS or peak == 0.0:
        return 1.0
    return min(10 ** ((wanted_lufs - loudness_lufs) / 20), 1.0 / peak)
