"""The training of one phase on this process: steps, metrics, validation, state, and the checkpoint at the end."""

from __future__ import annotations

import dataclasses
import shutil
import time
from typing import Any

import torch
import torch.distributed as dist

from mova_core.config import Config
from mova_core.config.training import JointPhaseConfig
from mova_core.diffusion.scheduler import Scheduler
from mova_core.models.dual_tower import DualTower
from mova_core.models.weights import save_model
from mova_core.progress import say, track
from mova_core.training.engine import Engine
from mova_core.training.metrics import Line, MetricsFile
from mova_core.training.objective import GIVEN_LATENT_FRAMES
from mova_core.training.partition import all_shards
from mova_core.training.performance import BACKWARD_FACTOR, forward_flops, matmul_ceiling, peak_memory_mib
from mova_core.training.phase import Phase
from mova_core.training.rundir import RunFolder
from mova_core.training.schedule import ema_decay, rate_factor
from mova_core.training.state import discard_unfinished, load_state, save_state

ASIDE = ".checkpoint.aside"


class Trainer:
    """One phase on one process; all processes run the same calls.

    Parameters
    ----------
    config : the whole configuration.
    phase : built for this process.
    run : the phase's folder.
    device : where to compute.
    """

    def __init__(self, config: Config, phase: Phase, run: RunFolder, device: torch.device) -> None:
        self.phase, self.run, self.device = phase, run, device
        self.train, self.settings = config.train, config.train.phase(phase.name)
        self.is_first = dist.get_rank() == 0
        share = self.settings.batch_size // dist.get_world_size()
        self.micro_batch = micro_batch_size(share, self.train.engine.max_micro_batch)
        self.engine = Engine(
            phase.objective,
            prefix=phase.prefix,
            optimizer=self.train.optimizer,
            engine=self.train.engine,
            weight_decay=self.settings.weight_decay,
            accumulation=share // self.micro_batch,
        )
        self.weights = torch.tensor(phase.loss_weights, device=device)
        self.lines: list[Line] = []
        self.losses: list[torch.Tensor] = []
        self.logged_at = 0.0

    def run_steps(self) -> dict[str, float]:
        """Trains from the newest state, or the start, to the last step; returns figures of the run."""
        start = self._resume()
        ceiling = matmul_ceiling(self.device)
        metrics = MetricsFile(self.run.metrics, start) if self.is_first else None
        flops = self._flops(start)
        steps = range(start, self.settings.steps)
        began = self.logged_at = time.perf_counter()
        for step in track(steps, f"train {self.phase.name}") if self.is_first else steps:
            self._step(step)
            done = step + 1
            validates = done % self.train.validation.every_steps == 0 and done < self.settings.steps
            saves = done % self.train.engine.state_every_steps == 0 and done < self.settings.steps
            if validates or saves or done % self.train.engine.log_every_steps == 0 or done == self.settings.steps:
                self._flush(metrics, self.validate() if validates else {})
            if saves:
                save_state(self.run.state, done, self.engine.state(), self.engine.layouts)
        seconds = time.perf_counter() - began
        figures = self._finish(metrics)
        memory = all_shards(torch.tensor([peak_memory_mib()], device=self.device)).max().item()
        rate = len(steps) / seconds if len(steps) else 0.0
        return {
            **figures,
            "train_clips": float(len(self.phase.batches.train_rows)),
            "steps": float(self.settings.steps),
            "steps_per_second": rate,
            "gflop_per_step": flops / 1e9,
            "gflop_per_second": rate * flops / 1e9,
            "matmul_ceiling_gflop_per_second": self._sum(ceiling),
            "peak_memory_mib_per_process": memory,
            "processes": float(dist.get_world_size()),
        }

    def validate(self) -> Line:
        """Held-out losses with the weights as they are, under names that begin with ``validation_``. Collective."""
        self.engine.train(False)
        total = torch.zeros(len(self.phase.loss_names) + 1, dtype=torch.float64, device=self.device)
        with torch.no_grad():
            for batch, weights in self.phase.batches.validation(self.train.validation.num_clips, self.micro_batch):
                losses = self.engine.losses(on_device(batch, self.device)).double()
                weighted = weights.to(total)
                total += torch.cat(((losses * weighted[:, None]).sum(0), weighted.sum()[None]))
        self.engine.train(True)
        dist.all_reduce(total)
        if total[-1] == 0:
            return {}
        means = (total[:-1] / total[-1]).tolist()
        return {f"validation_{name}": value for name, value in zip(self.phase.loss_names, means, strict=True)}

    def _step(self, step: int) -> None:
        factor = rate_factor(self.settings, step)
        rate = factor * self.settings.learning_rate
        bridge_rate = rate
        if isinstance(self.settings, JointPhaseConfig):
            bridge_rate = factor * self.settings.bridge_learning_rate
        own = []
        for batch in self.phase.batches.training(step, self.phase.expert(step), self.micro_batch):
            losses = self.engine.losses(on_device(batch, self.device))
            self.engine.backward((losses.mean(0) * self.weights).sum())
            own.append(losses.detach())
        norm = self.engine.step(
            rate=rate,
            bridge_rate=bridge_rate,
            idle=self.phase.idle(step),
            ema_decay=ema_decay(self.train.optimizer.ema_decay, step),
        )
        self.losses.append(torch.cat(own))
        line: Line = {"step": step + 1, "gradient_norm": norm, "learning_rate": rate}
        if isinstance(self.settings, JointPhaseConfig):
            line |= {"bridge_learning_rate": bridge_rate, "expert": self.phase.expert(step)}
        self.lines.append(line)

    def _flush(self, metrics: MetricsFile | None, validation: Line) -> None:
        """Brings the losses of the steps since the last time together and writes their lines. Collective."""
        samples = all_shards(torch.stack(self.losses)).double()  # process, step, sample, loss
        means = samples.mean(dim=(0, 2)).cpu()
        totals = (means * self.weights.double().cpu()).sum(1)
        now = time.perf_counter()
        rate = round(len(self.lines) / (now - self.logged_at), 3)
        self.logged_at = now
        for line, total, values in zip(self.lines, totals.tolist(), means.tolist(), strict=True):
            line.update(
                {"loss": total, **dict(zip(self.phase.loss_names, values, strict=True)), "steps_per_second": rate}
            )
        self.lines[-1].update(validation)
        if not torch.isfinite(totals).all():
            raise FloatingPointError(
                f"the loss is not finite in steps {self.lines[0]['step']} to {self.lines[-1]['step']}"
            )
        if metrics is not None:
            metrics.add(self.lines)
            if validation:
                say(", ".join(f"{name} {value:.4f}" for name, value in validation.items()))
        self.lines, self.losses = [], []

    def _finish(self, metrics: MetricsFile | None) -> dict[str, float]:
        """Validates the averaged weights and writes them as the checkpoint."""
        self.engine.use_averages()
        figures = self.validate()
        weights = self.engine.weights(averaged=True)
        if metrics is not None:
            with torch.device("meta"):
                shape = DualTower(self.phase.checkpoint_shape)
            aside = self.run.path / ASIDE
            shutil.rmtree(aside, ignore_errors=True)
            save_model(shape, aside, state=self.phase.checkpoint_weights(weights))
            if isinstance(self.settings, JointPhaseConfig):
                Scheduler(
                    video_shift=self.settings.video_shift,
                    audio_shift=self.settings.audio_shift,
                    num_given_frames=GIVEN_LATENT_FRAMES,
                ).save(aside)
            self.run.install_checkpoint(aside)
        return {f"averaged_{name}": value for name, value in figures.items()}

    def _resume(self) -> int:
        if self.is_first:
            discard_unfinished(self.run.state)
        dist.barrier()
        loaded = load_state(self.run.state, self.engine.layouts)
        if loaded is None:
            return 0
        step, state = loaded
        self.engine.load_state(state)
        if self.is_first:
            say(f"train {self.phase.name}: going on after step {step} of {self.settings.steps}")
        return step

    def _flops(self, step: int) -> float:
        """Operations of one step over all processes, from one micro-batch's forward. Collective."""
        batch = next(self.phase.batches.training(step, self.phase.expert(step), self.micro_batch))
        with torch.no_grad():
            forward = forward_flops(lambda: self.engine.losses(on_device(batch, self.device)))
        return BACKWARD_FACTOR * forward * self.settings.batch_size / self.micro_batch

    def _sum(self, value: float) -> float:
        total = torch.tensor(value, dtype=torch.float64, device=self.device)
        dist.all_reduce(total)
        return float(total)


def micro_batch_size(share: int, largest: int) -> int:
    """The largest divisor of a process's share of the batch that is at most `largest`."""
    return next(size for size in range(min(share, largest), 0, -1) if share % size == 0)


def on_device(batch: Any, device: torch.device) -> Any:
    """A batch with its tensors on `device`."""
    moved = {
        field.name: value.to(device, non_blocking=True)
        for field in dataclasses.fields(batch)
        if isinstance(value := getattr(batch, field.name), torch.Tensor)
    }
    return dataclasses.replace(batch, **moved)
