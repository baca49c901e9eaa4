"""Which refiner a command uses: a server where one is named, else the rules."""

from __future__ import annotations

import os

from mova_core.inference.refinement.chat import KEY_VARIABLE, MODEL_VARIABLE, ChatRefiner
from mova_core.inference.refinement.record import Refiner
from mova_core.inference.refinement.rules import RuleRefiner

URL_VARIABLE = "MOVA_REFINE_URL"


def choose_refiner(url: str | None = None, model: str | None = None) -> Refiner:
    """The refiner of `url` and `model`, each by default of the environment (MOVA_REFINE_URL, MOVA_REFINE_MODEL; the key
    is MOVA_REFINE_KEY and comes from there alone, so that it stands in no shell history). No address means the rules.

    Raises
    ------
    UserError : as `ChatRefiner`.
    """
    address = url if url is not None else os.environ.get(URL_VARIABLE, "")
    if not address:
        return RuleRefiner()
    named = model if model is not None else os.environ.get(MODEL_VARIABLE, "")
    return ChatRefiner(address, named, os.environ.get(KEY_VARIABLE, ""))
