from __future__ import annotations

import pytest
import torch
from tiny_training import tiny_config

from mova_core.config import Config
from mova_core.training.engine import BRIDGE, Engine
from mova_core.training.objective import JointBatch
from mova_core.training.phase import Phase, build_phase
from mova_core.workspace import Workspace

# DeepSpeed 0.19 calls names that torch 2.13 deprecates, in constructors and collectives alike.
pytestmark = [pytest.mark.usefixtures("process_group"), pytest.mark.filterwarnings("ignore")]


def made(config: Config, workspace: Workspace) -> tuple[Engine, Phase]:
    phase = build_phase(config, workspace, "joint1", 0, 1)
    with torch.no_grad():  # heads start at zero, through which nothing would flow back in the first step
        generator = torch.Generator().manual_seed(0)
        for name, parameter in phase.model.named_parameters():
            if name.endswith("head.head.weight"):
                parameter.normal_(std=0.1, generator=generator)
    engine = Engine(
        phase.objective,
        prefix=phase.prefix,
        optimizer=config.train.optimizer,
        engine=config.train.engine,
        weight_decay=0.1,
        accumulation=1,
    )
    return engine, phase


@pytest.fixture
def pair(config: Config, start: Workspace) -> tuple[Engine, Phase]:
    return made(config, start)


@pytest.fixture(params=[True, False], ids=["flat", "by_weight"])
def either(request: pytest.FixtureRequest, start: Workspace) -> tuple[Engine, Phase]:
    return made(tiny_config(**{"train.engine.flat_parameters": request.param}), start)


def take_step(engine: Engine, phase: Phase, step: int, idle: str | None = None) -> float:
    batch = next(phase.batches.training(step, phase.expert(step), 4))
    engine.backward(engine.losses(batch).mean())
    return engine.step(rate=1e-2, bridge_rate=3e-2, idle=idle or phase.idle(step), ema_decay=0.9)


def of(component: str, weights: dict[str, torch.Tensor]) -> torch.Tensor:
    return torch.cat([value.flatten() for name, value in weights.items() if name.startswith(component + ".")])


def test_the_idle_expert_does_not_move_at_all_and_the_rest_always_does(either: tuple[Engine, Phase]) -> None:
    engine, phase = either
    before = engine.weights(averaged=False)
    for step in range(4):
        take_step(engine, phase, step)
        after = engine.weights(averaged=False)
        moved = {component: not torch.equal(of(component, before), of(component, after)) for component in components()}
        busy, idle = ("video_dit", "video_dit_2") if step % 2 == 0 else ("video_dit_2", "video_dit")
        assert moved == {busy: True, idle: False, "audio_dit": True, BRIDGE: True}
        before = after


def components() -> tuple[str, ...]:
    return "video_dit", "video_dit_2", "audio_dit", BRIDGE


def test_an_old_gradient_of_the_idle_expert_is_not_counted(either: tuple[Engine, Phase]) -> None:
    """The norm in a later step is that of the gradients of that step, as plain autograd has them."""
    engine, phase = either
    for step in range(3):
        weights = engine.weights(averaged=False)
        norm = take_step(engine, phase, step)
        assert norm == pytest.approx(plain_norm(phase, weights, step), rel=1e-4)


def plain_norm(phase: Phase, weights: dict[str, torch.Tensor], step: int) -> float:
    model = type(phase.model)(phase.model.config)
    model.load_state_dict(weights)
    batch = next(phase.batches.training(step, phase.expert(step), 4))
    type(phase.objective)(model, video_fps=24.0)(batch).mean().backward()
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    return float(torch.nn.utils.get_total_norm(gradients))


def test_the_bridge_has_a_learning_rate_of_its_own(pair: tuple[Engine, Phase]) -> None:
    engine, phase = pair
    batch = next(phase.batches.training(0, "high_noise", 4))
    before = engine.weights(averaged=False)
    engine.backward(engine.losses(batch).mean())
    engine.step(rate=0.0, bridge_rate=1e-2, idle=None, ema_decay=0.0)
    after = engine.weights(averaged=False)
    moved = [component for component in components() if not torch.equal(of(component, before), of(component, after))]
    assert moved == [BRIDGE]


def test_the_average_follows_and_can_take_the_place_of_the_weights(pair: tuple[Engine, Phase]) -> None:
    engine, phase = pair
    expected = engine.weights(averaged=False)
    for step in range(2):
        take_step(engine, phase, step)
        now = engine.weights(averaged=False)
        expected = {name: 0.9 * value + 0.1 * now[name] for name, value in expected.items()}
    averaged = engine.weights(averaged=True)
    assert all(torch.allclose(averaged[name], value, atol=1e-6) for name, value in expected.items())
    engine.use_averages()
    model = type(phase.model)(phase.model.config)
    model.load_state_dict(averaged)
    batch: JointBatch = next(phase.batches.training(5, "low_noise", 4))
    with torch.no_grad():
        assert torch.allclose(engine.losses(batch), type(phase.objective)(model, 24.0)(batch), atol=1e-5)


def test_going_on_from_a_state_gives_the_same_bits(
    pair: tuple[Engine, Phase], config: Config, start: Workspace
) -> None:
    engine, phase = pair
    for step in range(2):
        take_step(engine, phase, step)
    state = [{name: value.clone() for name, value in shard.items()} for shard in engine.state()]
    norms = [take_step(engine, phase, step) for step in (2, 3)]
    other, other_phase = made(config, start)
    other.load_state(state)
    assert [take_step(other, other_phase, step) for step in (2, 3)] == norms
    for averaged in (False, True):
        expected, found = engine.weights(averaged=averaged), other.weights(averaged=averaged)
        assert all(torch.equal(found[name], value) for name, value in expected.items())
