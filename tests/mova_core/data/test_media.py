"""Media come back with the frames, samples and instants that went in."""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from mova_core.data.media import (
    MediaError,
    MediaWriter,
    TimedFrame,
    exact_rate,
    frames_on_grid,
    iter_frames,
    probe,
    read_audio,
    read_clip,
    read_tags,
    write_clip,
)

RATE = 48_000


def flat_frames(levels: Any, width: int = 64, height: int = 48) -> np.ndarray:
    """Frames of one grey level each: the level tells which frame it is."""
    return np.broadcast_to(np.asarray(levels, np.uint8)[:, None, None, None], (len(levels), height, width, 3)).copy()


def click_at(sample: int, num_samples: int) -> np.ndarray:
    wave = np.zeros(num_samples, np.float32)
    wave[sample : sample + 48] = np.hanning(48)
    return wave


def middle_of_click(wave: np.ndarray) -> float:
    """Centre of the sound's energy, in samples."""
    power = wave.astype(np.float64) ** 2
    return float((power * np.arange(wave.size)).sum() / power.sum())


def levels_of(frames: Any) -> list[float]:
    return [float(frame.mean()) for frame in frames]


@pytest.mark.parametrize("audio_codec", ["flac", "aac"])
@pytest.mark.parametrize(
    ("fps", "num_frames", "rate", "num_samples"),
    [(24.0, 33, 48_000, 66_000), (23.976, 30, 48_000, 60_061), (29.97, 17, 44_100, 25_013), (50.0, 21, 48_000, 20_161)],
)
def test_a_clip_comes_back_with_every_frame_and_sample(
    tmp_path: Path, audio_codec: Any, fps: float, num_frames: int, rate: int, num_samples: int
) -> None:
    frames = flat_frames(20 + 6 * np.arange(num_frames))
    wave = click_at(num_samples - 2_000, num_samples)
    write_clip(tmp_path / "clip.mp4", frames, wave, fps, rate, audio_codec=audio_codec)
    back, sound = read_clip(tmp_path / "clip.mp4")
    assert back.shape == frames.shape
    assert sound.shape == wave.shape
    assert np.abs(np.diff(levels_of(back)) - 6).max() < 2
    assert abs(middle_of_click(sound) - middle_of_click(wave)) < 0.5
    assert probe(tmp_path / "clip.mp4").fps == pytest.approx(float(exact_rate(fps)), abs=1e-4)


def test_lossless_sound_differs_by_rounding_only(tmp_path: Path) -> None:
    wave = np.random.default_rng(1).uniform(-1, 1, 10_007).astype(np.float32)
    write_clip(tmp_path / "clip.mp4", flat_frames([100] * 5), wave, 24.0, RATE)
    assert np.abs(read_clip(tmp_path / "clip.mp4")[1] - wave).max() <= 1 / 32768


