"""Every threshold rejects what lies outside it, all of it; and a manifest that is not right does not pass."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mova_core.config import Config
from mova_core.config.curation import Gate
from mova_core.curation.gates import GateResult, failed_gates, validate_clips, validate_ingest
from mova_core.curation.thresholds import bounds, passes, within
from mova_core.data.records import Clip, Reject, Source


def clips(folder: Path, **scores: list[float]) -> list[Clip]:
    """As many clips as there are scores, with their files."""
    (folder / "clips").mkdir(parents=True, exist_ok=True)
    count = len(next(iter(scores.values())))
    rows = []
    for index in range(count):
        path = f"clips/c{index:04d}.mp4"
        (folder / path).write_bytes(b"x")
        values: dict[str, Any] = {"silence_ratio": 0.1, "bandwidth_hz": 8000.0, "loudness_lufs": -20.0, "blur": 0.3}
        values |= {"clipping_ratio": 0.0, "motion": 2.0, "av_onset_agreement": 0.6, "speech_ratio": 0.0}
        values |= {name: column[index] for name, column in scores.items()}
        rows.append(
            Clip(
                f"c{index:04d}",
                f"s{index % 7}",
                "demo",
                "val" if index % 7 == 0 else "train",
                path,
                1.0,
                1.375,
                33,
                24.0,
                64,
                64,
                48_000,
                "single_sound",
                0,
                phases=["audio", "joint1"],
                **values,
            )
        )
    return rows


def test_all_rows_outside_are_found_however_many(tmp_path: Path) -> None:
    gate = Gate(reason="silent", score="silence_ratio", at_most=0.5)
    rows = clips(tmp_path, silence_ratio=[index / 1000 for index in range(1000)])
    failed = failed_gates(rows, [gate])
    assert sorted(failed) == [row.clip_id for row in rows if row.silence_ratio > 0.5]
    assert {row.clip_id for row in rows if not passes(row, [gate])} == set(failed)


def test_reasons_come_in_the_order_of_the_gates_and_bounds_are_included(tmp_path: Path) -> None:
    gates = [
        Gate(reason="quiet", score="loudness_lufs", at_least=-30),
        Gate(reason="blurred", score="blur", at_most=0.6),
        Gate(reason="dull", score="bandwidth_hz", at_least=1000, at_most=20_000),
    ]
    rows = clips(tmp_path, loudness_lufs=[-30, -40, -40], blur=[0.6, 0.7, 0.1], bandwidth_hz=[1000, 999, 20_001])
    failed = failed_gates(rows, gates)
    assert {key: [gate.reason for gate in found] for key, found in failed.items()} == {
        "c0001": ["quiet", "blurred", "dull"],
        "c0002": ["quiet", "dull"],
    }


def test_what_could_not_be_measured_passes(tmp_path: Path) -> None:
    gate = Gate(reason="out_of_sync", score="av_onset_agreement", at_least=0.2)
    assert within(math.nan, gate)
    assert failed_gates(clips(tmp_path, av_onset_agreement=[math.nan, math.nan]), [gate]) == {}
    assert list(failed_gates(clips(tmp_path, av_onset_agreement=[math.nan, 0.1]), [gate])) == ["c0001"]


def test_nothing_in_nothing_out(tmp_path: Path) -> None:
    assert failed_gates([], [Gate(reason="silent", score="silence_ratio", at_most=0.5)]) == {}
    assert failed_gates(clips(tmp_path, blur=[0.1]), []) == {}


def test_bounds_in_words_and_a_gate_without_any() -> None:
    assert bounds(Gate(reason="a", score="blur", at_least=0.1, at_most=2)) == "at least 0.1 and at most 2"
    with pytest.raises(ValueError, match="neither"):
        Gate(reason="a", score="blur")


def broken(results: list[GateResult]) -> set[str]:
    return {result.name for result in results if not result.passed}


def test_a_right_manifest_passes_and_each_defect_is_named(tmp_path: Path, config: Config) -> None:
    gates = [Gate(reason="silent", score="silence_ratio", at_most=0.5)]
    rows = clips(tmp_path, blur=[0.3] * 14)
    rejects = [Reject("r1", "demo", "a.mp4", "silent", "too silent"), Reject("r2", "demo", "b.mp4", "gone", "gone")]

    def found(clips: list[Clip], rejects: list[Reject] = rejects, num_candidates: int = 16) -> set[str]:
        return broken(
            validate_clips(
                clips, rejects, num_candidates=num_candidates, folder=tmp_path, media=config.media, gates=gates
            )
        )

    def spoilt(**changes: Any) -> list[Clip]:
        return [replace(rows[0], **changes), *rows[1:]]

    assert found(rows) == set()
    assert found(spoilt(clip_id="c0001")) == {"unique_ids"}
    assert found(spoilt(path="clips/c0001.mp4")) == {"unique_paths"}
    assert found(spoilt(path="clips/none.mp4")) == {"files_there"}
    assert found(spoilt(split="test")) == {"known_splits", "sources_on_one_side"}
    assert found(spoilt(split="train")) == {"sources_on_one_side"}
    assert found(spoilt(kind="double")) == {"known_kinds"}
    assert found(spoilt(phases=["joint9"])) == {"known_phases"}
    assert found(spoilt(start_seconds=-0.1)) == {"starts_in_source"}
    assert found(spoilt(num_frames=32, fps=25.0)) == {"canonical_num_frames", "canonical_fps"}
    assert found(spoilt(silence_ratio=0.6)) == {"gate 0: silent"}
    assert found(rows, num_candidates=17) == {"all_accounted_for"}
    assert found(rows, [rejects[0], rejects[0]]) == {"rejected_once"}
    assert found(rows, [rejects[0], replace(rejects[1], item_id="c0003")]) == {"accepted_or_rejected"}
    assert found(rows, [rejects[0], replace(rejects[1], detail="")]) == {"reasons_given"}
    assert found([], rejects, 2) == set()


def test_an_ingest_manifest_is_held_to_its_files(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"x")
    source = Source("s", "demo", "a.mp4", "f" * 64, 1, 2.0, 64, 48, 90, 24.0, False, 48, "h264", "aac", 48_000, 1)
    reject = Reject("r", "demo", "b.mp4", "no_audio", "none")
    assert broken(validate_ingest([source], [reject], num_candidates=2, raw=tmp_path)) == set()
    assert broken(validate_ingest([source], [reject], num_candidates=3, raw=tmp_path)) == {"all_accounted_for"}
    tilted = replace(source, rotation_degrees=45, duration_seconds=0.0, path="gone.mp4")
    assert broken(validate_ingest([tilted], [], num_candidates=1, raw=tmp_path)) == {
        "right_angles",
        "positive_duration_seconds",
        "files_there",
    }
    twice = replace(source, source_id="t", path="a.mp4")
    assert broken(validate_ingest([source, twice], [], num_candidates=2, raw=tmp_path)) == {
        "no_duplicates",
        "unique_paths",
    }
