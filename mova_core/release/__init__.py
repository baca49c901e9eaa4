"""The folder that others load, with its provenance."""
