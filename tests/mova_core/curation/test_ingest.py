"""Every raw file is a source or a reject with a reason, whatever it holds and whatever it is called."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest

from mova_core.config import Config
from mova_core.curation import ingest
from mova_core.data.manifest import read_manifest
from mova_core.data.records import Reject, Source
from mova_core.errors import UserError
from mova_core.workspace import Workspace

MakeVideo = Callable[..., Path]


def ingested(config: Config, workspace: Workspace) -> tuple[dict[str, Source], dict[str, Reject]]:
    report = ingest.run(config, workspace, "demo")
    folder = workspace.ingest("demo")
    sources = {row.path: row for row in read_manifest(folder / "manifest.parquet", Source)}
    rejects = {row.path: row for row in read_manifest(folder / "rejects.parquet", Reject)}
    assert report.rows_in == len(sources) + len(rejects)
    assert report.rows_out == len(sources)
    assert sum(report.rejected.values()) == len(rejects)
    return sources, rejects


def sound_only(path: Path) -> None:
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=48_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4800), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 48_000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def index_at_the_end(source: Path, target: Path) -> None:
    """The same packets in an mp4 whose index follows the data, as cameras write it."""
    with av.open(str(source)) as reading, av.open(str(target), "w", format="mp4") as writing:
        streams = {stream.index: writing.add_stream_from_template(stream) for stream in reading.streams}
        for packet in reading.demux():
            if packet.dts is not None:
                packet.stream = streams[packet.stream_index]
                writing.mux(packet)


def test_every_bad_file_has_its_reason_and_every_good_one_its_facts(
    config: Config,
    workspace: Workspace,
    plain_video: MakeVideo,
    make_video: MakeVideo,
    still: Callable[[int], np.ndarray],
    hiss: Callable[[float], np.ndarray],
) -> None:
    raw = workspace.raw("demo")
    good = plain_video(raw / "good.mp4")
    (raw / "copy of good.mp4").write_bytes(good.read_bytes())
    make_video(raw / "mute.mp4", still(24), None)
    sound_only(raw / "blind.mp4")
    (raw / "empty.mp4").touch()
    (raw / "noise.mp4").write_bytes(np.random.default_rng(0).bytes(5000))
    (raw / "playlist.mp4").write_text("#EXTM3U\n#EXTINF:1,\nhttp://localhost:1/a.ts\n")
    whole = plain_video(raw / "cut short.mp4", seconds=4, seed=3).read_bytes()
    (raw / "cut short.mp4").write_bytes(whole[: len(whole) * 2 // 3])
    index_at_the_end(good, raw / "index lost.mp4")
    (raw / "index lost.mp4").write_bytes((raw / "index lost.mp4").read_bytes()[:-3000])
    (raw / "gone.mp4").symlink_to(raw / "nowhere.mp4")
    plain_video(raw / "turned.mp4", seed=4, rotation_degrees=90)
    times = np.concatenate([np.arange(24) / 24, 1 + np.arange(24) / 12])
    make_video(raw / "variable.mp4", still(48), hiss(3.0), seconds=list(times))
    (raw / "labels").mkdir()
    (raw / "labels" / "good.json").write_text("{}")
    (raw / "README.md").write_text("not a video")

    sources, rejects = ingested(config, workspace)

    assert {path: reject.reason for path, reject in rejects.items()} == {
        "good.mp4": "duplicate",  # "copy of good.mp4" comes first by name
        "mute.mp4": "no_audio",
        "blind.mp4": "no_video",
        "empty.mp4": "empty_file",
        "noise.mp4": "unreadable",
        "playlist.mp4": "unreadable",
        "cut short.mp4": "truncated",
        "index lost.mp4": "truncated",
        "gone.mp4": "unreadable",
    }
    assert "copy of good.mp4" in rejects["good.mp4"].detail
    assert set(sources) == {"copy of good.mp4", "turned.mp4", "variable.mp4"}
    plain, turned, variable = sources["copy of good.mp4"], sources["turned.mp4"], sources["variable.mp4"]
    assert (plain.width, plain.height, plain.num_frames, plain.fps) == (80, 60, 48, 24.0)
    assert plain.duration_seconds == pytest.approx(2.0)
    assert (plain.sample_rate_hz, plain.num_audio_channels, plain.rotation_degrees) == (48_000, 1, 0)
    assert not plain.is_variable_frame_rate
    assert (turned.width, turned.height, turned.rotation_degrees) == (60, 80, 90)
    assert variable.is_variable_frame_rate


HOSTILE_NAMES = (
    "two words.mp4",
    'quote\'s "both".mp4',
    "ünïcödé 視頻 🎬.MP4",
    "new\nline.mp4",
    "-dash.mp4",
    "a|b;c$(d).mp4",
    "http:%3.mp4",
    "no suffix",
)


def test_hostile_names_are_taken(config: Config, workspace: Workspace, plain_video: MakeVideo) -> None:
    for seed, name in enumerate(HOSTILE_NAMES):
        plain_video(workspace.raw("demo") / "sub folder" / name, seed=seed, seconds=0.5)
    sources, rejects = ingested(config, workspace)
    assert not rejects
    assert set(sources) == {f"sub folder/{name}" for name in HOSTILE_NAMES}


def test_a_name_that_is_no_text_is_a_reject_not_a_crash(
    config: Config, workspace: Workspace, plain_video: MakeVideo
) -> None:
    video = plain_video(workspace.raw("demo") / "made.mp4")
    os.rename(video, os.fsencode(video.parent) + b"/caf\xe9.mp4")
    sources, rejects = ingested(config, workspace)
    assert not sources
    assert [(path, reject.reason) for path, reject in rejects.items()] == [("caf\\xe9.mp4", "unusable_name")]


def test_only_what_changed_is_probed_again(
    config: Config, workspace: Workspace, plain_video: MakeVideo, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw, folder = workspace.raw("demo"), workspace.ingest("demo")
    for seed in range(3):
        plain_video(raw / f"{seed}.mp4", seed=seed)
    ingested(config, workspace)
    before = (folder / "manifest.parquet").read_bytes()

    probed: list[str] = []

    class InThisProcess:
        def run(self, function, tasks):  # type: ignore[no-untyped-def]
            for index, task in enumerate(tasks):
                outcome = function(task)
                if outcome is not None:
                    probed.append(task.path.name)
                yield index, outcome

    monkeypatch.setattr(ingest, "make_executor", lambda _: InThisProcess())
    ingested(config, workspace)
    assert probed == []
    assert (folder / "manifest.parquet").read_bytes() == before

    plain_video(raw / "1.mp4", seconds=3, seed=9)
    sources, _ = ingested(config, workspace)
    assert probed == ["1.mp4"]
    assert sources["1.mp4"].duration_seconds == pytest.approx(3.0)


def test_a_collection_without_a_folder_is_one_line(config: Config, workspace: Workspace) -> None:
    with pytest.raises(UserError, match="mova corpus"):
        ingest.run(config, workspace, "demo")


@pytest.mark.parametrize(
    "text",
    [
        "ffconcat version 1.0\nfile real.mp4\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nreal.mp4\n#EXT-X-ENDLIST\n",
    ],
)
def test_a_file_that_only_names_another_is_no_video(
    text: str, config: Config, workspace: Workspace, plain_video: MakeVideo
) -> None:
    raw = workspace.raw("demo")
    plain_video(raw / "real.mp4")
    (raw / "list.mp4").write_text(text)
    (raw / "list.m3u8").write_text(text)
    sources, rejects = ingested(config, workspace)
    assert set(sources) == {"real.mp4"}
    assert {name: reject.reason for name, reject in rejects.items()} == {
        "list.mp4": "unreadable",
        "list.m3u8": "unreadable",
    }


def test_an_avi_with_frames_left_out_is_whole_and_a_cut_one_is_not(config: Config, workspace: Workspace) -> None:
    """An AVI counts the frames that it leaves out; players show the one before for longer."""
    raw = workspace.raw("demo")
    raw.mkdir(parents=True, exist_ok=True)
    path = raw / "gaps.avi"
    with av.open(str(path), "w", format="avi") as container:
        video = container.add_stream("mpeg4", rate=24)
        video.width, video.height, video.pix_fmt = 64, 64, "yuv420p"
        sound = container.add_stream("pcm_s16le", rate=48_000, layout="mono")
        for index in range(96):
            if index % 5 == 4:
                continue
            pixels = np.full((64, 64, 3), 40 + 2 * index, np.uint8)
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts = index
            container.mux(video.encode(frame))
            block = av.AudioFrame.from_ndarray(np.full((1, 2000), 99, np.int16), format="s16", layout="mono")
            block.sample_rate, block.pts = 48_000, index * 2000
            container.mux(sound.encode(block))
        container.mux(video.encode(None))
    (raw / "cut.avi").write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    sources, rejects = ingested(config, workspace)
    assert sources["gaps.avi"].num_frames < 96
    assert sources["gaps.avi"].duration_seconds == pytest.approx(4.0, abs=0.1)
    assert rejects["cut.avi"].reason == "truncated"


def test_videos_in_a_folder_called_labels_are_videos(
    config: Config, workspace: Workspace, plain_video: MakeVideo
) -> None:
    raw = workspace.raw("demo")
    plain_video(raw / "labels" / "a.mp4")
    (raw / "labels" / "a.json").write_text("{}")
    sources, rejects = ingested(config, workspace)
    assert set(sources) == {"labels/a.mp4"}
    assert not rejects
