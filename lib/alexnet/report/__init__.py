"""Notebooks, pages, README board."""
