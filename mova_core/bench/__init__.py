"""Benchmarks that `mova bench` runs: each prints one JSON line, measured beside its own baseline in the same run."""
