"""Kernels of the towers and the Bridge, usable without the rest of the project."""
