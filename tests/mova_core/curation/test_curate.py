"""Sources become clips that pass the gates, or rejects that say why; and a kill at any moment loses nothing."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from mova_core.config import Config
from mova_core.curation import curate, ingest
from mova_core.curation.gates import check_gates
from mova_core.data.manifest import read_manifest
from mova_core.data.media import read_clip
from mova_core.data.records import Clip, Reject, Source
from mova_core.data.truth import Shot, SourceTruth
from mova_core.errors import UserError
from mova_core.report import StageReport
from mova_core.workspace import Workspace

Flashing = Callable[..., tuple[np.ndarray, np.ndarray]]
MakeVideo = Callable[..., Path]


class InThisProcess:
    """Spares the start of a pool; counts what it was given."""

    def __init__(self) -> None:
        self.tasks: list[Any] = []

    def run(self, function: Callable[[Any], Any], tasks: list[Any]) -> Iterator[tuple[int, Any]]:
        self.tasks = list(tasks)
        for index, task in enumerate(tasks):
            yield index, function(task)


@pytest.fixture
def executor(monkeypatch: pytest.MonkeyPatch) -> InThisProcess:
    here = InThisProcess()
    for module in (ingest, curate):
        monkeypatch.setattr(module, "make_executor", lambda _: here)
    return here


def curated(config: Config, workspace: Workspace) -> tuple[list[Clip], list[Reject], StageReport]:
    ingest.run(config, workspace, "demo")
    report = curate.run(config, workspace, "demo")
    folder = workspace.clips("demo")
    clips = read_manifest(folder / "manifest.parquet", Clip)
    rejects = read_manifest(folder / "rejects.parquet", Reject)
    assert report.rows_in == len(clips) + len(rejects)
    assert report.rows_out == len(clips)
    assert {path.name for path in (folder / "clips").iterdir()} == {Path(clip.path).name for clip in clips}
    return clips, rejects, report


def test_good_sources_give_clips_and_spoilt_ones_reasons(
    config: Config, workspace: Workspace, executor: InThisProcess, make_video: MakeVideo, flashing: Flashing
) -> None:
    raw = workspace.raw("demo")
    frames, sound = flashing(9.0, 1)
    make_video(raw / "good.mp4", frames, sound)
    make_video(raw / "silent.mp4", frames, np.zeros_like(sound))
    make_video(raw / "late.mp4", *flashing(9.0, 2, offset=0.3))
    make_video(raw / "clipped.mp4", frames, (40 * sound).clip(-1, 1))
    blurred = np.stack([cv2.GaussianBlur(frame, (0, 0), 5) for frame in frames])
    make_video(raw / "blurred.mp4", blurred, sound)
    make_video(raw / "frozen.mp4", np.repeat(frames[:1], len(frames), axis=0), sound)
    make_video(raw / "short.mp4", frames[:24], sound[:48_000])
    make_video(raw / "bordered.mp4", np.pad(frames, ((0, 0), (8, 8), (0, 0), (0, 0))), sound)

    clips, rejects, report = curated(config, workspace)

    paths = {row.source_id: row.path for row in read_manifest(workspace.ingest("demo") / "manifest.parquet", Source)}
    accepted = Counter(paths[clip.source_id] for clip in clips)
    assert set(accepted) == {"good.mp4", "bordered.mp4"}
    assert accepted["good.mp4"] == 6  # what 9 s hold
    reasons = {path: {r.reason for r in rejects if r.path == path} for path in {r.path for r in rejects}}
    assert reasons == {
        "silent.mp4": {"silent"},
        "late.mp4": {"sound_shifted"},
        "clipped.mp4": {"clipped"},
        "blurred.mp4": {"blurred"},
        "frozen.mp4": {"frozen"},
        "short.mp4": {"no_window"},
    }
    late = next(r for r in rejects if r.path == "late.mp4")
    assert "expected at least -0.08 and at most 0.08" in late.detail
    assert all(result.passed for result in check_gates(config, workspace, "demo"))
    for preview in report.previews:
        assert (workspace.root / preview).read_bytes().startswith(b"\x89PNG")

    # The borders are cropped: what is left has the shape of the good one, and shows the same.
    for path in ("good.mp4", "bordered.mp4"):
        clip = next(clip for clip in clips if paths[clip.source_id] == path)
        pictures, waveform = read_clip(workspace.clips("demo") / clip.path)
        assert pictures.shape == (33, 64, 64, 3)
        assert waveform.shape == (66_000,)
        # Compression leaves faint traces beside the picture's edge.
        assert pictures[:, :8].mean() < 2
        assert pictures[:, 56:].mean() < 2
        assert pictures[:, 8:56].mean(axis=(0, 2, 3)).min() > 35


def test_clips_keep_picture_and_sound_together(
    config: Config, workspace: Workspace, executor: InThisProcess, make_video: MakeVideo, flashing: Flashing
) -> None:
    """The frame and the sample in which each event begins are those of the source, shifted by the clip's start."""
    frames, sound = flashing(12.0, 5)
    make_video(workspace.raw("demo") / "lamp.mp4", frames, sound, audio_codec="flac")
    brightness = frames.mean(axis=(1, 2, 3))
    clips, _, _ = curated(config, workspace)
    assert len(clips) == 8
    for clip in clips:
        pictures, waveform = read_clip(workspace.clips("demo") / clip.path)
        first = round(clip.start_seconds * 24)
        assert clip.start_seconds == pytest.approx(first / 24, abs=1e-6)
        shown = pictures[:, 8:56].mean(axis=(1, 2, 3))
        assert shown == pytest.approx(brightness[first : first + 33], abs=2.5)
        heard = sound[first * 2000 : first * 2000 + 66_000]
        assert np.abs(waveform - heard).max() < 1e-4


