"""Phases, engine, checkpoints."""
