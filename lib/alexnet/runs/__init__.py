"""Plan, execute and resume."""