def test_labels_and_cuts_reach_the_clips(
    config: Config, workspace: Workspace, executor: InThisProcess, make_video: MakeVideo, flashing: Flashing
) -> None:
    raw = workspace.raw("demo")
    shots = [flashing(6.0, 11), flashing(6.0, 12)]
    shots[1] = (255 - shots[1][0], shots[1][1])
    make_video(raw / "two.mp4", *(np.concatenate(part) for part in zip(*shots, strict=True)))
    truth = SourceTruth(
        "two.mp4",
        12.0,
        [
            Shot("lamp", 0.0, 6.0, "a lamp", "", "a bell", "", []),
            Shot("negative", 6.0, 12.0, "a dark lamp", "", "a bell", "", []),
        ],
    )
    (raw / "labels").mkdir()
    (raw / "labels" / "two.json").write_text(truth.to_json())
    every = config.model_copy(update={"curate": config.curate.model_copy(update={"multi_shot_share": 1.0})})
    clips, rejects, _ = curated(every, workspace)
    single = [clip for clip in clips if not clip.num_cuts]
    multi = [clip for clip in clips if clip.num_cuts]
    assert len(single) == 8
    assert all(clip.label == ("lamp" if clip.start_seconds < 6 else "negative") for clip in single)
    assert all(not clip.start_seconds < 6 < clip.start_seconds + 1.375 for clip in single)
    assert all("joint2" in clip.phases for clip in single)
    assert len(multi) + len([r for r in rejects if r.reason != "out_of_sync"]) == 1
    assert all(clip.label == "lamp+negative" for clip in multi)
    assert all(clip.phases == ["audio", "joint1"] for clip in multi)


def test_looser_gates_cut_only_the_sources_whose_clips_now_pass(
    config: Config, workspace: Workspace, executor: InThisProcess, make_video: MakeVideo, flashing: Flashing
) -> None:
    raw = workspace.raw("demo")
    make_video(raw / "good.mp4", *flashing(6.0, 1))
    make_video(raw / "late.mp4", *flashing(6.0, 2, offset=0.3))
    before, rejects, _ = curated(config, workspace)
    assert {r.path for r in rejects} == {"late.mp4"}
    loose = config.model_copy(update={"curate": config.curate.model_copy(update={"gates": ()})})
    after, _, _ = curated(loose, workspace)
    assert [task.path.name for task in executor.tasks] == ["late.mp4"]
    assert len(after) == len(before) + len(rejects)
    again, _, _ = curated(config, workspace)
    assert executor.tasks == []
    assert list(map(repr, again)) == list(map(repr, before))


def test_a_source_that_is_too_large_to_hold_is_decoded_again_to_the_same_clips(
    config: Config, workspace: Workspace, executor: InThisProcess, make_video: MakeVideo, flashing: Flashing
) -> None:
    make_video(workspace.raw("demo") / "good.mp4", *flashing(6.0, 1))
    held, _, _ = curated(config, workspace)
    contents = {clip.path: (workspace.clips("demo") / clip.path).read_bytes() for clip in held}
    for clip in held:
        (workspace.clips("demo") / clip.path).unlink()
    frugal = config.model_copy(update={"curate": config.curate.model_copy(update={"frame_buffer_mib": 0})})
    again, _, _ = curated(frugal, workspace)
    assert list(map(repr, again)) == list(map(repr, held))
    assert {clip.path: (workspace.clips("demo") / clip.path).read_bytes() for clip in again} == contents


