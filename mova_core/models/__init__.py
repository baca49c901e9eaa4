"""Towers, Bridge, and the one joint forward of both."""
