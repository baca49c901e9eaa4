"""The choice of a backend: forced choices fail loudly, the automatic one is said once."""

from __future__ import annotations

import logging

import pytest
import torch

from kernels import dispatch
from kernels.dispatch import KernelUnavailable, choose


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "_said", set())
    monkeypatch.setenv("TRITON_INTERPRET", "0")


def test_forcing_triton_fails_without_a_gpu() -> None:
    with pytest.raises(KernelUnavailable, match=r"norm_rotate.*need a GPU and the tensors are on cpu"):
        choose("norm_rotate", "triton", "cpu")


def test_forcing_triton_fails_while_it_is_not_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "BUILT_IN_TRITON", frozenset())
    with pytest.raises(KernelUnavailable, match=r"norm_rotate.*not built yet"):
        choose("norm_rotate", "triton", "cuda")


def test_an_older_gpu_and_a_wider_dtype_get_the_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (7, 5))
    assert choose("norm_rotate", "auto", "cuda") == "reference"
    with pytest.raises(KernelUnavailable, match=r"capability is \(7, 5\), at least \(8, 0\)"):
        choose("norm_rotate", "triton", "cuda")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (9, 0))
    assert choose("norm_rotate", "auto", "cuda", torch.bfloat16) == "triton"
    assert choose("norm_rotate", "auto", "cuda", torch.float64) == "reference"
    with pytest.raises(KernelUnavailable, match=r"not torch\.float64"):
        choose("norm_rotate", "triton", "cuda", torch.float64)


def test_the_interpreter_serves_who_asks_for_it_and_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    assert choose("norm_rotate", "triton", "cpu") == "triton"
    assert choose("norm_rotate", "auto", "cpu") == "reference"


def test_auto_takes_the_reference_and_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="kernels.dispatch"):
        assert [choose("norm_rotate", "auto", "cpu") for _ in range(3)] == ["reference"] * 3
    assert len(caplog.messages) == 1
    assert "norm_rotate" in caplog.messages[0]
    assert "need a GPU" in caplog.messages[0]


def test_reference_can_be_asked_for() -> None:
    assert choose("bridge_attention", "reference", "cuda") == "reference"


def test_unknown_names_are_refused() -> None:
    with pytest.raises(ValueError, match="expected one of norm_rotate"):
        choose("unaligned_rope", "auto", "cpu")
    with pytest.raises(ValueError, match="expected one of reference"):
        choose("norm_rotate", "tritn", "cpu")  # type: ignore[arg-type]  # the mistake under test
