"""Measures of sound and picture that curation and evaluation share."""
