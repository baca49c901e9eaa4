"""The benchmark's own logic, with made-up times: gate, statistics, floors, contenders, files, table, tuning."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
import torch
from torch._dynamo.testing import CompileCounter
from triton.runtime.errors import OutOfResources

from kernels.adaln.subject import ModulatedNorm
from kernels.bench import __main__ as command
from kernels.bench.ceilings import Ceilings, measure_ceilings
from kernels.bench.results import write_json, write_table
from kernels.bench.rows import Row, WrongResult, rows_of
from kernels.bench.timing import Call, CudaTimer, measure, spread
from kernels.bench.tune import plan, tune
from kernels.cases import AdaLNShape, Case
from kernels.subject import Cost, Function
from kernels.testing import device_under_test
from kernels.tuning import Config, Tunable, _kept, entry, keep

DEVICE = device_under_test()
CASE = Case("modulated_norm", "two_samples_float32", AdaLNShape(2, 5, 8), torch.float32, small=True)
CEILINGS = Ceilings(bytes_per_second=1e9, flops_per_second={"float32": 1e12})
FACTS = {
    "device": "NVIDIA H200",
    "driver": "570.1",
    "torch": "2.13.0",
    "triton": "3.7.1",
    "commit": "0" * 40 + "-dirty",
}


class MadeUpTimer:
    """Runs every call once, and says it took the next of the times given; the last one is said for ever."""

    def __init__(self, *times_ms: float) -> None:
        self.times_ms = list(times_ms)
        self.repeats: list[int] = []

    def time_ms(self, call: Call, num_repeats: int) -> Sequence[float]:
        call()
        self.repeats.append(num_repeats)
        last_of_a_call = len(self.repeats) % 2 == 0  # a first look, then the measurement
        now = self.times_ms[0]
        if last_of_a_call and len(self.times_ms) > 1:
            self.times_ms.pop(0)
        return [now] * num_repeats

    def peak_bytes(self, call: Call) -> int:
        call()
        return 4096


class Subject(ModulatedNorm):
    """The real one beside contenders that need no compiler."""

    def contenders(self, case: Case[AdaLNShape]) -> Mapping[str, Function]:
        def refuses(inputs: dict[str, torch.Tensor]) -> tuple[torch.Tensor, ...]:
            raise RuntimeError("this backend does not take the shape\nand says so at length")

        return {"eager": self.reference(case), "other": self.reference(case), "refusing": refuses}


class Wrong(Subject):
    """Twice what it should be."""

    def ours(self, case: Case[AdaLNShape]) -> Function:
        right = super().ours(case)
        return lambda inputs: (2 * right(inputs)[0],)


def rows() -> list[Row]:
    """Ours takes 2 ms forward and 4 ms both ways; of the contenders, "other" wins forward and "eager" both ways."""
    timer = MadeUpTimer(2.0, 6.0, 5.0, 4.0, 10.0, 12.0)
    return rows_of(Subject(), CASE, timer, CEILINGS, DEVICE)


def test_rows_set_ours_beside_the_fastest_contender_and_the_floor() -> None:
    forward, both = rows()
    assert (forward.pass_, both.pass_) == ("forward", "forward_backward")
    assert (forward.ours_ms, forward.best_torch, forward.best_torch_ms, forward.ratio) == (2.0, "other", 5.0, 2.5)
    assert (both.ours_ms, both.best_torch, both.best_torch_ms, both.ratio) == (4.0, "eager", 10.0, 2.5)
    # x is read and y written, 2 x 5 x 8 float32 each; at 1 GB/s that takes 0.64 microseconds.
    assert forward.floor_ms == pytest.approx(0.00064)
    assert forward.fraction_of_floor == pytest.approx(0.00032)
    assert forward.gigabytes_per_second == pytest.approx(0.00032)
    assert both.floor_ms == pytest.approx(0.0016)
    assert forward.peak_bytes == 4096
    assert 0 < forward.largest_error <= 1


def test_a_contender_that_fails_is_out_and_its_reason_is_kept() -> None:
    forward, _ = rows()
    assert forward.torch_ms == {"eager": 6.0, "other": 5.0, "refusing": None}
    assert forward.failures == {"refusing": "RuntimeError: this backend does not take the shape"}


def test_every_contender_is_compiled_however_many_share_their_code() -> None:
    """Past the compiler's limit they would run uncompiled, and flatter us."""
    torch.compiler.reset()
    counter = CompileCounter()

    class Many(Subject):
        def contenders(self, case: Case[AdaLNShape]) -> Mapping[str, Function]:
            def around(name: str) -> Function:
                def run(inputs: dict[str, torch.Tensor]) -> tuple[torch.Tensor, ...]:
                    return ((inputs["x"] + inputs["shift"]) * inputs["scale"] * len(name),)

                return torch.compile(run, backend=counter)  # type: ignore[no-any-return]

            return {name: around(name) for name in ("a" * length for length in range(1, 7))}

    rows_of(Many(), CASE, MadeUpTimer(1.0), CEILINGS, DEVICE)
    # Forward; to draw gradients; with gradients.
    assert counter.frame_count == 3 * 6


