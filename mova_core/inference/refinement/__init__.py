"""A person's prompt in the form of the captions that models train on: what is seen, then speech, then other sound.

One interface, `Refiner`, and two that fill it: `RuleRefiner` sorts the sentences that are there, `ChatRefiner` asks a
language model behind an OpenAI-compatible server. Both keep the original. Loads no torch.
"""

from mova_core.inference.refinement.chat import ChatRefiner
from mova_core.inference.refinement.choosing import choose_refiner
from mova_core.inference.refinement.record import Refinement, Refiner
from mova_core.inference.refinement.rules import RuleRefiner

__all__ = ["ChatRefiner", "Refinement", "Refiner", "RuleRefiner", "choose_refiner"]
