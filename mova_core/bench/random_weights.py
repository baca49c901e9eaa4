"""A model of any size with random weights and little memory: equal layers share one layer's numbers.

What a step costs does not depend on the values, so a benchmark of the released size needs one layer of each kind on the
host (1 GB) and no files. Numbers stay finite through all layers: products keep the size of what they are given.
"""

from __future__ import annotations

import torch

from mova_core.models.dual_tower import DualTower, DualTowerConfig
from mova_core.models.layers import set_compute_dtype

Role = tuple[str, tuple[int, ...], torch.dtype]


def random_model(config: DualTowerConfig, dtype: torch.dtype, seed: int = 0) -> DualTower:
    """A model on the host, ready to sample; parameters of equal name within a layer, and equal shape, share memory."""
    with torch.device("meta"):
        model = DualTower(config).to(dtype)
    set_compute_dtype(model, None)
    generator = torch.Generator().manual_seed(seed)
    made: dict[Role, torch.Tensor] = {}
    for name, bare in list(model.named_parameters()):
        role = (".".join(part for part in name.split(".") if not part.isdigit()), tuple(bare.shape), bare.dtype)
        role = (role[0].replace("video_dit_2", "video_dit"), *role[1:])
        if role not in made:
            made[role] = _drawn(name, bare, generator)
        owner, _, leaf = name.rpartition(".")
        module = model.get_submodule(owner)
        setattr(module, leaf, torch.nn.Parameter(made[role], requires_grad=False))
    return model.eval().requires_grad_(False)


def _drawn(name: str, bare: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Norm weights 1, biases 0, modulations small, matrices of gain 1."""
    if bare.dim() == 1:
        return torch.full(bare.shape, 1.0 if name.endswith("weight") else 0.0, dtype=bare.dtype)
    fan_in = bare[0].numel()
    scale = fan_in**-0.5 if "modulation" not in name else bare.shape[-1] ** -0.5
    return torch.randn(bare.shape, generator=generator, dtype=torch.float32).mul_(scale).to(bare.dtype)
