"""A tiny configuration with latents to train on, and a process group of one."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from tiny_training import finish_audio_phase, tiny_config, write_latents

from mova_core.config import Config
from mova_core.workspace import Workspace


@pytest.fixture(scope="session")
def config() -> Config:
    return tiny_config()


@pytest.fixture(scope="session")
def workspace(config: Config, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Latents of twelve clips; tests only read it."""
    workspace = Workspace(tmp_path_factory.mktemp("training"))
    write_latents(workspace, config)
    return workspace


@pytest.fixture(scope="module")
def process_group(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """torch.distributed with this process alone, and DeepSpeed told to stay on the CPU and to compile nothing."""
    import torch.distributed as dist

    from mova_core.training.worker import prepare_deepspeed

    names = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}
    before = dict(os.environ)
    os.environ.update(names, DS_ACCELERATOR="cpu", GLOO_SOCKET_IFNAME="lo")
    meeting: Path = tmp_path_factory.mktemp("group") / "rendezvous"
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=0, world_size=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # DeepSpeed 0.19 calls names that torch 2.13 deprecates
        prepare_deepspeed()
    yield
    dist.destroy_process_group()
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="session")
def start(config: Config, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Latents, and a finished phase `audio` of first weights; tests only read it."""
    workspace = Workspace(tmp_path_factory.mktemp("start"))
    write_latents(workspace, config)
    finish_audio_phase(workspace, config)
    return workspace
