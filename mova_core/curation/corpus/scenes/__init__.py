"""The classes of the corpus by name."""

from mova_core.curation.corpus.scenes.ball import Ball
from mova_core.curation.corpus.scenes.base import CaptionParts, Scene
from mova_core.curation.corpus.scenes.face import Face
from mova_core.curation.corpus.scenes.lamp import Lamp
from mova_core.curation.corpus.scenes.wheel import Wheel

SCENES: dict[str, Scene] = {"lamp": Lamp(), "face": Face(), "ball": Ball(), "wheel": Wheel()}

__all__ = ["SCENES", "CaptionParts", "Scene"]
