"""One row of the results for each case and pass: ours beside PyTorch's best, and both beside the floor."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch
from triton.errors import TritonError

from kernels.bench.ceilings import Ceilings
from kernels.bench.timing import Call, Spread, Timer, measure
from kernels.cases import Case
from kernels.subject import Function, Inputs, Pass, Subject
from kernels.testing import compare

PASSES: tuple[Pass, ...] = ("forward", "forward_backward")
SEED = 0


class WrongResult(RuntimeError):
    """A kernel's results are not the reference's, or it gives none: no speed is reported for it."""


@dataclasses.dataclass(frozen=True)
class Row:
    """A case in one pass.

    Attributes
    ----------
    case : "<operator>/<case>", or the case's name where that begins with the operator's.
    ours_ms, ours_p20_ms, ours_p80_ms : device time of ours, median and spread.
    best_torch, best_torch_ms : the fastest contender and its median.
    ratio : best_torch_ms / ours_ms; above 1 ours is faster.
    torch_ms : medians of all contenders; None for one that failed, with its reason in `failures`.
    floor_ms : the least time, from the case's cost and the ceilings measured in this run.
    fraction_of_floor : floor_ms / ours_ms; 1 is the hardware's limit.
    gigabytes_per_second, teraflops_per_second : achieved, of the traffic and the products that the case must have.
    peak_bytes : memory that ours takes beyond its inputs.
    largest_error : the worst of the correctness gate's error measures, as a share of what is allowed.
    """

    case: str
    operator: str
    dtype: str
    # Named as in the file; `pass` is a word of Python's.
    pass_: Pass
    ours_ms: float
    ours_p20_ms: float
    ours_p80_ms: float
    best_torch: str
    best_torch_ms: float
    ratio: float
    torch_ms: dict[str, float | None]
    failures: dict[str, str]
    floor_ms: float
    fraction_of_floor: float
    gigabytes_per_second: float
    teraflops_per_second: float
    peak_bytes: int
    largest_error: float

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {("pass" if name == "pass_" else name): value for name, value in dataclasses.asdict(self).items()}


def check_results(subject: Subject[Any], case: Case[Any], device: torch.device) -> float:
    """The correctness gate: the largest error of any output or gradient, as a share of what is allowed.

    Raises
    ------
    WrongResult : if one is not allowed, a kernel wrote outside of its outputs, or it does not start or fit into memory;
        the message names it.
    """
    generator = torch.Generator(device).manual_seed(SEED)
    try:
        errors = compare(subject, case, subject.inputs(case, device, generator), generator)
    except AssertionError as stray:
        raise WrongResult(f"{case.operator}/{case.name}: {stray}") from stray
    except (TritonError, torch.OutOfMemoryError) as refused:  # Triton's are no RuntimeError
        raise WrongResult(f"{case.operator}/{case.name}: {type(refused).__name__}: {refused}") from refused
    wrong = [str(error) for error in errors if not error.holds]
    if wrong:
        raise WrongResult(f"{case.operator}/{case.name}: {'; '.join(wrong)}")
    return max(max(error.mean / error.allowed.mean, error.largest / error.allowed.largest) for error in errors)


def rows_of(
    subject: Subject[Any], case: Case[Any], timer: Timer, ceilings: Ceilings, device: torch.device
) -> list[Row]:
    """Both passes of a case, after its correctness gate.

    Raises
    ------
    WrongResult : if the gate does not open.
    """
    largest_error = check_results(subject, case, device)
    rows = []
    for which in PASSES:
        inputs = subject.inputs(case, device, torch.Generator(device).manual_seed(SEED))
        own = timed_call(subject.ours(case), inputs, which)
        ours, peak = measure(timer, own), timer.peak_bytes(own)
        medians, failures = _contend(subject.contenders(case), inputs, which, timer)
        rows.append(_row(subject, case, which, ours, peak, medians, failures, ceilings, largest_error))
    return rows


def timed_call(function: Function, inputs: Inputs, which: Pass) -> Call:
    """One pass over `inputs`; with gradients of all that need one, for output gradients drawn beforehand."""
    if which == "forward":
        frozen = {name: value.detach() for name, value in inputs.items()}
        return lambda: function(frozen)
    leaves = [value for value in inputs.values() if value.requires_grad]
    with torch.no_grad():
        grads = [torch.randn_like(out) for out in function(inputs)]

    def both_ways() -> object:
        pairs = [(out, grad) for out, grad in zip(function(inputs), grads, strict=True) if out.requires_grad]
        return torch.autograd.grad([out for out, _ in pairs], leaves, [grad for _, grad in pairs])

    return both_ways


def _contend(
    contenders: Mapping[str, Function], inputs: Inputs, which: Pass, timer: Timer
) -> tuple[dict[str, float | None], dict[str, str]]:
    """Medians by name. A contender that does not take the shape or the memory is out, and why is kept."""
    medians: dict[str, float | None] = {}
    failures = {}
    for name, function in contenders.items():
        # What was compiled before would make lengths dynamic; and contenders that share their code, each compiled with
        # and without gradients, would pass the compiler's limit of eight, from where on they run as they are written.
        torch.compiler.reset()
        try:
            medians[name] = measure(timer, timed_call(function, inputs, which)).median_ms
        except (RuntimeError, ValueError, NotImplementedError, TritonError) as error:  # out of memory: RuntimeError
            medians[name] = None
            failures[name] = f"{type(error).__name__}: {str(error).splitlines()[0]}"[:200]
    return medians, failures


def _row(
    subject: Subject[Any],
    case: Case[Any],
    which: Pass,
    ours: Spread,
    peak_bytes: int,
    medians: dict[str, float | None],
    failures: dict[str, str],
    ceilings: Ceilings,
    largest_error: float,
) -> Row:
    done = {name: value for name, value in medians.items() if value is not None}
    if not done:
        raise RuntimeError(f"{case.operator}/{case.name}: no contender ran: {failures}")
    best = min(done, key=done.__getitem__)
    cost, dtype = subject.cost(case, which), str(case.dtype).removeprefix("torch.")
    floor_ms = ceilings.floor_ms(cost, dtype)
    return Row(
        case=case.name if case.name.startswith(case.operator) else f"{case.operator}/{case.name}",
        operator=case.operator,
        dtype=dtype,
        pass_=which,
        ours_ms=ours.median_ms,
        ours_p20_ms=ours.p20_ms,
        ours_p80_ms=ours.p80_ms,
        best_torch=best,
        best_torch_ms=done[best],
        ratio=done[best] / ours.median_ms,
        torch_ms=medians,
        failures=failures,
        floor_ms=floor_ms,
        fraction_of_floor=floor_ms / ours.median_ms,
        gigabytes_per_second=cost.num_bytes / ours.median_ms / 1e6,
        teraflops_per_second=cost.num_flops / ours.median_ms / 1e9,
        peak_bytes=peak_bytes,
        largest_error=largest_error,
    )
