"""What determines a run, and what came of it."""
