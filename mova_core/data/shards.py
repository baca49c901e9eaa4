"""Cached latents on disk: written in shards by `encode`, read in random batches by training and evaluation.

```
latents/manifest.parquet                    LatentRow, one a clip; written last
latents/shards/<collection>-00000.safetensors
    video_<height>x<width>  [n, C, F, h, w]   one tensor a cached resolution, named by the pixels' size
    first_<height>x<width>  [n, C, F, h, w]   latents of a clip that shows the first frame once, then mid-grey
    audio                   [n, C, L]         the clip's sound as it is
    audio_levelled          [n, C, L]         the same, brought to the configured loudness
latents/shards/text.safetensors
    states                  [rows, D]         token states of all unique prompts, one after the other
    offsets                 [prompts + 1]     where each prompt starts; prompt 0 is the empty one, the null text
```

Files hold float16: latents are about unit variance, and the rounding (2^-11 of the value) lies 30 dB below what the
codecs themselves lose. Every file carries a fingerprint of all it depends on, by which a resumed run knows what is
done.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from mova_core.data.manifest import read_manifest
from mova_core.data.records import LatentRow
from mova_core.errors import UserError
from mova_core.files import write_bytes

STORED_DTYPE = torch.float16
MANIFEST_FILE = "manifest.parquet"
SHARDS_FOLDER = "shards"
TEXT_TABLE_FILE = "text.safetensors"
NULL_TEXT_ROW = 0
AUDIO = "audio"
AUDIO_LEVELLED = "audio_levelled"


@dataclass(frozen=True)
class LatentBatch:
    """Clips as the model sees them, float32.

    Attributes
    ----------
    video : [B, C, F, h, w].
    first_frame : [B, C, F, h, w], what the model is told of the given first frame: latents of a clip that shows it once
        and mid-grey from there on.
    audio : [B, C, L].
    text : [B, M, D], zero past each prompt's length.
    """

    video: Tensor
    first_frame: Tensor
    audio: Tensor
    text: Tensor

    def to(self, device: torch.device) -> LatentBatch:
        return LatentBatch(
            self.video.to(device), self.first_frame.to(device), self.audio.to(device), self.text.to(device)
        )


class LatentStore:
    """Random access to all cached clips. Files are memory-mapped: a row is read when asked for, and stays on disk.

    Attributes
    ----------
    rows : the manifest's rows, in its order; indices below count along it.
    resolutions : (height, width) in pixels of every cached copy, smallest first.

    Raises
    ------
    UserError : if `encode` has not finished in `latents_dir`, or a file of it is damaged.
    """

    def __init__(self, latents_dir: Path) -> None:
        self.rows = read_manifest(latents_dir / MANIFEST_FILE, LatentRow)
        shards = latents_dir / SHARDS_FOLDER
        self._shards = {name: _mapped(shards / name) for name in sorted({row.shard for row in self.rows})}
        table = _mapped(shards / TEXT_TABLE_FILE)
        self._states, self._offsets, self._max_tokens = (
            table["states"],
            table["offsets"].tolist(),
            int(table["max_tokens"]),
        )
        names = set.intersection(*(set(tensors) for tensors in self._shards.values())) if self._shards else set()
        self.resolutions = sorted(_resolution(name) for name in names if name.startswith("video_"))

    def indices(self, *, split: str | None = None, phase: str | None = None) -> list[int]:
        """The rows of a split ("train" or "val") that a training phase may use; None does not filter."""
        return [
            index
            for index, row in enumerate(self.rows)
            if (split is None or row.split == split) and (phase is None or phase in row.phases)
        ]

    def batch(self, indices: Sequence[int], resolution: tuple[int, int], loudness_normalised: bool) -> LatentBatch:
        """The clips at `indices`.

        resolution : (height, width) in pixels, one of `resolutions`.
        loudness_normalised : takes the levelled sound instead of the plain one.

        Raises
        ------
        UserError : if that resolution is not cached.
        """
        self._check_cached(resolution)
        audio_name = AUDIO_LEVELLED if loudness_normalised else AUDIO
        rows = [self.rows[index] for index in indices]
        return LatentBatch(
            video=self._stacked(video_tensor_name(resolution), rows),
            first_frame=self._stacked(first_frame_tensor_name(resolution), rows),
            audio=self._stacked(audio_name, rows),
            text=torch.stack([self._text(row.text_row) for row in rows]),
        )

    @property
    def null_text(self) -> Tensor:
        """States of the empty prompt, [M, D] float32."""
        return self._text(NULL_TEXT_ROW)

    def video_shape(self, resolution: tuple[int, int]) -> tuple[int, int, int, int]:
        """[C, F, h, w] of a clip's pictures. Raises as `batch`."""
        self._check_cached(resolution)
        num_channels, num_frames, height, width = self._any_shard()[video_tensor_name(resolution)].shape[1:]
        return num_channels, num_frames, height, width

    @property
    def audio_shape(self) -> tuple[int, int]:
        """[C, L] of a clip's sound."""
        num_channels, length = self._any_shard()[AUDIO].shape[1:]
        return num_channels, length

    @property
    def text_shape(self) -> tuple[int, int]:
        """[M, D] of a prompt."""
        return self._max_tokens, self._states.shape[1]

    def _any_shard(self) -> dict[str, Tensor]:
        return next(iter(self._shards.values()))

    def _stacked(self, tensor_name: str, rows: list[LatentRow]) -> Tensor:
        stacked = torch.empty(len(rows), *self._any_shard()[tensor_name].shape[1:])
        # Row by row: a clip is too small for torch to wake its threads, whose waiting costs more than the copy.
        for place, row in zip(stacked, rows, strict=True):
            place.copy_(self._shards[row.shard][tensor_name][row.row])
        return stacked

    def _check_cached(self, resolution: tuple[int, int]) -> None:
        if tuple(resolution) not in self.resolutions:
            raise UserError(
                f"no latents of {resolution[0]}x{resolution[1]} pictures are cached",
                expected=f"one of {', '.join(f'{height}x{width}' for height, width in self.resolutions)}",
                remedy="add that size to encode.resolutions and run `mova encode`",
            )

    def _text(self, row: int) -> Tensor:
        start, end = self._offsets[row], self._offsets[row + 1]
        states = torch.zeros(self.text_shape)
        states[: end - start] = self._states[start:end]
        return states


