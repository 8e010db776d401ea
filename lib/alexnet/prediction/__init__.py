"""A trained network to keep, and to show images to."""
