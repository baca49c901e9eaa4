"""One table, three callers: the command line, dvc.yaml and the Dagster assets say what mova_core/steps.py says."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import dagster as dg
import grimp
import pytest
import yaml

from mova_core.cli import build_parser
from mova_core.config import Config
from mova_core.steps import PHASES, STEPS, Step, step_named
from orchestration.assets import command_of
from orchestration.definitions import defs
from orchestration.partitions import COLLECTIONS

ROOT = Path(__file__).resolve().parents[2]
NOT_STEPS = {"bench", "init", "doctor", "demo", "generate", "refine", "verify"}
STAGES: dict[str, Any] = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
ITEM = "${item}"
PACKAGES = ("mova_core", "kernels")
# What every step stands on: it hands over settings and paths and decides no result.
HANDED_OVER = ("config", "presets", "report", "steps", "workspace")
CARRIED_BY = ("errors", "files", "host_memory", "progress", "workers")
FRAME = tuple(f"mova_core.{name}." for name in (*HANDED_OVER, *CARRIED_BY))


def stage_of(step: Step) -> dict[str, Any]:
    """The stage's body, without the loop over collections."""
    stage = STAGES[step.name]
    if step.per_collection:
        assert stage["foreach"] == "${collections}"
        return dict(stage["do"])
    return dict(stage)


def verbs() -> set[str]:
    parser = build_parser()
    table = next(action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    return set(table.choices)


def test_names_are_unique_and_each_step_reads_only_earlier_ones() -> None:
    names = [step.name for step in STEPS]
    assert len(set(names)) == len(names)
    for position, step in enumerate(STEPS):
        assert set(step.reads) <= set(names[:position])


def test_verbs_are_those_of_the_table() -> None:
    assert verbs() - NOT_STEPS == {step.verb for step in STEPS}


def test_each_phase_is_a_step() -> None:
    assert [step_named(f"train_{phase}").arguments["phase"] for phase in PHASES] == list(PHASES)


def test_stages_are_those_of_the_table_in_its_order() -> None:
    assert list(STAGES) == [step.name for step in STEPS]


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.name)
def test_a_stage_runs_the_step_and_keeps_its_outputs(step: Step) -> None:
    stage = stage_of(step)
    assert stage["cmd"].split() == command_of(step, ITEM if step.per_collection else None)
    outputs = {path: settings for output in stage["outs"] for path, settings in output.items()}
    assert list(outputs) == [output.replace("{collection}", ITEM) for output in step.outputs]
    assert all(settings == {"persist": True} for settings in outputs.values()), "a step must find what it left behind"
    assert tuple(stage["params"]) == step.sections


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.name)
def test_a_stage_depends_on_something_of_every_step_it_reads(step: Step) -> None:
    dependencies = stage_of(step).get("deps", [])
    for name in step.reads:
        read = step_named(name)
        outputs = [output.replace("{collection}", ITEM) for output in read.outputs]
        if name == "corpus":  # its collections are raw folders like the user's own
            outputs = [f"data/raw/{ITEM}"]
        assert any(_overlap(dependency, output) for dependency in dependencies for output in outputs), name


def _overlap(one: str, other: str) -> bool:
    """Whether one folder is the other or lies in it."""
    return f"{one}/".startswith(f"{other}/") or f"{other}/".startswith(f"{one}/")


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.name)
def test_a_stage_depends_on_all_the_code_its_step_runs(step: Step, imports: grimp.ImportGraph) -> None:
    module = step.target.partition(":")[0]
    used = {module, *imports.find_upstream_modules(module)}
    watched = tuple(f"{dependency.replace('/', '.')}." for dependency in stage_of(step).get("deps", []))
    unwatched = {name for name in used if not f"{name}.".startswith((*watched, *FRAME))} - set(PACKAGES)
    assert not unwatched
    code = [name for name in watched if name.startswith(("mova_core.", "kernels."))]
    idle = [name for name in code if not any(f"{module}.".startswith(name) for module in used)]
    assert not idle, "it would run again for nothing"


@pytest.fixture(scope="module")
def imports() -> grimp.ImportGraph:
    """Who imports whom, with imports inside functions."""
    return grimp.build_graph(*PACKAGES)


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.name)
def test_the_configuration_has_the_sections_a_step_depends_on(step: Step) -> None:
    for section in step.sections:
        model: Any = Config
        for part in section.split("."):
            assert part in model.model_fields, section
            model = model.model_fields[part].annotation


def test_assets_are_those_of_the_table() -> None:
    graph = defs.resolve_asset_graph()
    assert {key.to_user_string() for key in graph.get_all_asset_keys()} == {step.name for step in STEPS}
    for step in STEPS:
        node = graph.get(dg.AssetKey(step.name))
        assert {key.to_user_string() for key in node.parent_keys} == set(step.reads)
        assert node.partitions_def == (COLLECTIONS if step.per_collection else None)
