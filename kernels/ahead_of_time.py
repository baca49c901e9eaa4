"""Compiles kernels for GPUs that are not there, and says what of a multiprocessor they take.

    python -m kernels.ahead_of_time [--operator NAME] [--case NAME] [--capability 90 80] [--candidates]

prints one JSON object a line for each distinct compiled kernel. Run it without TRITON_INTERPRET. Launches are written
down on the meta device at the model's full sizes, so what is compiled is what a GPU would run.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import re
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from kernels.cases import Case
from kernels.launch import Launch, assuming_capability, interpreting, recording
from kernels.subject import Subject
from kernels.subjects import SUBJECTS
from kernels.tuning import forcing

TYPES = {
    torch.bfloat16: "*bf16",
    torch.float16: "*fp16",
    torch.float32: "*fp32",
    torch.int32: "*i32",
    torch.int64: "*i64",
    torch.bool: "*i1",
    torch.uint8: "*u8",
}
ALIGNMENT = 16
"""Bytes, and factors of integers, that Triton's launcher looks for and compiles a kernel of its own for."""
LARGEST_INT32 = 2**31 - 1


@dataclasses.dataclass(frozen=True)
class Compiled:
    """What one compiled kernel takes.

    Attributes
    ----------
    registers : of each thread.
    shared_bytes : of shared memory, a program.
    stack_bytes : of local memory, a thread: where registers spill to. 0 says that none did.
    instructions : of interest, found in the machine's assembly: matrix products and bulk copies.
    """

    operator: str
    case: str
    kernel: str
    capability: int
    config: dict[str, int]
    registers: int
    shared_bytes: int
    stack_bytes: int
    instructions: tuple[str, ...]


def launches(subject: Subject[Any], case: Case[Any], *, candidates: bool) -> Iterator[Launch]:
    """The launches of a case's forward and backward, with its default configurations or with every candidate."""
    inputs = subject.inputs(case, torch.device("meta"), None)
    with recording() as written:
        subject.launch(case, inputs)
    yield from written
    if not candidates:
        return
    for tunable in subject.tunables:
        for config in tunable.candidates(subject.key(case))[1:]:
            with recording() as written, forcing(tunable.name, config):
                subject.launch(case, inputs)
            yield from (launch for launch in written if launch.config is config)


def identity(launch: Launch) -> str:
    """Equal for launches that Triton would compile to the same kernel."""
    return repr((launch.kernel.__name__, *_specialise(launch), launch.config.num_warps, launch.config.num_stages))


def compile_launch(launch: Launch, capability: int) -> Any:
    """Triton's compiled kernel for a compute capability such as 90 (9.0)."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    signature, constants, attributes = _specialise(launch)
    source = ASTSource(fn=launch.kernel, signature=signature, constexprs=constants, attrs=attributes)
    options = {"num_warps": launch.config.num_warps, "num_stages": launch.config.num_stages}
    return triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)


def measure(operator: str, case: str, launch: Launch, capability: int) -> Compiled:
    """Compiles a launch and reads what it takes."""
    compiled = compile_launch(launch, capability)
    registers, stack = _usage(compiled.asm["cubin"])
    return Compiled(
        operator=operator,
        case=case,
        kernel=launch.kernel.__name__,
        capability=capability,
        config=launch.config.as_dict(),
        registers=registers,
        shared_bytes=compiled.metadata.shared,
        stack_bytes=stack,
        instructions=_instructions(compiled.asm["ptx"]),
    )


def _specialise(launch: Launch) -> tuple[dict[str, str], dict[tuple[int, ...], Any], dict[tuple[int, ...], Any]]:
    """Types, constants and alignments, as the launcher would find them in the arguments."""
    signature: dict[str, str] = {}
    constants: dict[tuple[int, ...], Any] = {}
    attributes: dict[tuple[int, ...], Any] = {}
    divisible = [["tt.divisibility", ALIGNMENT]]
    for index, parameter in enumerate(launch.kernel.params):
        value = launch.arguments[parameter.name]
        if parameter.is_constexpr or value is None:
            signature[parameter.name] = "constexpr"
            constants[(index,)] = value
        elif isinstance(value, torch.Tensor):
            signature[parameter.name] = TYPES[value.dtype]
            if value.storage_offset() * value.element_size() % ALIGNMENT == 0:
                attributes[(index,)] = divisible
        elif isinstance(value, float):
            signature[parameter.name] = "fp32"
        elif value == 1 and type(value) is int:
            signature[parameter.name] = "constexpr"
            constants[(index,)] = 1
        else:
            signature[parameter.name] = "i32" if abs(value) <= LARGEST_INT32 else "i64"
            if value % ALIGNMENT == 0:
                attributes[(index,)] = divisible
    return signature, constants, attributes


def _usage(cubin: bytes) -> tuple[int, int]:
    """Registers and bytes of stack of a thread, from the tool that comes with Triton."""
    from triton import knobs

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "kernel.cubin")
        path.write_bytes(cubin)
        done = subprocess.run(
            [knobs.nvidia.cuobjdump.path, "--dump-resource-usage", str(path)],
            capture_output=True,
            text=True,
            check=True,
        )
    found = re.search(r"REG:(\d+) STACK:(\d+).* LOCAL:(\d+)", done.stdout)
    if found is None:
        raise RuntimeError(f"cuobjdump printed {done.stdout!r}, expected REG, STACK and LOCAL")
    registers, stack, local = map(int, found.groups())
    return registers, stack + local


def _instructions(ptx: str) -> tuple[str, ...]:
    known = (
        "wgmma.mma_async",
        "mma.sync",
        "cp.async.bulk.tensor",
        "cp.async.cg",
        "cp.async.ca",
        "ld.global.v4",
        "red.global.",
        "atom.",
    )
    return tuple(name for name in known if re.search(rf"(?<!\w){re.escape(name)}", ptx))


def main(arguments: list[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m kernels.ahead_of_time", description=__doc__.split("\n")[0])
    parser.add_argument("--operator", choices=sorted(SUBJECTS), action="append", help="default: all")
    parser.add_argument("--case", action="append", help="by name; default: all of the model's sizes")
    parser.add_argument("--representative", action="store_true", help="only the cases marked so")
    parser.add_argument("--capability", type=int, nargs="+", default=[90, 80])
    parser.add_argument("--candidates", action="store_true", help="every candidate configuration, not the default only")
    chosen = parser.parse_args(arguments)
    if interpreting():
        parser.error("TRITON_INTERPRET=1 makes kernels that cannot be compiled; unset it")
    seen = set()
    for operator in chosen.operator or sorted(SUBJECTS):
        subject = SUBJECTS[operator]
        for case in subject.cases:
            if case.small or (chosen.case and case.name not in chosen.case):
                continue
            if chosen.representative and not case.representative:
                continue
            for capability in chosen.capability:
                with assuming_capability(capability):
                    written = list(launches(subject, case, candidates=chosen.candidates))
                for launch in written:
                    if (key := (identity(launch), capability)) not in seen:
                        seen.add(key)
                        row = dataclasses.asdict(measure(operator, case.name, launch, capability))
                        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
