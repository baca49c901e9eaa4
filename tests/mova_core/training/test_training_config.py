from __future__ import annotations

import pytest
from tiny_training import tiny_config

from mova_core.errors import UserError


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"train.phases.joint1.steps": 0}, "train.phases.joint1.steps"),
        ({"train.phases.joint1.warmup_steps": 9}, "warmup_steps"),
        ({"train.phases.joint1.text_dropout": 1.5}, "train.phases.joint1.text_dropout"),
        ({"train.phases.joint1.height": 33}, "train.phases.joint1.height"),
        ({"train.phases.audio.height": 32}, "unknown key train.phases.audio.height"),
        ({"train.phases.joint1.lerning_rate": 1e-3}, "learning_rate"),
        ({"train.engine.processes": 3}, "multiple of engine.processes"),
        ({"train.optimizer.matrices": "sgd"}, "train.optimizer.matrices"),
    ],
)
def test_a_mistake_is_named_with_its_key(change: dict[str, object], words: str) -> None:
    with pytest.raises(UserError, match=words):
        tiny_config(**change)
