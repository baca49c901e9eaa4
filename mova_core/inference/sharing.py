"""How several processes share the clips of a prompts file. Loads no torch.

- `prompts`: each makes every N-th batch by itself. Nothing is exchanged meanwhile, and clips are those of one process.
- `sequence`: all make each batch together, every one with a share of its tokens; the first alone writes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal, TypeVar, get_args

from mova_core.errors import UserError
from mova_core.inference.processes import from_first, index, is_first, num_processes

Parallel = Literal["prompts", "sequence"]
Item = TypeVar("Item")
Value = TypeVar("Value")

LONGEST_RUN = timedelta(days=30)
"""How long a process that has made its own batches waits for the others."""


@dataclass(frozen=True)
class Sharing:
    """What this process does of the work of all; one alone does everything."""

    parallel: Parallel = "prompts"

    def __post_init__(self) -> None:
        """Raises `UserError` for another word."""
        choices = get_args(Parallel)
        if self.parallel not in choices:
            raise UserError(
                f"parallel is {self.parallel!r}", expected=f"one of {', '.join(choices)}", remedy="choose one"
            )

    @property
    def spreads(self) -> bool:
        """Whether clips are spread over the processes."""
        return self.parallel == "sequence" and num_processes() > 1

    @property
    def writes(self) -> bool:
        """Whether this process writes the clips that it makes."""
        return is_first() or not self.spreads

    @property
    def patience(self) -> timedelta | None:
        """See `mova_core.inference.processes.joined`."""
        return None if self.spreads else LONGEST_RUN

    def own(self, batches: Sequence[Item]) -> Sequence[Item]:
        """Those of the batches that this process makes, alone or together with the others."""
        return batches if self.spreads else batches[index() :: num_processes()]

    def once_a_batch(self, make: Callable[[], Value]) -> Value:
        """What `make` returns, called by one of those that make a batch, in all of them."""
        return from_first(make) if self.spreads else make()