@pytest.mark.parametrize("offset_seconds", [-0.131, 0.0, 0.05, 0.2503])
@pytest.mark.parametrize(("fps", "rate"), [(24.0, 48_000), (23.976, 44_100)])
def test_a_beep_at_a_chosen_offset_from_a_flash_is_found_there(
    tmp_path: Path, fps: float, rate: int, offset_seconds: float
) -> None:
    """What the encoder puts before the sound (AAC: 1024 samples, 21 ms) is declared and cut off by who decodes."""
    levels = [30] * 60
    levels[20] = 220
    flash = 20 / float(exact_rate(fps))
    wave = np.zeros(round(60 / float(exact_rate(fps)) * rate), np.float32)
    beep = np.sin(2 * np.pi * 880 * np.arange(rate // 20) / rate) * np.hanning(rate // 20)
    start = round((flash + offset_seconds) * rate)
    wave[start : start + beep.size] = 0.8 * beep
    write_clip(tmp_path / "clip.mp4", flat_frames(levels), wave, fps, rate, audio_codec="aac")
    frames = list(iter_frames(tmp_path / "clip.mp4"))
    seen = frames[int(np.argmax([frame.pixels.mean() for frame in frames]))].seconds
    heard = np.correlate(read_audio(tmp_path / "clip.mp4", rate), beep.astype(np.float32), "valid")
    assert int(heard.argmax()) / rate - seen == pytest.approx(offset_seconds, abs=1.5 / rate)


def test_tags_come_back_whatever_the_language(tmp_path: Path) -> None:
    tags = {"title": 'Eine Lampe, "blitzt" 雨', "comment": '{"seed": 7, "words": "' + "x" * 5000 + '"}'}
    write_clip(tmp_path / "clip.mp4", flat_frames([9] * 5), np.zeros(8_000, np.float32), 24.0, RATE, tags=tags)
    assert tags.items() <= read_tags(tmp_path / "clip.mp4").items()


def test_a_sound_without_pictures_reads_from_its_own_start(tmp_path: Path) -> None:
    path = tmp_path / "sound.flac"
    wave = click_at(12_000, 20_000)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("flac", rate=RATE, layout="mono")
        sound = av.AudioFrame.from_ndarray((wave * 32_000).astype(np.int16)[None], format="s16", layout="mono")
        sound.sample_rate = RATE
        container.mux(stream.encode(sound))
        container.mux(stream.encode(None))
    assert abs(middle_of_click(read_audio(path, RATE)) - middle_of_click(wave)) < 0.5


@pytest.mark.parametrize("audio_codec", ["flac", "aac"])
def test_a_click_on_a_flash_stays_on_it(tmp_path: Path, audio_codec: Any) -> None:
    """The encoder's start delay must not shift the sound against the picture."""
    levels = [30] * 24
    levels[10] = 220
    sample = round(10 / 24 * RATE)
    write_clip(tmp_path / "clip.mp4", flat_frames(levels), click_at(sample, RATE), 24.0, RATE, audio_codec=audio_codec)
    frames, sound = read_clip(tmp_path / "clip.mp4")
    assert int(np.argmax(levels_of(frames))) == 10
    assert abs(middle_of_click(sound) - (sample + 23.5)) < 0.5


def test_colours_keep_their_brightness(tmp_path: Path) -> None:
    """Conversion to 4:2:0 and back, without the right flags, darkens every picture by a level."""
    blocks = np.random.default_rng(2).integers(40, 216, (6, 8, 3), np.uint8).repeat(8, 0).repeat(8, 1)
    write_clip(tmp_path / "clip.mp4", np.stack([blocks] * 4), np.zeros(8_000, np.float32), 24.0, RATE)
    difference = read_clip(tmp_path / "clip.mp4")[0][1].astype(int) - blocks
    assert np.abs(difference.mean(axis=(0, 1))).max() < 0.6
    assert np.abs(np.median(difference, axis=(0, 1))).max() <= 1


@pytest.mark.parametrize("audio_codec", ["flac", "aac"])
def test_equal_clips_are_equal_bytes(tmp_path: Path, audio_codec: Any) -> None:
    frames = np.random.default_rng(3).integers(0, 256, (9, 48, 64, 3), np.uint8)
    wave = np.random.default_rng(4).uniform(-0.5, 0.5, 18_000).astype(np.float32)
    for name in ("a.mp4", "b.mp4"):
        write_clip(tmp_path / name, frames, wave, 24.0, RATE, audio_codec=audio_codec)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def test_a_clip_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="even"):
        write_clip(tmp_path / "clip.mp4", flat_frames([1, 2], width=63), np.zeros(4_000, np.float32), 24.0, RATE)
    with pytest.raises(ValueError, match=r"\[T, H, W, 3\]"):
        write_clip(tmp_path / "clip.mp4", np.zeros((4, 4), np.uint8), np.zeros(4_000, np.float32), 24.0, RATE)
    assert list(tmp_path.iterdir()) == []


def write_with_offsets(path: Path, video_start: float, audio_start: float) -> None:
    """25 frames whose sixth is white, and a click at the same instant if both started together."""
    with av.open(str(path), "w", format="matroska") as container:
        video = container.add_stream("libx264", rate=25, options={"preset": "ultrafast"})
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        audio = container.add_stream("flac", rate=RATE, layout="mono")
        for index in range(25):
            frame = av.VideoFrame.from_ndarray(flat_frames([220 if index == 5 else 30])[0], format="rgb24")
            frame.time_base, frame.pts = Fraction(1, 1000), index * 40 + round(video_start * 1000)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        samples = (click_at(9_600, RATE) * 32_000).astype(np.int16)[None]
        sound = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
        sound.sample_rate, sound.time_base, sound.pts = RATE, Fraction(1, RATE), round(audio_start * RATE)
        container.mux(audio.encode(sound))
        container.mux(audio.encode(None))


@pytest.mark.parametrize(("video_start", "audio_start"), [(0.0, 0.0), (0.12, 0.0), (0.0, 0.25), (0.52, 0.62)])
def test_start_offsets_of_the_streams_shift_nothing(tmp_path: Path, video_start: float, audio_start: float) -> None:
    path = tmp_path / "offset.mkv"
    write_with_offsets(path, video_start, audio_start)
    frames = list(iter_frames(path))
    assert frames[0].seconds == 0
    assert frames[int(np.argmax(levels_of(f.pixels for f in frames)))].seconds == pytest.approx(0.2, abs=1e-3)
    expected = 9_600 + 23.5 + (audio_start - video_start) * RATE
    assert middle_of_click(read_audio(path, RATE)) == pytest.approx(expected, abs=0.001 * RATE)


def test_a_gap_in_the_sound_is_silence_not_a_shift(tmp_path: Path) -> None:
    path = tmp_path / "gap.mkv"
    with av.open(str(path), "w", format="matroska") as container:
        video = container.add_stream("libx264", rate=25, options={"preset": "ultrafast"})
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        audio = container.add_stream("pcm_s16le", rate=RATE, layout="mono")
        for index in range(50):
            frame = av.VideoFrame.from_ndarray(flat_frames([30])[0], format="rgb24")
            frame.time_base, frame.pts = Fraction(1, 25), index
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        for start in (0, 62_400):
            sound = av.AudioFrame.from_ndarray(np.full((1, 4_800), 9_000, np.int16), format="s16", layout="mono")
            sound.sample_rate, sound.time_base, sound.pts = RATE, Fraction(1, RATE), start
            container.mux(audio.encode(sound))
        container.mux(audio.encode(None))
    loud = np.flatnonzero(np.abs(read_audio(path, RATE)) > 0.1)
    assert loud[0] == 0
    assert loud[-1] == pytest.approx(67_199, abs=48)
    assert np.diff(loud).max() == pytest.approx(62_400 - 4_800, abs=48)


def write_video(path: Path, levels: Any, wave: np.ndarray | None, rate: int = RATE, **options: Any) -> None:
    seconds = options.pop("seconds", None)
    frames = options.pop("frames", None)
    frames = flat_frames(levels) if frames is None else frames
    with MediaWriter(
        path,
        width=frames.shape[2],
        height=frames.shape[1],
        fps=options.pop("fps", 25.0),
        sample_rate_hz=None if wave is None else rate,
        variable_rate=seconds is not None,
        **options,
    ) as writer:
        writer.write_frames(frames, seconds)
        if wave is not None:
            writer.write_audio(wave)


def test_variable_frame_rates_keep_their_instants(tmp_path: Path) -> None:
    seconds = [0.0, 0.04, 0.2, 0.24, 0.52, 0.6]
    write_video(tmp_path / "vfr.mp4", [30, 60, 90, 120, 150, 180], np.zeros(30_000, np.float32), seconds=seconds)
    assert [frame.seconds for frame in iter_frames(tmp_path / "vfr.mp4")] == pytest.approx(seconds, abs=2e-5)
    assert probe(tmp_path / "vfr.mp4").is_variable_frame_rate
    grid = levels_of(frames_on_grid(iter_frames(tmp_path / "vfr.mp4"), 10.0))
    assert grid == pytest.approx([30, 60, 90, 120, 150, 150, 180], abs=3)


@pytest.mark.parametrize(("turn", "matrix"), [(-90, (0, 1, -1, 0)), (90, (0, -1, 1, 0)), (180, (-1, 0, 0, -1))])
def test_turned_pictures_stand_upright(tmp_path: Path, turn: int, matrix: tuple[int, ...]) -> None:
    """`matrix` is ISO 14496-12's a, b, c, d: x' = ax + cy, y' = bx + dy, with y downward."""
    upright = np.full((48, 64, 3), 60, np.uint8)
    upright[:24, :32] = 200  # bright at the top left
    stored = np.ascontiguousarray(np.rot90(upright, -turn // 90))
    write_video(tmp_path / "turned.mp4", None, None, frames=np.stack([stored] * 3), rotation_degrees=turn)
    header = (tmp_path / "turned.mp4").read_bytes()
    box = header.index(b"tkhd")
    a, b, _, c, d = struct.unpack(">5i", header[box + 44 : box + 64])
    assert (a, b, c, d) == tuple(65536 * value for value in matrix)
    first = next(iter(iter_frames(tmp_path / "turned.mp4"))).pixels
    assert first.shape == upright.shape
    assert np.abs(first.astype(int) - upright).mean() < 3
    found = probe(tmp_path / "turned.mp4")
    assert (found.width, found.height, found.rotation_degrees) == (64, 48, turn % 360)
    small = next(iter(iter_frames(tmp_path / "turned.mp4", size=(24, 32)))).pixels
    assert small.shape == (24, 32, 3)
    assert small[4, 4].mean() > 150 > small[20, 28].mean()


def test_a_late_window_is_the_tail_of_the_whole(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    wave = (0.3 * rng.standard_normal(4 * RATE)).clip(-0.9, 0.9).astype(np.float32)
    path = tmp_path / "long.mp4"
    write_video(path, rng.integers(20, 230, 100), wave)
    whole = list(iter_frames(path))
    part = list(iter_frames(path, 2.5, 3.1))
    assert [f.seconds for f in part] == [f.seconds for f in whole if 2.5 <= f.seconds < 3.1]
    assert all(np.array_equal(f.pixels, next(w for w in whole if w.seconds == f.seconds).pixels) for f in part)
    sound = read_audio(path, RATE)
    start = round(2.531 * RATE)
    assert np.array_equal(read_audio(path, RATE, 2.531, 0.7), sound[start : start + round(0.7 * RATE)])


def test_sound_beyond_the_end_is_zero_and_the_count_exact(tmp_path: Path) -> None:
    write_video(tmp_path / "short.mp4", [50] * 25, np.full(RATE, 0.25, np.float32))
    tail = read_audio(tmp_path / "short.mp4", RATE, 0.5, 1.0)
    assert tail.size == RATE
    assert tail[: RATE // 2 - 100].mean() == pytest.approx(0.25, abs=0.01)
    assert np.array_equal(tail[RATE // 2 :], np.zeros(RATE // 2))


@pytest.mark.parametrize("start", [0.0, 0.6, 0.70003])
def test_another_rate_moves_no_click(tmp_path: Path, start: float) -> None:
    write_video(tmp_path / "cd.mp4", [50] * 30, click_at(44_100, 52_920), rate=44_100)
    middle = 44_100 + 23.5
    sound = read_audio(tmp_path / "cd.mp4", RATE, start, 0.5 if start else 1.2)
    assert sound.size == round((0.5 if start else 1.2) * RATE)
    assert middle_of_click(sound) / RATE == pytest.approx(middle / 44_100 - round(start * RATE) / RATE, abs=1e-5)


def test_channels_are_averaged(tmp_path: Path) -> None:
    path = tmp_path / "stereo.mkv"
    with av.open(str(path), "w", format="matroska") as container:
        video = container.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        audio = container.add_stream("pcm_s16le", rate=RATE, layout="stereo")
        container.mux(video.encode(av.VideoFrame.from_ndarray(flat_frames([30])[0], format="rgb24")))
        container.mux(video.encode(None))
        pairs = np.tile(np.asarray([16_384, 8_192], np.int16), 4_800)[None]
        sound = av.AudioFrame.from_ndarray(pairs, format="s16", layout="stereo")
        sound.sample_rate, sound.time_base, sound.pts = RATE, Fraction(1, RATE), 0
        container.mux(audio.encode(sound))
        container.mux(audio.encode(None))
    assert read_audio(path, RATE).mean() == pytest.approx(0.375, abs=1e-3)


def test_the_grid_takes_the_nearest_frame() -> None:
    frames = [TimedFrame(k / 30, np.full((1, 1, 3), k, np.uint8)) for k in range(31)]
    taken = [int(pixels[0, 0, 0]) for pixels in frames_on_grid(iter(frames), 24.0)]
    instants = np.arange(len(taken)) / 24
    assert np.abs(np.asarray(taken) / 30 - instants).max() <= 0.5 / 30 + 1e-9
    assert len(taken) == 25
    assert [int(p[0, 0, 0]) for p in frames_on_grid(iter(frames), 10.0, 0.5, 3)] == [15, 18, 21]


BAD_FILES = {
    "empty_file": b"",
    "unreadable": b"this is not a video at all, whatever its name says" * 40,
}


@pytest.mark.parametrize("reason", list(BAD_FILES))
def test_files_that_are_no_videos_have_a_reason(tmp_path: Path, reason: str) -> None:
    (tmp_path / "bad.mp4").write_bytes(BAD_FILES[reason])
    for read in (probe, read_clip, lambda path: read_audio(path, RATE), lambda path: list(iter_frames(path))):
        with pytest.raises(MediaError) as caught:
            read(tmp_path / "bad.mp4")
        assert caught.value.reason == reason
        assert "\n" not in str(caught.value)


def test_a_file_cut_short_is_called_truncated(tmp_path: Path) -> None:
    noise = np.random.default_rng(6).integers(0, 256, (50, 48, 64, 3), np.uint8)
    write_video(tmp_path / "cut.mp4", None, np.zeros(2 * RATE, np.float32), frames=noise)
    content = (tmp_path / "cut.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(content[: len(content) * 6 // 10])
    with pytest.raises(MediaError, match="truncated"):
        probe(tmp_path / "cut.mp4")


def test_missing_sound_is_told_from_missing_pictures(tmp_path: Path) -> None:
    write_video(tmp_path / "mute.mp4", [50] * 5, None)
    assert probe(tmp_path / "mute.mp4").audio_codec == ""
    with pytest.raises(MediaError, match="no_audio"):
        read_audio(tmp_path / "mute.mp4", RATE)
    with pytest.raises(MediaError, match="no_audio"):
        read_clip(tmp_path / "mute.mp4")
    with av.open(str(tmp_path / "sound.mp4"), "w") as container:
        audio = container.add_stream("aac", rate=RATE, layout="mono")
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 4_800), np.int16), format="s16", layout="mono")
        sound.sample_rate = RATE
        container.mux(audio.encode(sound))
        container.mux(audio.encode(None))
    with pytest.raises(MediaError, match="no_video"):
        probe(tmp_path / "sound.mp4")


@pytest.mark.parametrize("name", ["-i x.mp4", "concat:a|b.mp4", 'it\'s "50%d" ünï 動画;$(x).mp4', "http:host.mp4"])
def test_any_name_is_just_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    write_clip(Path(name), flat_frames([40, 80, 120]), np.zeros(6_000, np.float32), 24.0, RATE)
    assert read_clip(Path(name))[0].shape[0] == 3
    assert probe(Path(name)).num_frames == 3
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_decimal_rates_stand_for_fractions() -> None:
    assert exact_rate(23.976) == Fraction(24_000, 1001)
    assert exact_rate(29.97) == Fraction(30_000, 1001)
    assert exact_rate(25.0) == 25
    assert exact_rate(12.5) == Fraction(25, 2)