def test_files_that_changed_or_went_since_ingest_are_rejects(
    config: Config, workspace: Workspace, executor: InThisProcess, make_video: MakeVideo, flashing: Flashing
) -> None:
    raw = workspace.raw("demo")
    for seed, name in enumerate(("kept", "gone", "changed")):
        make_video(raw / f"{name}.mp4", *flashing(3.0, seed))
    ingest.run(config, workspace, "demo")
    (raw / "gone.mp4").unlink()
    make_video(raw / "changed.mp4", *flashing(3.0, 7))
    curate.run(config, workspace, "demo")
    rejects = read_manifest(workspace.clips("demo") / "rejects.parquet", Reject)
    assert {r.path: r.reason for r in rejects} == {"gone.mp4": "gone", "changed.mp4": "changed"}


def test_a_source_is_on_one_side_and_the_share_is_of_time() -> None:
    places = np.random.default_rng(0).permutation(100).tolist()
    streams = (10.0, 64, 64, 0, 24.0, False, 240, "h264", "aac", 48_000, 1)
    sources = [Source(f"{i}", "demo", f"{i}.mp4", f"{place:064x}", 1, *streams) for i, place in enumerate(places)]
    splits = curate.split_sources(sources, 0.06)
    assert sorted(splits.values()).count("val") == 6
    assert set(curate.split_sources(sources, 0.0).values()) == {"train"}
    assert sorted(curate.split_sources(sources[:2], 0.06).values()) == ["train", "val"]
    assert list(curate.split_sources(sources[:1], 0.5).values()) == ["train"]
    # More sources hold more out, and what was held out stays so while the share does.
    more = [*sources, replace(sources[0], source_id="new", sha256="f" * 64)]
    after = curate.split_sources(more, 0.06)
    assert all(after[key] == "val" for key, side in splits.items() if side == "val")


def test_without_ingest_the_remedy_is_named(config: Config, workspace: Workspace) -> None:
    with pytest.raises(UserError, match="run `mova ingest`"):
        curate.run(config, workspace, "demo")


def test_killed_and_run_again_the_manifests_are_the_same(
    config: Config, tmp_path: Path, make_video: MakeVideo, flashing: Flashing
) -> None:
    calm, killed = Workspace(tmp_path / "calm"), Workspace(tmp_path / "killed")
    for seed in range(4):
        path = make_video(calm.raw("demo") / f"{seed}.mp4", *flashing(9.0, seed))
        killed.raw("demo").mkdir(parents=True, exist_ok=True)
        (killed.raw("demo") / path.name).write_bytes(path.read_bytes())
    curated(config, calm)

    ingest.run(config, killed, "demo")
    script = textwrap.dedent(
        f"""
        import sys
        from pathlib import Path
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        if __name__ == "__main__":
            from mova_core.curation import curate
            from mova_core.workspace import Workspace
            import pickle
            config = pickle.loads(Path(sys.argv[1]).read_bytes())
            curate.run(config, Workspace(Path(sys.argv[2])), "demo")
        """
    )
    import pickle

    (tmp_path / "script.py").write_text(script)
    (tmp_path / "config.pickle").write_bytes(pickle.dumps(config))
    process = subprocess.Popen(
        [sys.executable, str(tmp_path / "script.py"), str(tmp_path / "config.pickle"), str(killed.root)],
        stderr=subprocess.DEVNULL,
    )
    clips = killed.clips("demo") / "clips"
    end = time.monotonic() + 60
    while not (clips.is_dir() and len(list(clips.iterdir())) >= 4):
        assert time.monotonic() < end, "no clip was written"
        assert process.poll() is None, "it ended before it was killed"
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (killed.clips("demo") / "manifest.parquet").exists()

    curated(config, killed)
    for name in ("manifest.parquet", "rejects.parquet", "sources.jsonl"):
        assert (killed.clips("demo") / name).read_bytes() == (calm.clips("demo") / name).read_bytes()
    for path in (calm.clips("demo") / "clips").iterdir():
        assert (clips / path.name).read_bytes() == path.read_bytes()
