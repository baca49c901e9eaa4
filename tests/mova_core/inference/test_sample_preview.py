"""The contact sheet shows each clip's frames above its own sound."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from mova_core.inference import preview


def test_a_flash_stands_above_its_click(tmp_path: Path) -> None:
    frames = np.zeros((36, 32, 32, 3), np.uint8)
    frames[20:24] = 255
    waveform = np.zeros(36_000, np.float32)
    waveform[20_000:24_000] = 1.0
    path = tmp_path / "sheet.png"
    preview.contact_sheet([(frames, waveform)], ["lampe à éclats"], path, num_columns=9)

    sheet = cv2.imread(str(path))
    step = preview.CELL_PIXELS + preview.GAP_PIXELS
    middle = sheet[preview.CAPTION_PIXELS + preview.CELL_PIXELS // 2]
    centres = [int(middle[preview.GAP_PIXELS + column * step + step // 2].mean()) for column in range(9)]
    assert [column for column, level in enumerate(centres) if level > 200] == [5]
    loud_rows = sheet[-preview.WAVE_PIXELS - preview.GAP_PIXELS :][3:8]
    loud = np.flatnonzero((loud_rows == preview.WAVE_INK[::-1]).all(axis=2).any(axis=0))
    assert abs(loud.min() / sheet.shape[1] - 20 / 36) < 0.01
    assert abs(loud.max() / sheet.shape[1] - 24 / 36) < 0.01


def test_rows_follow_the_clips_and_wide_frames_fit(tmp_path: Path) -> None:
    clip = (np.full((5, 100, 200, 3), 9, np.uint8), np.zeros(10, np.float32))
    path = tmp_path / "sheet.png"
    preview.contact_sheet([clip, clip], ["a", "b"], path, num_columns=3)
    once = tmp_path / "once.png"
    preview.contact_sheet([clip], ["a"], once, num_columns=3)
    assert cv2.imread(str(path)).shape[0] == 2 * cv2.imread(str(once)).shape[0]
