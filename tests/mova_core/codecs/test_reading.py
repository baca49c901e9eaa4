"""Clips from disk: decoded in order, in the wanted sizes and loudness, and refused if they are not as described."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mova_core.codecs.reading import ClipTask, DecodedClip, area_resized, clip_reader, decode_clip, levelling_gain
from mova_core.data.media import write_clip
from mova_core.errors import UserError


@pytest.fixture(scope="module")
def tasks(train_clips: list[Any], tmp_path_factory: pytest.TempPathFactory) -> list[ClipTask]:
    folder = tmp_path_factory.mktemp("clips")
    tasks = []
    for index, clip in enumerate(train_clips[:6]):
        path = folder / f"{index}.mp4"
        write_clip(path, clip.frames, clip.waveform, 24.0, 48000)
        tasks.append(ClipTask(path, 33, 64, 64, 66000, -23.0, -29.0, ((32, 32), (64, 64))))
    return tasks


def test_a_clip_comes_in_every_size_with_its_gain(tasks: list[ClipTask], train_clips: list[Any]) -> None:
    clip = decode_clip(tasks[0])
    assert isinstance(clip, DecodedClip)
    assert {size: frames.shape for size, frames in clip.frames.items()} == {
        (32, 32): (33, 32, 32, 3),
        (64, 64): (33, 64, 64, 3),
    }
    assert np.abs(clip.frames[64, 64].astype(int) - train_clips[0].frames).mean() < 3
    np.testing.assert_allclose(clip.waveform, train_clips[0].waveform, atol=1e-4)
    np.testing.assert_allclose(clip.levelled, clip.waveform * 10 ** (-6 / 20), rtol=1e-5)


def test_the_pool_keeps_the_order(tasks: list[ClipTask]) -> None:
    with clip_reader() as reader:
        clips = list(reader.read(tasks * 12))  # enough for a pool to start
    assert len(clips) == 72
    for index, clip in enumerate(clips):
        expected = decode_clip(tasks[index % 6])
        assert isinstance(expected, DecodedClip)
        assert np.array_equal(clip.waveform, expected.waveform)


def test_a_clip_that_cannot_be_used_is_named(tasks: list[ClipTask], tmp_path: Path) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    with clip_reader() as reader, pytest.raises(UserError, match=r"broken\.mp4 does not decode"):
        list(reader.read([tasks[0], replace(tasks[1], path=broken)]))


def test_reasons_tell_absent_from_misshapen(tasks: list[ClipTask], tmp_path: Path) -> None:
    assert "does not open" in str(decode_clip(replace(tasks[0], path=tmp_path / "none.mp4")))
    assert "(33, 64, 64, 66000)" in str(decode_clip(replace(tasks[0], num_frames=49)))


def test_shrinking_takes_the_mean_of_the_area() -> None:
    frames = np.random.default_rng(0).integers(0, 256, (3, 64, 48, 3)).astype(np.uint8)
    small = area_resized(frames, (32, 24))
    assert np.abs(small - frames.reshape(3, 32, 2, 24, 2, 3).mean((2, 4))).max() <= 0.5
    assert area_resized(frames, (64, 48)) is frames


@pytest.mark.parametrize(
    ("peak", "loudness", "wanted", "gain"),
    [
        (0.1, -30.0, -20.0, 10**0.5),
        (0.5, -20.0, -26.0, 10**-0.3),
        (0.5, -30.0, -10.0, 2.0),  # ten times would pass full scale
        (0.1, -70.0, -20.0, 1.0),  # silence
        (0.0, -30.0, -20.0, 1.0),
    ],
)
def test_gain_levels_without_clipping_and_leaves_silence(
    peak: float, loudness: float, wanted: float, gain: float
) -> None:
    waveform = np.array([0.0, -peak, peak / 2], np.float32)
    assert levelling_gain(waveform, loudness, wanted) == pytest.approx(gain, rel=1e-6)
