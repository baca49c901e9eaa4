"""A model under DeepSpeed ZeRO-3, on CPUs (gloo) and GPUs (nccl) alike: step, average, gather, state to resume from.

The DeepSpeed configuration is derived here from ours and exists nowhere else.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from mova_core.config.training import EngineConfig, OptimizerConfig
from mova_core.training.flat import FlatModule
from mova_core.training.muon import MuonAdamW
from mova_core.training.partition import Layout, Slot, Unit

BRIDGE = "dual_tower_bridge"


class Engine:
    """One phase's model, its optimizer and the average of its weights, partitioned over the processes.

    Call on every process alike: `losses`, `backward` (once for each micro-batch), then `step`.

    Parameters
    ----------
    objective : a module that maps a batch to losses `[b, k]`, and whose `model` is what is trained.
    prefix : stands before the names of `model`'s parameters to make them the checkpoint's (``"audio_dit."``, or "").
    optimizer, engine : their sections of the configuration.
    weight_decay : the phase's.
    accumulation : micro-batches in a step.
    """

    def __init__(
        self,
        objective: nn.Module,
        *,
        prefix: str,
        optimizer: OptimizerConfig,
        engine: EngineConfig,
        weight_decay: float,
        accumulation: int,
    ) -> None:
        import deepspeed

        names = grouped_names(objective.get_submodule("model"), prefix, muon=optimizer.matrices == "muon")
        units, module = _units(objective, names, prefix, engine.flat_parameters)
        groups = [
            {
                "params": [parameter for parameter, _ in units[key]],
                "component": component,
                "rule": rule,
                "lr": 0.0,
                "weight_decay": weight_decay,
            }
            for key, (component, rule) in {key: key.split(".") for key in names}.items()
        ]
        self._optimizer = MuonAdamW(
            groups,
            momentum=optimizer.muon_momentum,
            newton_schulz_steps=optimizer.newton_schulz_steps,
            betas=optimizer.betas,
            eps=optimizer.eps,
        )
        self._deepspeed, self._zero, _, _ = deepspeed.initialize(
            model=module,
            optimizer=self._optimizer,
            config=deepspeed_config(engine, optimizer.clip_norm, accumulation),
            dist_init_required=False,
        )
        unit_of = {id(parameter): unit for members in units.values() for parameter, unit in members}
        self.layouts = [Layout(tuple(unit_of[id(p)] for p in members)) for members in self._zero.fp16_groups]
        self.shards: list[torch.Tensor] = list(self._zero.fp32_partitioned_groups_flat)
        self._optimizer.layouts = dict(zip(self.shards, self.layouts, strict=True))
        self.averages = [shard.detach().clone() for shard in self.shards]

    @property
    def device(self) -> torch.device:
        return self.shards[0].device

    def losses(self, batch: object) -> torch.Tensor:
        """The objective's losses `[b, k]`."""
        losses: torch.Tensor = self._deepspeed(batch)
        return losses

    def backward(self, loss: torch.Tensor) -> None:
        """Adds the gradient of a micro-batch's mean loss."""
        self._deepspeed.backward(loss)
        if not self._deepspeed.is_gradient_accumulation_boundary():
            self._deepspeed.step()  # which only counts the micro-batch

    def step(self, *, rate: float, bridge_rate: float, idle: str | None, ema_decay: float) -> float:
        """One optimizer step; returns the gradient's norm before clipping.

        Parameters
        ----------
        rate, bridge_rate : learning rates of the towers and of the Bridge.
        idle : the component that had no part in this step and must not move.
        ema_decay : how much of the averaged weights stays.
        """
        for group in self._optimizer.param_groups:
            group["lr"] = bridge_rate if group["component"] == BRIDGE else rate
            group["active"] = group["component"] != idle
        self._deepspeed.step()
        # ZeRO-3 keeps the last gradient of a parameter that gets none in the next step, and would apply it again.
        self._zero.grad_partitions_flat_buffer.zero_()
        with torch.no_grad():
            for average, shard in zip(self.averages, self.shards, strict=True):
                average.lerp_(shard, 1 - ema_decay)
        return float(self._deepspeed.get_global_grad_norm())

    def weights(self, *, averaged: bool) -> dict[str, torch.Tensor]:
        """Whole weights by their checkpoint names, on every process. Collective."""
        weights: dict[str, torch.Tensor] = {}
        for layout, shard, average in zip(self.layouts, self.shards, self.averages, strict=True):
            weights.update(layout.gather(average if averaged else shard.detach()))
        return weights

    def use_averages(self) -> None:
        """Puts the averaged weights in the place of the trained ones, for good."""
        for shard, average in zip(self.shards, self.averages, strict=True):
            shard.data.copy_(average)
        self._publish()

    def state(self) -> list[dict[str, torch.Tensor]]:
        """What this process must keep to go on, by shard: weights, their average, the optimizer's moments."""
        return [
            {"weights": shard.detach(), "average": average, **self._optimizer.state[shard]}
            for shard, average in zip(self.shards, self.averages, strict=True)
        ]

    def load_state(self, state: list[dict[str, torch.Tensor]]) -> None:
        """Takes up what `state` returned, on the same or, recut, on another number of processes."""
        for shard, average, entries in zip(self.shards, self.averages, state, strict=True):
            shard.data.copy_(entries["weights"])
            average.copy_(entries["average"])
            self._optimizer.state[shard].update(
                {name: value.clone() for name, value in entries.items() if name not in ("weights", "average")}
            )
        self._publish()

    def train(self, mode: bool) -> None:
        """Switches between training and evaluation."""
        self._deepspeed.train(mode)

    def _publish(self) -> None:
        """Makes every process see what was written into the shards, as ZeRO-3 does after a step. Collective."""
        self._zero._partition_all_parameters()
        for index in range(len(self.shards)):
            self._zero._reassign_or_swap_out_partitioned_parameters(index)
        self._zero.checkpoint_event_epilogue()


