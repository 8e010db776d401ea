"""Data sets, images people bring, and weights from elsewhere."""
