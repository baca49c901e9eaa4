"""Cuts, by PySceneDetect's content detector, and the picture's change; both fed with frames that are decoded anyway."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

# Content is compared by averages over the picture; more pixels than this across cost time and change nothing.
WIDEST = 128


def shrunk(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """An RGB frame no wider than content comparison needs."""
    import cv2

    if frame.shape[1] <= WIDEST:
        return frame
    size = (WIDEST, max(round(frame.shape[0] * WIDEST / frame.shape[1]), 1))
    return cv2.resize(frame, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)


class ChangeMeter:
    """Takes a source's frames one by one, shrunk; `changes` holds each one's mean absolute change of brightness."""

    def __init__(self) -> None:
        self._before: NDArray[np.uint8] | None = None
        self.changes: list[float] = []

    def add(self, frame: NDArray[np.uint8]) -> None:
        """Takes one more RGB frame; the first one's change is 0."""
        import cv2

        grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY).astype(np.uint8, copy=False)
        before = grey if self._before is None else self._before
        self.changes.append(cv2.norm(grey, before, cv2.NORM_L1) / grey.size)
        self._before = grey


class CutFinder:
    """Takes a source's frames one by one, shrunk, in order.

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

        # The rate only turns frame numbers into time codes and back.
        timecode = FrameTimecode(self._num_frames, 24.0)
        found = self._detector.process_frame(timecode, cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
        self.frames.extend(code.frame_num for code in found)
        self._num_frames += 1