def test_a_wrong_kernel_gets_no_speed() -> None:
    timer = MadeUpTimer(1.0)
    with pytest.raises(WrongResult, match=r"modulated_norm/two_samples_float32: output: mean error 1\.0"):
        rows_of(Wrong(), CASE, timer, CEILINGS, DEVICE)
    assert not timer.repeats


def test_a_wrong_kernel_does_not_stop_the_others(capsys: pytest.CaptureFixture[str]) -> None:
    saved: list[int] = []
    cases = [(Wrong(), CASE), (Subject(), CASE), (Subject(), CASE)]
    measured, wrong = command.run(cases, MadeUpTimer(1.0), CEILINGS, DEVICE, lambda rows: saved.append(len(rows)))
    assert len(measured) == 4
    assert saved == [2, 4], "a run that is cut short keeps what it measured"
    assert len(wrong) == 1
    assert "WRONG, not timed: modulated_norm" in capsys.readouterr().err


@pytest.mark.parametrize(("one_call_ms", "repeats"), [(0.001, 50), (100.0, 20), (5000.0, 10)])
def test_fast_calls_are_repeated_more_often(one_call_ms: float, repeats: int) -> None:
    timer = MadeUpTimer(one_call_ms)
    assert measure(timer, lambda: None).num_repeats == repeats
    assert timer.repeats == [3, repeats]


def test_the_spread_names_median_and_fifths() -> None:
    found = spread([5.0, 1.0, 2.0, 3.0, 4.0, 100.0])
    assert (found.p20_ms, found.median_ms, found.p80_ms) == (2.0, 3.5, 5.0)
    with pytest.raises(ValueError, match="1 repeats"):
        spread([1.0])


def test_the_floor_is_the_slower_of_moving_and_multiplying() -> None:
    assert CEILINGS.floor_ms(Cost(num_bytes=10**9, num_flops=10**9), "float32") == pytest.approx(1000)
    assert CEILINGS.floor_ms(Cost(num_bytes=10**6, num_flops=10**12), "float32") == pytest.approx(1000)


