"""Which guidance a clip's settings ask for."""

from __future__ import annotations

from mova_core.diffusion.guidance import Guidance, Scales
from mova_core.inference.inputs import Settings
from mova_core.inference.known import KnownPair


def guidance_of(settings: Settings, known: KnownPair) -> Guidance:
    """The scales of both modalities; a held one takes the other's, so that it asks for no evaluation of its own."""
    video = Scales(settings.text_guidance, settings.bridge_guidance)
    audio = Scales(
        video.text if settings.audio_text_guidance is None else settings.audio_text_guidance,
        video.bridge if settings.audio_bridge_guidance is None else settings.audio_bridge_guidance,
    )
    if known.holds_video:
        video = audio
    if known.holds_audio:
        audio = video
    return Guidance(video, audio, settings.bridge)
