from __future__ import annotations

import numpy as np

from mova_core.training.draws import Draw, draw, number_for


def sample(step: int = 3, index: int = 5, seed: int = 7, phase: str = "joint1", side: int = 3) -> Draw:
    return draw(seed, phase, step, index, (2, side), (4,))


def scalars(one: Draw) -> tuple[float, ...]:
    return one.video_u, one.audio_u, one.text_u, one.bridge_u


def test_a_draw_depends_on_its_names_alone() -> None:
    first = sample()
    for _ in range(3):
        sample(step=9)
    again = sample()
    assert scalars(first) == scalars(again)
    assert np.array_equal(first.video_noise, again.video_noise)
    assert np.array_equal(first.audio_noise, again.audio_noise)


def test_every_name_matters() -> None:
    others = (sample(step=4), sample(index=6), sample(seed=8), sample(phase="joint2"))
    assert len({scalars(one) for one in (sample(), *others)}) == 5


def test_names_are_not_run_together() -> None:
    assert number_for(1, "23") != number_for(12, "3")


def test_uniform_numbers_do_not_depend_on_the_resolution() -> None:
    assert scalars(sample(side=3)) == scalars(sample(side=8))


def test_levels_of_picture_and_sound_are_uniform_and_independent() -> None:
    draws = [draw(0, "joint1", step, 0, (), ()) for step in range(2000)]
    video, audio = (np.array([getattr(one, name) for one in draws]) for name in ("video_u", "audio_u"))
    expected = (np.arange(2000) + 0.5) / 2000
    for values in (video, audio):
        # Kolmogorov's bound at one in a thousand: 1.95 / sqrt(n).
        assert np.abs(np.sort(values) - expected).max() < 1.95 / 2000**0.5
    assert abs(np.corrcoef(video, audio)[0, 1]) < 4 / 2000**0.5


def test_noise_is_standard_normal() -> None:
    noise = draw(0, "joint1", 0, 0, (40_000,), ()).video_noise
    assert noise.dtype == np.float32
    assert abs(noise.mean()) < 4 / 200
    assert abs(noise.std() - 1) < 4 / (2 * 40_000) ** 0.5
