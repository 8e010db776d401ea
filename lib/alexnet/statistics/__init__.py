"""Measures, effects, intervals and verdicts."""
