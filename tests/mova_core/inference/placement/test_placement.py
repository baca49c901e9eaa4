"""Memory modes on a fake device: the same clips bit for bit, weights where they should be, copies ahead of use."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from deep_release import VIDEO_LAYERS, deep_pipeline
from fake_lane import FakeLane

from mova_core.codecs.base import Codecs
from mova_core.inference.pipeline import MovaPipeline
from mova_core.inference.placement.lanes import HostLane, Lane
from mova_core.inference.placement.layout import MODES, Mode
from mova_core.inference.placement.placement import Placement
from mova_core.inference.placement.ring import Ring

CPU = torch.device("cpu")
PICTURES = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
GUIDANCES = {"none": (1.0, 1.0), "text": (2.0, 1.0), "dual": (2.0, 1.5)}


@pytest.fixture(scope="module")
def codecs(tmp_path_factory: pytest.TempPathFactory) -> Codecs:
    return deep_pipeline(tmp_path_factory.mktemp("codecs")).codecs


Placed = Callable[[Mode | None, Lane], tuple[MovaPipeline, Placement]]


@pytest.fixture
def placed(codecs: Codecs) -> Iterator[Placed]:
    """Makes a pipeline whose weights follow a mode; sends them home afterwards, since the codecs are shared."""
    placements = []

    def make(mode: Mode | None, lane: Lane) -> tuple[MovaPipeline, Placement]:
        pipeline = deep_pipeline(Path(), codecs)
        placement = Placement(pipeline.model, pipeline.codecs, CPU, lane)
        placements.append(placement)
        pipeline.codecs = placement.codecs
        if mode is not None:
            placement.use(mode)
        return pipeline, placement

    yield make
    for placement in placements:
        placement.close()


def generate(pipeline: MovaPipeline, guidance: str = "dual") -> tuple[Any, Any]:
    text, bridge = GUIDANCES[guidance]
    return pipeline.generate(
        ["a lamp flashes with a bell", "the wheel hums"],
        PICTURES,
        [3, 4],
        4,
        text,
        bridge,
        height=32,
        width=32,
        num_frames=9,
        batch_size=1,
    )


@pytest.mark.parametrize(
    ("mode", "guidance", "late"),
    [
        ("resident", "dual", True),
        ("swap", "dual", True),
        *(("stream", guidance, late) for guidance in GUIDANCES for late in (True, False)),
    ],
)
def test_every_mode_gives_the_same_bits(codecs: Codecs, placed: Placed, mode: Mode, guidance: str, late: bool) -> None:
    expected = generate(deep_pipeline(Path(), codecs), guidance)
    pipeline, _ = placed(mode, FakeLane(late))
    found = generate(pipeline, guidance)
    for one, other in zip(expected, found, strict=True):
        np.testing.assert_array_equal(one, other)


def test_without_a_choice_everything_is_resident(placed: Placed) -> None:
    pipeline, placement = placed(None, FakeLane())
    generate(pipeline, "none")
    assert placement.mode == "resident"


@pytest.mark.parametrize("mode", MODES)
def test_closing_restores_every_weight_without_a_copy(placed: Placed, mode: Mode) -> None:
    pipeline, placement = placed(None, FakeLane())
    places = {name: weight.data_ptr() for name, weight in pipeline.model.named_parameters()}
    placement.use(mode)
    generate(pipeline, "text")
    placement.close()
    assert {name: weight.data_ptr() for name, weight in pipeline.model.named_parameters()} == places


def test_the_mode_can_change_between_clips(codecs: Codecs, placed: Placed) -> None:
    expected = generate(deep_pipeline(Path(), codecs))
    pipeline, placement = placed("stream", FakeLane())
    for mode in ("swap", "resident", "stream"):
        placement.use(mode)
        np.testing.assert_array_equal(generate(pipeline)[0], expected[0])


def test_swap_keeps_one_expert_and_no_codec_beside_it(placed: Placed) -> None:
    pipeline, _ = placed("swap", FakeLane())
    model = pipeline.model
    assert model.video_dit_2 is not None
    seen = []
    model.dual_tower_bridge.register_forward_pre_hook(
        lambda module, arguments: seen.append([is_away(part) for part in (model.video_dit, model.video_dit_2)])
    )
    model.dual_tower_bridge.register_forward_pre_hook(lambda module, arguments: codec_is_away(pipeline))
    generate(pipeline, "text")
    assert [False, True] in seen
    assert [True, False] in seen
    assert [False, False] not in seen


def is_away(module: torch.nn.Module) -> bool:
    return all(bool(weight.isnan().all()) for weight in module.parameters())


def codec_is_away(pipeline: MovaPipeline) -> None:
    assert is_away(pipeline.codecs.text.model)  # type: ignore[attr-defined]
    assert all(bool(tensor.isnan().all()) for tensor in pipeline.codecs.video.buffers())  # type: ignore[attr-defined]


def test_streaming_keeps_one_layer_and_the_next(placed: Placed) -> None:
    pipeline, placement = placed("stream", FakeLane())
    counts = []
    blocks = pipeline.model.video_dit.blocks
    for block in blocks:
        block.register_forward_hook(lambda *_: counts.append(sum(not is_away(each) for each in blocks)))
    generate(pipeline, "none")
    assert set(counts) == {1}, "a layer whose copy may not have ended is not to be seen"
    rings = [guest for guest in placement.layouts["stream"].stages["high-noise expert"] if isinstance(guest, Ring)]
    layer_bytes = sum(weight.nbytes for weight in blocks[0].parameters())
    video = next(ring for ring in rings if ring.name == "video tower")
    assert 2 * layer_bytes <= video.device_bytes < 2.5 * layer_bytes


def test_a_steady_order_is_fetched_ahead_and_nothing_in_vain(placed: Placed) -> None:
    lane = FakeLane()
    pipeline, placement = placed("stream", lane)
    ring = next(guest for guest in placement.layouts["stream"].stages["high-noise expert"] if isinstance(guest, Ring))
    ring.bring(lane)
    cycle = ring.parcels[:VIDEO_LAYERS]
    for _ in range(3):
        for parcel in cycle:
            ring.hold(parcel)
    ring.leave(lane)
    fetched = lane.log.count("copy")
    assert fetched == 3 * VIDEO_LAYERS + 1, "one ahead of the last"
    assert pipeline.model.video_dit.blocks[0].modulation.isnan().all()


def test_an_order_that_changed_is_learned(placed: Placed) -> None:
    lane = FakeLane()
    _, placement = placed("stream", lane)
    ring = next(guest for guest in placement.layouts["stream"].stages["high-noise expert"] if isinstance(guest, Ring))
    ring.bring(lane)
    order = [ring.parcels[index] for index in (0, 2, 4)]
    in_vain = []
    for _ in range(3):
        before = lane.log.count("copy")
        for parcel in order:
            ring.hold(parcel)
        in_vain.append(lane.log.count("copy") - before - len(order))
    ring.leave(lane)
    assert in_vain[0] > 0
    assert in_vain[2] == 0


def test_on_the_cpu_only_the_ring_takes_memory(codecs: Codecs, placed: Placed) -> None:
    pipeline, placement = placed("swap", HostLane(CPU))
    places = {name: weight.data_ptr() for name, weight in pipeline.model.named_parameters()}
    generate(pipeline, "text")
    assert {name: weight.data_ptr() for name, weight in pipeline.model.named_parameters()} == places
    placement.use("stream")
    expected = generate(deep_pipeline(Path(), codecs))
    np.testing.assert_array_equal(generate(pipeline)[0], expected[0])