class BatchSampler:
    """Which rows make which batch: a pure function of (seed, step), so resuming and splitting over ranks are exact.

    Rows come in a fresh random order each time all have been seen; a batch may span two orders.

    rows : the row indices to draw from. batch_size : of all ranks together. seed : of the orders.

    Raises
    ------
    UserError : if there are no rows.
    """

    def __init__(self, rows: Sequence[int], batch_size: int, seed: int) -> None:
        if not rows:
            raise UserError(
                "there is no clip to train on",
                expected="clips of the train split that pass the phase's gates",
                remedy="look at data/clips/*/rejects.parquet, loosen curate.gates or curate.phase_gates, or add videos",
            )
        self.rows = np.asarray(rows)
        self.batch_size = batch_size
        self.seed = seed
        self._epoch = -1
        self._order: npt.NDArray[np.int64] = np.empty(0, dtype=np.int64)

    def batch(self, step: int, rank: int = 0, num_ranks: int = 1) -> list[int]:
        """Row indices of this rank's share of batch `step`; the shares in rank order make up the whole batch.

        Raises
        ------
        UserError : if the ranks do not divide the batch.
        """
        if self.batch_size % num_ranks:
            raise UserError(
                f"a batch of {self.batch_size} for {num_ranks} processes",
                expected="a batch size that the number of processes divides",
                remedy="change the phase's batch_size or train.engine.processes",
            )
        share = self.batch_size // num_ranks
        first = step * self.batch_size + rank * share
        return [self._drawn(position) for position in range(first, first + share)]

    def _drawn(self, position: int) -> int:
        epoch, place = divmod(position, len(self.rows))
        if epoch != self._epoch:
            generator = np.random.Generator(np.random.PCG64([self.seed, epoch]))
            self._epoch, self._order = epoch, generator.permutation(len(self.rows))
        return int(self.rows[self._order[place]])


def video_tensor_name(resolution: tuple[int, int]) -> str:
    """The tensor of a shard that holds pictures of (height, width) pixels."""
    return f"video_{resolution[0]}x{resolution[1]}"


def first_frame_tensor_name(resolution: tuple[int, int]) -> str:
    """The tensor of a shard that holds what the model is told of the first frame, at that size."""
    return f"first_{resolution[0]}x{resolution[1]}"


def write_shard(path: Path, tensors: dict[str, Tensor], fingerprint: str) -> None:
    """Writes clips' latents, first axis the clip, whole or not at all."""
    stored = {name: tensor.to(STORED_DTYPE).cpu().contiguous() for name, tensor in tensors.items()}
    _save(path, stored, fingerprint)


def write_text_table(path: Path, states: Tensor, lengths: Tensor, max_tokens: int, fingerprint: str) -> None:
    """Writes prompts' token states, whole or not at all.

    states : [rows, D], all prompts one after the other without padding; the first must be the empty prompt.
    lengths : [prompts], rows of each. max_tokens : rows of a prompt once it is padded.
    """
    stored = {
        "states": states.to(STORED_DTYPE).cpu().contiguous(),
        "offsets": torch.nn.functional.pad(lengths.cpu().cumsum(0), (1, 0)),
        "max_tokens": torch.tensor(max_tokens),
    }
    _save(path, stored, fingerprint)


def stored_fingerprint(path: Path) -> str | None:
    """The fingerprint in a shard's or the text table's header; None where there is no such file or it is damaged."""
    try:
        with safe_open(path, framework="pt") as file:
            return (file.metadata() or {}).get("fingerprint")
    except (OSError, SafetensorError):
        return None


def _save(path: Path, tensors: dict[str, Tensor], fingerprint: str) -> None:
    # One entry of metadata and no more: safetensors writes several in random order, and equal shards are equal bytes.
    # Through bytes, since safetensors' own files are readable by their owner alone.
    write_bytes(path, save(tensors, metadata={"fingerprint": fingerprint}))


def _mapped(path: Path) -> dict[str, Tensor]:
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    except (OSError, SafetensorError) as error:
        raise UserError(
            f"{path} does not read ({error})",
            expected="a shard of cached latents",
            remedy="run `mova encode`, which makes what is missing or damaged",
        ) from error


def _resolution(tensor_name: str) -> tuple[int, int]:
    height, width = tensor_name.removeprefix("video_").split("x")
    return int(height), int(width)
