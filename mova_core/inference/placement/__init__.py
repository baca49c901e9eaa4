"""Where the weights are while clips are generated: all on the device, in turns, or streamed layer by layer.

`Placement` follows a model and its codecs; `mova_core.inference.placement.layout` says who is where in each mode.
"""

from mova_core.inference.placement.needs import REQUESTS as MEMORY_REQUESTS
from mova_core.inference.placement.needs import Request as Memory
from mova_core.inference.placement.placement import Placement, on_turn
from mova_core.inference.placement.work import Run, run_of

__all__ = ["MEMORY_REQUESTS", "Memory", "Placement", "Run", "on_turn", "run_of"]
