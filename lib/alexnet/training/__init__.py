"""Batches, the learner and its callbacks, evaluation."""
