"""Codecs between media and latents, and the step that caches latents. See `mova_core.codecs.base` for the protocols."""
