"""What a run takes is known before it starts: full size by arithmetic, refusals with a remedy, the mode that fits."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from deep_release import deep_model, deep_pipeline
from full_release import NUM_DAC_PARAMETERS, NUM_TEXT_PARAMETERS, NUM_VAE_PARAMETERS, full_codecs, full_model
from tiny_release import tiny_codecs

from mova_core.codecs.base import Codecs
from mova_core.codecs.dac_audio import DacAudioCodec
from mova_core.codecs.dac_layers import Dac, DacConfig
from mova_core.codecs.wan_video import WanVideoCodec
from mova_core.errors import UserError
from mova_core.inference.inputs import Settings
from mova_core.inference.placement.lanes import HostLane
from mova_core.inference.placement.layout import EXPERTS, MODES, Layout, Mode, layout_of
from mova_core.inference.placement.metering import peak_bytes
from mova_core.inference.placement.needs import GIBIBYTE, Need, choose, needs_of, rooms_of, statement
from mova_core.inference.placement.room import Room
from mova_core.inference.placement.work import Run, audio_bytes, joint_bytes, video_bytes, work_of

NEEDS = {
    mode: Need(size * GIBIBYTE, host * GIBIBYTE, "low-noise expert")
    for mode, size, host in zip(MODES, (70, 40, 8), (0, 0, 2), strict=True)
}
RELEASED_CLIP = Run(1, 2, 2, 512, (16, 49, 44, 80), (128, 403), 4, 8, 24.0)


@pytest.fixture(scope="module")
def codecs(tmp_path_factory: pytest.TempPathFactory) -> Codecs:
    return tiny_codecs(tmp_path_factory.mktemp("codecs"))


@pytest.mark.parametrize(("free", "mode"), [(80, "resident"), (69, "swap"), (40, "swap"), (39, "stream")])
def test_auto_is_the_fastest_that_fits(free: int, mode: str) -> None:
    assert choose("auto", NEEDS, Room("cuda:0", free * GIBIBYTE, 64 * GIBIBYTE)) == mode


def test_a_mode_that_does_not_fit_is_refused_with_the_one_that_does() -> None:
    with pytest.raises(UserError, match=r"24.0 GiB are free on cuda:0, and memory mode swap needs 40.0 GiB.*stream"):
        choose("swap", NEEDS, Room("cuda:0", 24 * GIBIBYTE, 64 * GIBIBYTE))


def test_where_nothing_fits_the_clip_is_to_be_smaller() -> None:
    with pytest.raises(UserError, match=r"6.0 GiB are free on cuda:0.*needs 8.0 GiB.*fewer frames"):
        choose("auto", NEEDS, Room("cuda:0", 6 * GIBIBYTE, 64 * GIBIBYTE))


def test_host_memory_counts_as_well() -> None:
    with pytest.raises(UserError, match=r"1.0 GiB are free of host memory, and memory mode stream needs 2.0 GiB"):
        choose("stream", NEEDS, Room("cuda:0", 24 * GIBIBYTE, GIBIBYTE))


def test_the_statement_is_one_line_with_every_mode() -> None:
    line = statement(NEEDS, Room("cuda:0", 80 * GIBIBYTE, GIBIBYTE), "swap")
    assert line.startswith(
        "peak memory on cuda:0 (80.0 GiB free): resident 70.0 GiB, swap 40.0 GiB, stream 8.0 GiB; swap is used"
    )
    assert "\n" not in line


@pytest.fixture(scope="module")
def full_size() -> tuple[dict[Mode, Layout], dict[str, int]]:
    """Layouts and work of the released model with its codecs, for one clip of 352x640 and 193 frames."""
    pytest.importorskip("diffusers", reason="diffusers is not installed (extra release-codecs)")
    model, codecs = full_model(), full_codecs()
    layouts = {mode: layout_of(mode, model, codecs, HostLane(torch.device("cpu"))) for mode in MODES}
    return layouts, work_of(model, codecs, RELEASED_CLIP)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of diffusers, on import
def test_the_released_model_takes_what_its_largest_stage_does(
    full_size: tuple[dict[Mode, Layout], dict[str, int]],
) -> None:
    """Both experts in bfloat16, 352x640, 193 frames: known sizes of the weights, and the metered rest."""
    layouts, work = full_size
    needs = needs_of(layouts, work, own_memory=True)
    weights = 2 * (2 * 14.289e9 + 1.419e9 + 2.660e9)
    tokens, width = 49 * 22 * 40, 5120
    assert work[EXPERTS[0]] > 3 * tokens * width * 2, "queries, keys and values alone"
    assert needs["resident"].device_bytes == pytest.approx(weights + 1.1 * work[EXPERTS[0]] + GIBIBYTE / 2, rel=0.002)
    assert needs["resident"].device_bytes - needs["swap"].device_bytes == pytest.approx(2 * 14.289e9, rel=0.002)
    assert needs["stream"].device_bytes <= 12e9
    assert {need.stage for need in needs.values()} == {EXPERTS[0]}
    # Two pinned layers of the video tower, of the audio tower and of the Bridge.
    assert needs["stream"].host_bytes == pytest.approx(2 * 2 * (351.4e6 + 46.4e6 + 88.7e6), rel=0.01)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    ("gigabytes", "mode"),
    [(141, "resident"), (80, "resident"), (72, "resident"), (70, "swap"), (48, "swap"), (24, "stream"), (12, "stream")],
)
def test_the_released_model_on_devices_of_every_size(
    full_size: tuple[dict[Mode, Layout], dict[str, int]], gigabytes: int, mode: Mode
) -> None:
    layouts, work = full_size
    room = Room("cuda:0", gigabytes * 10**9, 64 * GIBIBYTE)
    needs = needs_of(layouts, work, True, room)
    assert choose("auto", needs, room) == mode
    # What is stated is what a stage takes with all that may stay from the stages before it.
    rooms = rooms_of(needs[mode], layouts[mode], work, True)
    assert all(
        rooms[name] + 1.1 * work[name] + GIBIBYTE / 2 == pytest.approx(needs[mode].device_bytes) for name in rooms
    )
    assert all(
        sum(guest.device_bytes for guest in guests) <= rooms[name] for name, guests in layouts[mode].stages.items()
    )
    text_encoder, vaes = 2 * NUM_TEXT_PARAMETERS, 4 * (NUM_DAC_PARAMETERS + NUM_VAE_PARAMETERS)
    settled = text_encoder + vaes if gigabytes > 100 else 0
    assert needs[mode].device_bytes == pytest.approx(
        needs_of(layouts, work, True)[mode].device_bytes + settled, rel=1e-3
    )


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_device_too_small_for_the_released_model_is_refused(
    full_size: tuple[dict[Mode, Layout], dict[str, int]],
) -> None:
    room = Room("cuda:0", 7 * 10**9, 64 * GIBIBYTE)
    with pytest.raises(UserError, match=r"6\.5 GiB are free on cuda:0, and memory mode stream needs \d\.\d GiB"):
        choose("auto", needs_of(*full_size, True, room), room)


def test_few_layers_hold_as_much_as_all(monkeypatch: pytest.MonkeyPatch) -> None:
    model = deep_model()
    run = Run(2, 2, 3, 12, (16, 3, 4, 4), (8, 20), 4, 8, 24.0)
    joint_bytes(model, run)  # makes the tables of rotations, which are kept
    shallow = joint_bytes(model, run)
    monkeypatch.setattr("mova_core.inference.placement.work.METERED_LAYERS", 99)
    assert joint_bytes(model, run) == shallow


def test_metering_counts_what_is_alive_at_once() -> None:
    weight = torch.empty(1000, 1000, device="meta")

    def compute() -> None:
        for _ in range(3):
            rows = torch.empty(10, 1000, device="meta")
            widened = rows @ weight.T
            del rows
            widened + widened

    # In the second round: the rows, their product, and the product of the first round, which still has its name.
    assert peak_bytes(compute) == 3 * 10 * 1000 * 4


def test_fused_attention_is_not_counted_by_its_scores() -> None:
    def attend() -> torch.Tensor:
        q = torch.empty(1, 2, 4096, 16, device="meta")
        return torch.nn.functional.scaled_dot_product_attention(q, q, q)

    assert peak_bytes(attend) == 2 * 4096 * 2 * 16 * 4 + 2 * 4096 * 4


def test_work_grows_with_the_clip_and_leaves_the_codecs_as_they_were(codecs: Codecs) -> None:
    pipeline = deep_pipeline(codecs)
    run = Run(1, 1, 2, 12, (16, 8, 4, 4), (8, 20), 4, 8, 24.0)
    longer = dataclasses.replace(run, video=(16, 16, 4, 4))
    before = {name: tensor.data_ptr() for name, tensor in codecs.video.state_dict().items()}  # type: ignore[attr-defined]
    short, long = (work_of(pipeline.model, codecs, each) for each in (run, longer))
    after = {name: tensor.data_ptr() for name, tensor in codecs.video.state_dict().items()}  # type: ignore[attr-defined]
    assert before == after
    assert long["video codec"] > 1.8 * short["video codec"]
    assert long[EXPERTS[0]] > 1.3 * short[EXPERTS[0]]


def test_the_released_codecs_are_metered(codecs: Codecs) -> None:
    vae = pytest.importorskip("diffusers").AutoencoderKLWan(base_dim=8, num_res_blocks=1, attn_scales=[])
    dac = Dac(
        DacConfig(
            encoder_dim=8,
            encoder_rates=(2, 4),
            decoder_dim=32,
            decoder_rates=(4, 2),
            latent_dim=8,
            sample_rate=8000,
            continuous=True,
        )
    )
    released = Codecs(WanVideoCodec(vae), DacAudioCodec(dac), codecs.text)
    run = Run(1, 1, 2, 12, (16, 8, 4, 4), (8, 400), 4, 8, 24.0)
    pixels = 3 * 4 * 32 * 32 * 4
    assert video_bytes(released, run) > 8 * pixels, "channels of the last layers at full size"
    assert audio_bytes(released, run) > 400 * 8 * 8 * 4
    in_float32 = video_bytes(released, run)
    vae.to(torch.bfloat16)
    assert 0.45 * in_float32 < video_bytes(released, run) < 0.6 * in_float32
    assert all(weight.device.type == "cpu" for weight in vae.parameters())


def test_a_run_that_cannot_fit_ends_before_any_work(
    codecs: Codecs, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pipeline = deep_pipeline(codecs, "auto")
    monkeypatch.setattr("mova_core.inference.placement.placement.room_on", lambda device, held: Room("cpu", 1000, 1000))
    monkeypatch.setattr(pipeline.encoder, "texts", lambda *_: pytest.fail("the prompt was encoded"))
    with pytest.raises(UserError, match=r"0\.0 MiB are free on cpu"):
        pipeline.generate(["a bell"], None, [0], 2, 1.0, 1.0, height=32, width=32, num_frames=5)


def test_a_run_says_what_it_takes(codecs: Codecs, capsys: pytest.CaptureFixture[str]) -> None:
    pipeline = deep_pipeline(codecs, "auto")
    settings = Settings(2, 1.0, 1.0, True, 32, 32, 5, 24.0)
    pipeline.prepare(settings, 1, 1)
    pipeline.prepare(settings, 1, 1)
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert "resident is used" in said[0]
