"""The choice of a backend: forced choices fail loudly, the automatic one is said once."""

from __future__ import annotations

import logging

import pytest

from kernels.dispatch import KernelUnavailable, choose


@pytest.fixture(autouse=True)
def _forget_choices() -> None:
    choose.cache_clear()


@pytest.mark.parametrize("operator", ["aligned_rope", "bridge_attention"])
@pytest.mark.parametrize("device_type", ["cpu", "cuda"])
def test_forcing_triton_fails_while_it_is_not_built(operator: str, device_type: str) -> None:
    with pytest.raises(KernelUnavailable, match=rf"{operator}.*not built yet"):
        choose(operator, "triton", device_type)


def test_auto_takes_the_reference_and_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="kernels.dispatch"):
        assert [choose("aligned_rope", "auto", "cpu") for _ in range(3)] == ["reference"] * 3
    assert len(caplog.messages) == 1
    assert "aligned_rope" in caplog.messages[0]
    assert "not built yet" in caplog.messages[0]


def test_reference_can_be_asked_for() -> None:
    assert choose("bridge_attention", "reference", "cuda") == "reference"


def test_unknown_names_are_refused() -> None:
    with pytest.raises(ValueError, match="expected one of aligned_rope"):
        choose("unaligned_rope", "auto", "cpu")
    with pytest.raises(ValueError, match="expected one of reference"):
        choose("aligned_rope", "tritn", "cpu")  # type: ignore[arg-type]  # the mistake under test
