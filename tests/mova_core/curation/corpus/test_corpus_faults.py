"""Each spoilt video really has the fault that its label names, and no other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from mova_core.config import Config
from mova_core.curation.corpus import step
from mova_core.curation.corpus.faults import EARLY_SECONDS, HOSTILE_STEM, LATE_SECONDS, SpoiltVideo, plan_faults
from mova_core.curation.corpus.plan import plan_corpus
from mova_core.data.media import MediaError, frames_on_grid, iter_frames, probe, read_audio
from mova_core.data.truth import SourceTruth

FAULTS = (
    *("sound_late", "sound_early", "silence", "black_borders", "blur", "clipping", "burned_in_text", "no_audio"),
    *("truncated", "empty_file", "zero_length", "variable_frame_rate", "rotated", "hostile_name", "duplicate"),
)


@pytest.fixture(scope="module")
def spoilt(small_config: Callable[..., Config]) -> dict[str, SpoiltVideo]:
    config = small_config(clips_per_shot=[1, 1], video_seconds=3)
    first = plan_corpus(config.corpus, config.media.clip_seconds, config.seed)[0]
    videos = plan_faults(config.corpus, config.media.clip_seconds, config.seed, first)
    return {video.fault.name: video for video in videos}


@pytest.fixture(scope="module")
def rendered(spoilt: dict[str, SpoiltVideo], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    folder = tmp_path_factory.mktemp("faults")

    def render(name: str) -> Path:
        task = step.RenderTask(spoilt[name], folder)
        if not task.sidecar.exists():
            step.render_task(task)
        return task.path

    return render


@pytest.mark.parametrize("name", FAULTS)
def test_every_fault_is_named_in_its_sidecar(
    rendered: Callable[[str], Path], spoilt: dict[str, SpoiltVideo], name: str
) -> None:
    path = rendered(name)
    truth = SourceTruth.load(path.parent / "labels" / f"{path.stem}.json")
    assert [fault.name for fault in truth.faults] == [name]
    assert truth.video == path.name
    assert bool(truth.shots) == (name not in ("truncated", "empty_file", "zero_length"))
    assert sorted(spoilt) == sorted(FAULTS)


@pytest.mark.parametrize(
    ("name", "reason"), [("truncated", "truncated"), ("empty_file", "empty_file"), ("zero_length", "zero_length")]
)
def test_some_cannot_be_read(rendered: Callable[[str], Path], name: str, reason: str) -> None:
    with pytest.raises(MediaError) as caught:
        probe(rendered(name))
    assert caught.value.reason == reason


@pytest.mark.parametrize(("name", "offset"), [("sound_late", LATE_SECONDS), ("sound_early", EARLY_SECONDS)])
def test_shifted_sound_lies_where_the_truth_says(
    rendered: Callable[[str], Path], spoilt: dict[str, SpoiltVideo], name: str, offset: float
) -> None:
    path = rendered(name)
    truth = SourceTruth.load(path.parent / "labels" / f"{path.stem}.json")
    assert truth.planted_offset_seconds == offset
    straight = spoilt[name].plan
    reference = path.with_name("straight.mp4")
    step.render_video(straight, reference)
    rate = straight.sample_rate_hz
    shifted, plain = read_audio(path, rate), read_audio(reference, rate)
    spectrum = np.fft.rfft(shifted, 1 << 19) * np.conj(np.fft.rfft(plain, 1 << 19))
    lag = int(np.argmax(np.fft.irfft(spectrum)))
    assert (lag if lag < 1 << 18 else lag - (1 << 19)) == round(offset * rate)
    for event in (event for shot in truth.shots for event in shot.events):
        assert event.audio_seconds - event.video_seconds == pytest.approx(offset, abs=1e-4)


def test_silence_and_no_audio_differ(rendered: Callable[[str], Path]) -> None:
    assert np.abs(read_audio(rendered("silence"), 48_000)).max() == 0
    assert probe(rendered("silence")).audio_codec == "aac"
    assert probe(rendered("no_audio")).audio_codec == ""


def test_clipped_sound_stays_at_full_scale(rendered: Callable[[str], Path]) -> None:
    assert (np.abs(read_audio(rendered("clipping"), 48_000)) > 0.99).mean() > 0.05
    assert (np.abs(read_audio(rendered("rotated"), 48_000)) > 0.99).mean() == 0


def test_borders_are_black_and_the_picture_is_not(rendered: Callable[[str], Path]) -> None:
    frames = np.stack([frame.pixels for frame in iter_frames(rendered("black_borders"))])
    brightest = frames.max(axis=(0, 2, 3))
    border = int(np.argmax(brightest > 40))
    assert border == pytest.approx(0.2 / 1.4 * frames.shape[1], abs=2)
    assert brightest[: border - 1].max() < 16
    assert brightest[border + 1 : -border - 1].min() > 40


def sharpness(path: Path) -> float:
    frame = next(iter(iter_frames(path))).pixels
    return float(cv2.Laplacian(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), cv2.CV_64F).var())


def test_the_blurred_one_is_soft_and_the_one_with_text_is_busy(rendered: Callable[[str], Path]) -> None:
    ordinary = [sharpness(rendered(name)) for name in ("sound_late", "silence", "clipping")]
    assert sharpness(rendered("blur")) < 0.2 * min(ordinary)
    assert sharpness(rendered("burned_in_text")) > 1.5 * max(ordinary)


def test_the_turned_one_is_stored_upright_for_no_one_but_shown_so(
    rendered: Callable[[str], Path], spoilt: dict[str, SpoiltVideo]
) -> None:
    found = probe(rendered("rotated"))
    assert (found.width, found.height, found.rotation_degrees) == (100, 76, 270)


def test_frames_left_out_leave_the_others_at_their_instants(
    rendered: Callable[[str], Path], spoilt: dict[str, SpoiltVideo]
) -> None:
    path, plan = rendered("variable_frame_rate"), spoilt["variable_frame_rate"].plan
    assert probe(path).is_variable_frame_rate
    assert probe(path).num_frames < 0.85 * plan.num_frames
    step.render_video(plan, path.with_name("whole.mp4"))
    regular = np.stack(list(frames_on_grid(iter_frames(path.with_name("whole.mp4")), plan.fps)))
    for frame in iter_frames(path):
        same = regular[round(frame.seconds * plan.fps)].astype(int)
        assert np.abs(frame.pixels - same).mean() < 2


def test_the_hostile_name_holds_what_breaks_scripts(rendered: Callable[[str], Path]) -> None:
    path = rendered("hostile_name")
    assert path.stem == HOSTILE_STEM
    assert path.name.startswith("-")
    assert all(character in path.name for character in "\"'` $<&%;ü動")
    assert probe(path).num_frames > 0


def test_the_duplicate_is_the_first_video(
    rendered: Callable[[str], Path], spoilt: dict[str, SpoiltVideo], tmp_path: Path
) -> None:
    step.render_task(step.RenderTask(spoilt["duplicate"].plan, tmp_path))
    assert (tmp_path / "demo-0000.mp4").read_bytes() == rendered("duplicate").read_bytes()
