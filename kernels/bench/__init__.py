"""Measures the kernels on a GPU: first whether they are right, then how fast, beside what the hardware can do."""
