"""Free memory is what the kernel and the container leave."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mova_core.inference.placement.room import free_host_bytes


@pytest.fixture
def meminfo(tmp_path: Path) -> Path:
    path = tmp_path / "meminfo"
    path.write_text("MemTotal:       16000 kB\nMemFree:         1000 kB\nMemAvailable:    9000 kB\n")
    return path


def test_without_a_container_the_kernel_says_what_is_free(meminfo: Path, tmp_path: Path) -> None:
    assert free_host_bytes(meminfo, tmp_path / "absent") == 9000 * 1024


def test_a_container_s_limit_holds_and_its_file_pages_count_as_free(meminfo: Path, tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text("5000000\n")
    (tmp_path / "memory.current").write_text("4000000\n")
    (tmp_path / "memory.stat").write_text("anon 1000000\ninactive_file 2000000\nactive_file 500000\n")
    assert free_host_bytes(meminfo, tmp_path) == 5000000 - 4000000 + 2500000


def test_a_container_without_a_limit_leaves_what_the_kernel_has(meminfo: Path, tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("4000000\n")
    assert free_host_bytes(meminfo, tmp_path) == 9000 * 1024


def test_where_the_kernel_does_not_say_all_memory_counts(tmp_path: Path) -> None:
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert free_host_bytes(tmp_path / "absent", tmp_path) == whole
