"""Small numpy scenes with known events, independent of the corpus renderer that the detectors meet in production."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pytest

FPS, RATE_HZ, NUM_FRAMES = 24.0, 48_000, 33
SECONDS = NUM_FRAMES / FPS


@dataclass(frozen=True)
class Scene:
    """A rendered clip and what happens in it."""

    label: str
    frames: npt.NDArray[np.uint8]
    waveform: npt.NDArray[np.float32]
    events: tuple[float, ...]


class Stage:
    """Renders scenes; `late_seconds` puts the sound later than its picture."""

    def lamp(self, events: tuple[float, ...], late_seconds: float = 0.0, size: int = 64, seed: int = 0) -> Scene:
        time = np.arange(NUM_FRAMES) / FPS
        glow = sum((np.exp(-(time - event) / 0.15) * (time >= event) for event in events), np.zeros(NUM_FRAMES))
        y, x = self._grid(size)
        disc = np.clip((0.25 - np.hypot(x - 0.5, y - 0.45)) * size / 2, 0, 1)
        picture = self._canvas(size, (70, 80, 110))[None] * np.ones((NUM_FRAMES, 1, 1, 1))
        picture = picture + (disc[None, ..., None] * glow[:, None, None, None]) * np.array([150, 130, 60])
        sound = self._struck(tuple(event + late_seconds for event in events), 880.0, 0.2)
        return self._scene("lamp", picture, sound, events, seed)

    def ball(self, events: tuple[float, ...], late_seconds: float = 0.0, size: int = 64, seed: int = 0) -> Scene:
        time = np.arange(NUM_FRAMES) / FPS
        nearest = np.abs(time[:, None] - np.array(events)[None]).min(axis=1)
        height = (1 - (1 - np.minimum(1.0, nearest / 1.1)) ** 2) * 0.6
        y, x = self._grid(size)
        ball = np.clip((0.12 - np.hypot(x[None] - 0.5, y[None] - (0.8 - height)[:, None, None])) * size, 0, 1)
        picture = self._canvas(size, (190, 190, 180))[None] * (1 - ball[..., None])
        picture = picture + ball[..., None] * np.array([120, 60, 60])
        sound = self._struck(tuple(event + late_seconds for event in events), 220.0, 0.08)
        return self._scene("ball", picture, sound, events, seed)

    def face(self, events: tuple[float, ...], late_seconds: float = 0.0, size: int = 64, seed: int = 0) -> Scene:
        opening = self._swell(events, np.arange(NUM_FRAMES) / FPS)
        y, x = self._grid(size)
        mouth = np.clip(
            (1 - np.hypot((x[None] - 0.5) / 0.16, (y[None] - 0.68) / (0.02 + 0.14 * opening)[:, None, None])) * 4, 0, 1
        )
        picture = self._canvas(size, (220, 180, 150))[None] * (1 - mouth[..., None])
        picture = picture + mouth[..., None] * np.array([100, 20, 30])
        clock = np.arange(round(SECONDS * RATE_HZ)) / RATE_HZ
        voice = sum(np.sin(2 * np.pi * 140 * k * clock) / k for k in range(1, 8))
        sound = 0.2 * voice * self._swell(tuple(event + late_seconds for event in events), clock)
        return self._scene("face", picture, sound, events, seed)

    def wheel(self, events: tuple[float, ...], late_seconds: float = 0.0, size: int = 64, seed: int = 0) -> Scene:
        fine = np.arange(round(SECONDS * RATE_HZ)) / RATE_HZ
        angle = np.cumsum(self._swell(events, fine)) / RATE_HZ * 2 * np.pi * 1.2
        turned = angle[np.round(np.arange(NUM_FRAMES) / FPS * RATE_HZ).astype(int)]
        y, x = self._grid(size)
        bearing, radius = np.arctan2(y - 0.5, x - 0.5), np.hypot(x - 0.5, y - 0.5)
        spokes = (0.5 + 0.5 * np.cos(5 * (bearing[None] - turned[:, None, None]))) * (radius < 0.4)
        picture = self._canvas(size, (200, 200, 210))[None] * (1 - 0.6 * spokes[..., None])
        hub = 150 * (self._swell(events, np.arange(NUM_FRAMES) / FPS)[:, None, None] * (radius < 0.12))
        picture = picture + (hub * (radius < 0.12))[..., None] - 60 * (radius < 0.12)[..., None]
        speed = self._swell(tuple(event + late_seconds for event in events), fine)
        sound = 0.3 * speed * np.sin(2 * np.pi * np.cumsum(90 + 120 * speed) / RATE_HZ)
        return self._scene("wheel", picture, sound, events, seed)

    def scene(
        self, label: str, events: tuple[float, ...], late_seconds: float = 0.0, size: int = 64, seed: int = 0
    ) -> Scene:
        render = {"lamp": self.lamp, "ball": self.ball, "face": self.face, "wheel": self.wheel}[label]
        return render(events, late_seconds, size, seed)

    @staticmethod
    def _grid(size: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        y, x = np.mgrid[0:size, 0:size]
        return (y + 0.5) / size, (x + 0.5) / size

    @staticmethod
    def _canvas(size: int, colour: tuple[int, int, int]) -> npt.NDArray[np.float64]:
        shade = np.linspace(0.9, 1.0, size)[:, None, None]
        return shade * np.array(colour, dtype=np.float64) * np.ones((size, size, 1))

    @staticmethod
    def _struck(events: tuple[float, ...], pitch_hz: float, decay_seconds: float) -> npt.NDArray[np.float64]:
        clock = np.arange(round(SECONDS * RATE_HZ)) / RATE_HZ
        sound = np.zeros(len(clock))
        for event in events:
            since = np.maximum(clock - event, 0.0)
            tone = np.sin(2 * np.pi * pitch_hz * since) + 0.5 * np.sin(2 * np.pi * 2.7 * pitch_hz * since)
            sound += 0.4 * tone * np.exp(-since / decay_seconds) * (clock >= event)
        return sound

    @staticmethod
    def _swell(events: tuple[float, ...], time: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Rises over 80 ms from each event, holds, and is gone 300 ms after it."""
        since = time[:, None] - np.array(events)[None]
        return np.clip(np.minimum(since / 0.08, (0.3 - since) / 0.08), 0, 1).max(axis=1)

    @staticmethod
    def _scene(
        label: str,
        picture: npt.NDArray[np.float64],
        sound: npt.NDArray[np.float64],
        events: tuple[float, ...],
        seed: int,
    ) -> Scene:
        generator = np.random.default_rng(seed)
        noisy = picture + generator.normal(0, 1.5, picture.shape)
        hiss = generator.normal(0, 0.001, len(sound))
        return Scene(
            label, np.clip(np.round(noisy), 0, 255).astype(np.uint8), (sound + hiss).astype(np.float32), events
        )


@pytest.fixture(scope="session")
def stage() -> Stage:
    return Stage()
