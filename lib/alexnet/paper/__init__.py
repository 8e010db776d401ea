"""Claims, printed numbers and published figures as data."""