def deepspeed_config(engine: EngineConfig, clip_norm: float, accumulation: int) -> dict[str, Any]:
    """DeepSpeed's configuration, derived from ours."""
    return {
        # Only a product that must be consistent; batches are cut before they reach DeepSpeed.
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": accumulation,
        "gradient_clipping": clip_norm,
        "zero_allow_untested_optimizer": True,
        "zero_optimization": {
            "stage": 3,
            "stage3_param_persistence_threshold": engine.persistent_below,
            "reduce_bucket_size": engine.bucket_elements,
            "stage3_prefetch_bucket_size": engine.bucket_elements,
            "overlap_comm": torch.cuda.is_available(),
            "contiguous_gradients": True,
            "memory_efficient_linear": False,  # a Python autograd function around every product; saves nothing here
        },
    }


def grouped_names(model: nn.Module, prefix: str, *, muon: bool) -> dict[str, list[str]]:
    """The trained weights' full names, by ``component.rule``.

    Muon takes the matrices of transformer blocks and Bridge; embeddings, heads, norms and biases are AdamW's.
    """
    groups: dict[str, list[str]] = {}
    for own_name, parameter in model.named_parameters():
        name = prefix + own_name
        component = name.partition(".")[0]
        inner = ".blocks." in name or component == BRIDGE
        rule = "muon" if muon and inner and parameter.dim() == 2 else "adamw"
        groups.setdefault(f"{component}.{rule}", []).append(name)
    return groups


def _units(
    objective: nn.Module, names: Mapping[str, list[str]], prefix: str, flat: bool
) -> tuple[dict[str, list[tuple[nn.Parameter, Unit]]], nn.Module]:
    """ZeRO-3's parameters by group with what lies in each, under checkpoint names; and the module that holds them."""
    inside = {name: "model." + name.removeprefix(prefix) for members in names.values() for name in members}
    if not flat:
        weights = dict(objective.named_parameters())
        return {
            key: [(weights[inside[name]], Unit((Slot(name, tuple(weights[inside[name]].shape)),))) for name in members]
            for key, members in names.items()
        }, objective
    module = FlatModule(objective, {key: [inside[name] for name in members] for key, members in names.items()})
    units = {
        key: [(parameter, Unit(tuple(Slot(name, slot.shape) for name, slot in zip(members, unit.slots, strict=True))))]
        for (key, members), parameter, unit in zip(names.items(), module.flat, module.units.values(), strict=True)
    }
    return units, module
