"""The demo corpus: raw video with sound whose truth is known, rendered from a seed, and real footage beside it."""
