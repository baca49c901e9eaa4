"""`mova bench solvers`: how far each solver is from the exact solution, by the number of steps, on a trained model.

The exact solution is stood in for by a solve in many steps from the same noise. Held-out prompts, first frames and
seeds are those of the step `sample`. A clip's error is the root mean square of the difference between its latents and
the reference's, over the root mean square of the reference's.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch

from mova_core.config import load_config
from mova_core.config.sampling import SolverName
from mova_core.diffusion.flow import Pair
from mova_core.errors import UserError
from mova_core.files import write_text
from mova_core.inference.clip_inputs import ClipInputs
from mova_core.inference.encoded import Encoded
from mova_core.inference.held_out import HeldOut, held_out_clips
from mova_core.inference.inputs import Settings
from mova_core.inference.pipeline import MovaPipeline
from mova_core.inference.source import find_source
from mova_core.models.build import resolve_compute_dtype
from mova_core.progress import say
from mova_core.versioning.lineage import code_commit, library_versions
from mova_core.workspace import Workspace

RESULT_FILE = "solver-curve.json"
FIGURE_FILE = "solver-curve.png"
MODALITIES = ("video", "audio")
USUAL_STEPS = 50
"""Of Euler's solver: the report's setting, whose error the others are held against."""


@dataclasses.dataclass(frozen=True)
class SolverBench:
    """What to measure.

    Attributes
    ----------
    num_clips : held-out clips, the same for every solve.
    step_counts : in which every solver is run.
    reference_steps : of the second-order solver, for the reference.
    shift, text_guidance, bridge_guidance : of both modalities; None takes what the checkpoint is meant for. They decide
        how much the path bends, so other models' settings can be tried on a small one.
    """

    num_clips: int = 16
    step_counts: tuple[int, ...] = (4, 6, 8, 10, 12, 16, 20, 25, 35, 50)
    reference_steps: int = 400
    shift: float | None = None
    text_guidance: float | None = None
    bridge_guidance: float | None = None

    def __post_init__(self) -> None:
        """Raises `UserError` for numbers that measure nothing."""
        if self.num_clips < 1:
            raise UserError(f"--clips is {self.num_clips}", expected="at least 1", remedy="leave it out for 16")
        if not self.step_counts or min(self.step_counts) < 1:
            raise UserError(f"--steps is {self.step_counts}", expected="at least 1 each", remedy="leave it out")
        if self.reference_steps <= max(self.step_counts):
            raise UserError(
                f"--reference-steps is {self.reference_steps}",
                expected=f"more than the {max(self.step_counts)} steps it judges",
                remedy="leave it out for 400",
            )

    def settings(self, meant: Settings) -> Settings:
        """What is solved with, given what the checkpoint is meant for.

        Raises
        ------
        UserError : for a value that no model could use.
        """
        asked = {
            "video_shift": self.shift,
            "audio_shift": self.shift,
            "text_guidance": self.text_guidance,
            "bridge_guidance": self.bridge_guidance,
        }
        given = {name: value for name, value in asked.items() if value is not None}
        return dataclasses.replace(meant, **given)  # type: ignore[arg-type]  # each of its field's type


def run_solver_bench(workspace: Workspace, checkpoint: Path | None, bench: SolverBench) -> dict[str, Any]:
    """Measures, and returns what `write_curve` writes.

    Raises
    ------
    UserError : if there is no model, or no held-out clip.
    """
    commit, edited = code_commit()
    config = load_config(workspace.params)
    source = find_source(workspace, checkpoint)
    settings = bench.settings(source.defaults.settings)
    clips = spread(held_out_clips(config, workspace), bench.num_clips)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    compute_dtype = resolve_compute_dtype(source.defaults.compute_dtype)
    pipeline = MovaPipeline.from_pretrained(source.folder, source.codecs, device=device, compute_dtype=compute_dtype)
    curves = measure(pipeline, clips, settings, bench)
    return {
        "bench": "solvers",
        "curves": curves,
        "usual": {"solver": "euler", "steps": USUAL_STEPS},
        "steps_to_usual_error": steps_to_reach(curves, USUAL_STEPS) if USUAL_STEPS in bench.step_counts else {},
        "reference": {"solver": "multistep", "steps": bench.reference_steps},
        "clips": [{"prompt": clip.prompt, "seed": clip.seed} for clip in clips],
        "settings": dataclasses.asdict(settings),
        "shifts": {
            "video": settings.video_shift or pipeline.scheduler.video_shift,
            "audio": settings.audio_shift or pipeline.scheduler.audio_shift,
        },
        "device": torch.cuda.get_device_name() if device == "cuda" else device,
        "compute_dtype": str(compute_dtype or torch.float32).removeprefix("torch."),
        "code_commit": commit,
        "code_is_edited": edited,
        "versions": library_versions(),
    }


def measure(
    pipeline: MovaPipeline, clips: Sequence[HeldOut], settings: Settings, bench: SolverBench
) -> dict[str, dict[str, list[dict[str, float]]]]:
    """Solver -> modality -> one entry a step count: the median error of the clips, and its quartiles."""
    inputs = ClipInputs(
        prompts=[clip.prompt for clip in clips],
        seeds=[clip.seed for clip in clips],
        first_frames=np.stack([clip.first_frame(settings.height, settings.width) for clip in clips]),
    )
    pipeline.check(inputs, settings)
    encoded = pipeline.encode(*pipeline.encode_texts(inputs.prompts), inputs, settings)
    reference = _solved(pipeline, encoded, settings, "multistep", bench.reference_steps)
    curves: dict[str, dict[str, list[dict[str, float]]]] = {}
    for solver in get_args(SolverName):
        curves[solver] = {modality: [] for modality in MODALITIES}
        for steps in bench.step_counts:
            found = _solved(pipeline, encoded, settings, solver, steps)
            for modality, ours, exact in zip(MODALITIES, found, reference, strict=True):
                low, middle, high = np.quantile(errors(ours, exact), (0.25, 0.5, 0.75)).tolist()
                entry = {"steps": steps, "error": middle, "lower_quartile": low, "upper_quartile": high}
                curves[solver][modality].append(entry)
            say(
                f"{solver}, {steps} steps: "
                + ", ".join(f"{m} {curves[solver][m][-1]['error']:.4f}" for m in MODALITIES)
            )
    return curves


def errors(found: torch.Tensor, exact: torch.Tensor) -> torch.Tensor:
    """Relative error of each clip `[b]`."""
    difference = (found - exact).double().flatten(1).square().mean(dim=1)
    return (difference / exact.double().flatten(1).square().mean(dim=1)).sqrt().cpu()


def steps_to_reach(curves: dict[str, dict[str, list[dict[str, float]]]], usual_steps: int) -> dict[str, int | None]:
    """Each solver's fewest steps from which on both modalities stay at or below Euler's error in `usual_steps`."""
    wanted = {
        modality: next(entry["error"] for entry in curves["euler"][modality] if entry["steps"] == usual_steps)
        for modality in MODALITIES
    }
    reached: dict[str, int | None] = {}
    for solver, by_modality in curves.items():
        reached[solver] = None
        for entries in reversed(list(zip(*(by_modality[modality] for modality in MODALITIES), strict=True))):
            if any(entry["error"] > wanted[modality] for entry, modality in zip(entries, MODALITIES, strict=True)):
                break
            reached[solver] = int(entries[0]["steps"])
    return reached


def spread(clips: Sequence[HeldOut], count: int) -> list[HeldOut]:
    """`count` clips at even distances, or all if they are fewer."""
    chosen = np.linspace(0, len(clips) - 1, min(count, len(clips))).round().astype(int)
    return [clips[index] for index in chosen]


def write_curve(result: dict[str, Any], folder: Path) -> tuple[Path, Path]:
    """Writes the JSON and its picture into `folder`, and returns their paths."""
    from mova_core.evaluation.plots import save_png

    write_text(folder / RESULT_FILE, json.dumps(result, indent=1, sort_keys=True) + "\n")
    save_png(figure(result), folder / FIGURE_FILE)
    return folder / RESULT_FILE, folder / FIGURE_FILE


def figure(result: dict[str, Any]) -> Any:
    """Error against steps, both on logarithmic axes: one panel a modality, one line a solver, quartiles shaded."""
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(9.5, 3.8), layout="constrained")
    for axes, modality in zip(drawn.subplots(1, len(MODALITIES)), MODALITIES, strict=True):
        for solver, by_modality in result["curves"].items():
            columns = {name: [entry[name] for entry in by_modality[modality]] for name in by_modality[modality][0]}
            (line,) = axes.plot(columns["steps"], columns["error"], marker="o", markersize=3.5, label=solver)
            axes.fill_between(
                columns["steps"],
                columns["lower_quartile"],
                columns["upper_quartile"],
                color=line.get_color(),
                alpha=0.15,
                linewidth=0,
            )
            if solver == result["usual"]["solver"]:
                usual = dict(zip(columns["steps"], columns["error"], strict=True)).get(result["usual"]["steps"])
                if usual is not None:
                    axes.axhline(usual, color=line.get_color(), linewidth=0.8, linestyle=":")
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xticks(columns["steps"], [str(steps) for steps in columns["steps"]])
        axes.minorticks_off()
        axes.set_xlabel("steps (model evaluations without guidance)")
        axes.set_ylabel("error of the latents, relative")
        axes.set_title(f"{modality}: distance from {result['reference']['steps']} steps")
        axes.grid(alpha=0.3)
        axes.legend()
    return drawn


def _solved(pipeline: MovaPipeline, encoded: Encoded, settings: Settings, solver: SolverName, steps: int) -> Pair:
    return pipeline.sample(encoded, dataclasses.replace(settings, solver=solver, num_steps=steps))