def test_ceilings_count_reads_and_writes_of_a_copy_and_two_operations_a_term(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kernels.bench.ceilings.COPY_BYTES", 1000)
    monkeypatch.setattr("kernels.bench.ceilings.MATRIX", 10)
    found = measure_ceilings(MadeUpTimer(2.0), torch.device("cpu"), (torch.float32,))
    assert found == Ceilings(bytes_per_second=1e6, flops_per_second={"float32": 1e6})


def test_results_carry_what_they_depend_on_and_the_table_follows_them(tmp_path: Path) -> None:
    note = tmp_path / "kernels.md"
    note.write_text("# Kernels\n\nWhat was learnt.\n", encoding="utf-8")
    for measured in (rows(), rows()[:1]):
        path = write_json(tmp_path, FACTS, CEILINGS, measured)
        document = json.loads(path.read_text(encoding="utf-8"))
        write_table(note, document)
    assert path.name == "kernels-nvidia-h200.json"
    assert document["environment"] == FACTS
    assert {
        "case",
        "pass",
        "ours_ms",
        "best_torch_ms",
        "best_torch",
        "ratio",
        "fraction_of_floor",
        "peak_bytes",
    } <= set(document["rows"][0])
    text = note.read_text(encoding="utf-8")
    assert f"commit {'0' * 12}-dirty." in text
    assert text.startswith("# Kernels\n\nWhat was learnt.\n")
    assert text.count("| modulated_norm/two_samples_float32 | forward |") == 1
    assert "| 2.000 (2.000-2.000) | other | 5.000 | 2.50 |" in text
    assert "forward_backward" not in text, "the former table stayed"
    write_table(note, {**document, "environment": {**FACTS, "device": "NVIDIA H100"}})
    assert note.read_text(encoding="utf-8").count("| modulated_norm/") == 2


def test_tuning_keeps_a_candidate_only_if_it_is_clearly_faster() -> None:
    """1.0, then 0.99 for the others: noise. 3.0, then 2.0."""
    subject, (forward, backward) = Subject(), Subject.tunables
    key = subject.key(CASE)
    assert tune(subject, CASE, forward, MadeUpTimer(1.0, 0.99), DEVICE) == forward.candidates(key)[0]
    assert tune(subject, CASE, backward, MadeUpTimer(3.0, 2.0), DEVICE) == backward.candidates(key)[1]


def test_tuning_leaves_out_a_candidate_that_does_not_start(capsys: pytest.CaptureFixture[str]) -> None:
    right, refused = Config(num_warps=4, TOKENS=1, STAGES=1), Config(num_warps=4, TOKENS=1, STAGES=2)

    class Refusing(Subject):
        def ours(self, case: Case[AdaLNShape]) -> Function:
            run = super().ours(case)

            def start(inputs: dict[str, torch.Tensor]) -> tuple[torch.Tensor, ...]:
                if tunable.configuration(self.key(case), DEVICE) == refused:
                    raise OutOfResources(2**20, 2**17, "shared memory")
                return run(inputs)

            return start

    name = Subject.tunables[0].name
    tunable = Tunable(name, lambda key: (right, refused))
    assert tune(Refusing(), CASE, tunable, MadeUpTimer(1.0, 0.1), DEVICE) == right
    assert f"left out: {name}" in capsys.readouterr().err
    tunable = Tunable(name, lambda key: (refused, right))
    with pytest.raises(RuntimeError, match="out of resource"):
        tune(Refusing(), CASE, tunable, MadeUpTimer(1.0), DEVICE)


def test_the_longest_case_of_a_width_decides_its_configuration() -> None:
    planned = plan(command.selected(None, None))
    decided = {name: case.name for name, (_, case, _) in planned.items()}
    assert "720p" in decided["norm_rotate.forward 5120 bfloat16"]
    assert "720p" in decided["norm_rotate.backward 1536 bfloat16"], "not the 403 audio tokens"
    assert decided["modulated_norm.backward 5120 bfloat16 sample"] == "tower_video_720p"
    assert all(name.split()[1] in ("5120", "1536") for name in planned if name.startswith("norm_rotate."))


def test_kept_configurations_are_those_of_the_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    default, tuned = Config(num_warps=8, TOKENS=4), Config(num_warps=16, TOKENS=1)
    tunable = Tunable("norm.forward", lambda key: (default,))
    keep("NVIDIA H200", {entry(tunable.name, (64, "bfloat16")): tuned}, tmp_path)
    keep("NVIDIA H200", {"another.forward 64": default}, tmp_path)
    monkeypatch.setattr("kernels.tuning.FOLDER", tmp_path)
    device = {"name": "NVIDIA H200"}
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: device["name"])
    on = torch.device("cuda")
    assert tunable.configuration((64, "bfloat16"), on) == tuned
    assert tunable.configuration((128, "bfloat16"), on) == default
    assert tunable.configuration((64, "bfloat16"), torch.device("cpu")) == default
    device["name"] = "NVIDIA A100"
    assert tunable.configuration((64, "bfloat16"), on) == default
    _kept.cache_clear()


@pytest.mark.parametrize("interpreted", ["0", "1"])
def test_without_a_gpu_the_command_says_so(
    interpreted: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TRITON_INTERPRET", interpreted)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert command.main([]) == 2
    assert "expected a GPU" in capsys.readouterr().err


def test_a_case_of_another_kernel_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TRITON_INTERPRET", "0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert command.main(["--kernel", "gated_residual", "--case", "bridge_video_360p"]) == 2
    assert command.main(["--case", "two_samples_float32"]) == 2, "a case for the interpreter"
    assert "no case of these kernels has these names" in capsys.readouterr().err


class Event:
    """A CUDA event that says when it was queued."""

    def __init__(self, queue: list[str]) -> None:
        self.queue = queue

    def record(self) -> None:
        self.queue.append("event")

    def elapsed_time(self, _: Event) -> float:
        return 3.0


def test_a_cold_cache_and_a_pause_come_before_every_timed_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a GPU that is not there: the order in which things are queued."""
    queue: list[str] = []
    monkeypatch.setattr("kernels.bench.timing.L2_BYTES", 8)
    monkeypatch.setattr("kernels.bench.timing._event", lambda: Event(queue))
    monkeypatch.setattr(torch.cuda, "synchronize", lambda _: queue.append("wait"))
    monkeypatch.setattr(torch.cuda, "_sleep", lambda cycles: queue.append("pause" if cycles > 0 else "no pause"))
    timer = CudaTimer(torch.device("cpu"))
    monkeypatch.setattr(timer._cache, "zero_", lambda: queue.append("flush"))
    assert timer.time_ms(lambda: queue.append("call"), 2) == [3.0, 3.0]
    timed = ["flush", "event", "call", "event"]
    assert queue == ["call", "wait", "call", "pause", *timed, *timed, "wait"]


def test_cases_can_be_listed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        command.main(["--list"])
    assert "norm_rotate/bridge_video_360p\n" in capsys.readouterr().out
