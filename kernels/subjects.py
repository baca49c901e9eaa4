"""All subjects, by operator."""

from __future__ import annotations

from typing import Any

from kernels.adaln.subject import GatedResidual, ModulatedNorm
from kernels.aligned_rope.subject import NormRotate
from kernels.bridge_attention.layer_subject import BridgeLayer
from kernels.bridge_attention.subject import BridgeAttention
from kernels.subject import Subject

SUBJECTS: dict[str, Subject[Any]] = {
    subject.operator: subject
    for subject in (NormRotate(), ModulatedNorm(), GatedResidual(), BridgeAttention(), BridgeLayer())
}
