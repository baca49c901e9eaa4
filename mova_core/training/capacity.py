"""Whether a phase can fit into the memory at hand, told before any work. Loads no torch.

What counts is what training certainly needs: weights, gradients, the optimizer's moments and the averaged weights of
the blocks' matrices, in float32. Activations and embeddings come on top, so what is refused here could not have run.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from mova_core.config import Config
from mova_core.config.model import AudioDitConfig, ModelConfig, VideoDitConfig
from mova_core.config.training import JointPhaseConfig
from mova_core.errors import UserError

BYTES_OF_A_WEIGHT = 4
STATES = {"muon": 4, "adamw": 5}
"""Numbers held for one trained weight: itself, its gradient, its average, and one or two moments."""
# Of each layer: queries, keys, values and output of self and of cross attention, and the feed-forward pair.
ATTENTION_MATRICES, FEED_FORWARD_MATRICES = 8, 2
GIBIBYTE = 1 << 30
CONTAINER_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


def check_memory(config: Config, phase: str, num_processes: int, device_bytes: int | None) -> None:
    """Holds what the phase needs against what is there.

    Parameters
    ----------
    num_processes : that share the training, over all machines.
    device_bytes : of this process's GPU; None where it computes on the processor, whose memory the processes of this
        machine share.

    Raises
    ------
    UserError : if it cannot fit.
    """
    needed = training_bytes(config, phase)
    if device_bytes is not None:
        share, there, of_what = needed / num_processes, device_bytes, "on this GPU"
    else:
        on_this_machine = int(os.environ.get("LOCAL_WORLD_SIZE", num_processes))
        share, there, of_what = needed * on_this_machine / num_processes, free_memory_bytes(), "of free memory"
    if share > there:
        raise UserError(
            f"phase {phase} of preset {config.preset!r} takes at least {share / GIBIBYTE:.0f} GiB here "
            f"({num_parameters(config.model) / 1e9:.2g} billion parameters), and there are {there / GIBIBYTE:.1f} GiB "
            f"{of_what}",
            expected="a preset that fits this machine",
            remedy="choose one that `mova doctor` says fits (`mova init --preset nano`), or train on more GPUs or "
            "machines with torchrun",
        )


def training_bytes(config: Config, phase: str) -> int:
    """What training the phase takes at least, over all processes."""
    settings = config.train.phase(phase)
    model = config.model
    if isinstance(settings, JointPhaseConfig):
        together = settings.experts == "together"
        trained = num_parameters(model.model_copy(update={"num_experts": 1}) if together else model)
        resting = 0
    else:  # the checkpoint holds what this phase leaves as it is, too
        trained = tower_parameters(model.audio_dit)
        resting = num_parameters(model) - trained
    return (trained * STATES[config.train.optimizer.matrices] + resting) * BYTES_OF_A_WEIGHT


def num_parameters(model: ModelConfig) -> int:
    """Weights in the matrices of blocks and Bridge, which are nearly all there are."""
    video, audio = model.video_dit, model.audio_dit
    bridge = 0
    if model.dual_tower_bridge.interaction_strategy == "full":
        # Queries and output in the asking tower's width, keys and values from the other's; both ways.
        one_layer = 2 * (video.dim**2 + audio.dim**2) + 4 * video.dim * audio.dim
        bridge = min(video.num_layers, audio.num_layers) * one_layer
    return model.num_experts * tower_parameters(video) + tower_parameters(audio) + bridge


def tower_parameters(tower: VideoDitConfig | AudioDitConfig) -> int:
    """Weights in the matrices of a tower's blocks."""
    return tower.num_layers * (ATTENTION_MATRICES * tower.dim**2 + FEED_FORWARD_MATRICES * tower.dim * tower.ffn_dim)


def free_memory_bytes() -> int:
    """What this process could still take: of the machine, or of its container where that is allowed less."""
    lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
    found = [next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))]
    for limit in CONTAINER_LIMITS:
        with contextlib.suppress(OSError, ValueError):  # no container, or one without a limit
            found.append(int(limit.read_text(encoding="utf-8")))
    return min(found)
