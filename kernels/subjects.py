"""All subjects, by operator."""

from __future__ import annotations

from typing import Any

from kernels.adaln.subject import GatedResidual, ModulatedNorm
from kernels.aligned_rope.subject import NormRotate
from kernels.subject import Subject

SUBJECTS: dict[str, Subject[Any]] = {
    subject.operator: subject for subject in (NormRotate(), ModulatedNorm(), GatedResidual())
}
