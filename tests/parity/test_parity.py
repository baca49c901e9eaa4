"""Agreement with numbers recorded from the released reference implementation, case by case.

The recordings lie in the folder that MOVA_PARITY_DIR names, by default ../shared/parity beside the repository. Each
case of its manifest says of which kind it is; a kind without a check here fails.
"""

from __future__ import annotations

from collections.abc import Callable

import parity_codecs
import parity_models
import parity_sampling
import pytest
from parity_recordings import CASES, FOLDER, Case, Tensors
from safetensors.torch import load_file

from mova_core.errors import UserError

CHECKS: dict[str, Callable[[Case, Tensors], None]] = {
    "wan_video_forward": parity_models.check_tower,
    "wan_audio_forward": parity_models.check_tower,
    "rope_and_sinusoid": parity_models.check_rope,
    "interaction_layers": parity_models.check_interaction_layers,
    "bridge_forward": parity_models.check_bridge,
    "aligned_freqs": parity_models.check_aligned_tables,
    "joint_step": parity_models.check_joint_step,
    "train_step": parity_models.check_training_step,
    "scheduler": parity_sampling.check_schedules,
    "pipeline": parity_sampling.check_pipeline,
    "wan_vae": parity_codecs.check_wan_vae,
    "dac_vae": parity_codecs.check_dac_vae,
}


@pytest.mark.skipif(not CASES, reason=f"no recordings at {FOLDER} (set MOVA_PARITY_DIR)")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of diffusers, on import
@pytest.mark.parametrize("case", CASES, ids=[case["id"] for case in CASES])
def test_agrees_with_the_release(case: Case) -> None:
    name, kind = case["id"], case["kind"]
    # A variant's kind goes on after its kind's name: wan_video_forward_per_sample_t.
    check = next((check for known, check in CHECKS.items() if f"{kind}_".startswith(f"{known}_")), None)
    assert check is not None, f"{name}: no check for the kind {kind}"
    try:
        check(case, load_file(FOLDER / case["file"]) if "file" in case else {})
    except KeyError as error:
        pytest.fail(f"{name} ({kind}): the case lacks {error}, which its check reads")
    except UserError as error:
        pytest.fail(f"{name} ({kind}): refused here: {error}")
