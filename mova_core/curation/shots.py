"""Cuts, by PySceneDetect's content detector, fed with frames that are decoded anyway."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

# The detector averages over the picture; more pixels than this across cost time and change nothing.
WIDEST = 64


class CutFinder:
    """Takes a source's frames one by one, in order.

    Parameters
    ----------
    threshold : the least mean change of hue, saturation and brightness (of 255) that is a cut.
    min_frames : cuts nearer than this to the last one, or to the first frame, are not cuts.
    """

    def __init__(self, threshold: float, min_frames: int) -> None:
        from scenedetect.detector import FlashFilter
        from scenedetect.detectors import ContentDetector

        self._detector: Any = ContentDetector(
            threshold=threshold, min_scene_len=min_frames, filter_mode=FlashFilter.Mode.SUPPRESS
        )
        self._num_frames = 0
        self.frames: list[int] = []

    def add(self, frame: NDArray[np.uint8]) -> None:
        """Takes one more RGB frame; `frames` then holds the first frames of all shots seen but the first."""
        import cv2
        from scenedetect.common import FrameTimecode

        if frame.shape[1] > WIDEST:
            size = (WIDEST, max(round(frame.shape[0] * WIDEST / frame.shape[1]), 1))
            frame = cv2.resize(frame, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
        # The rate only turns frame numbers into time codes and back.
        timecode = FrameTimecode(self._num_frames, 24.0)
        found = self._detector.process_frame(timecode, cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
        self.frames.extend(code.frame_num for code in found)
        self._num_frames += 1
