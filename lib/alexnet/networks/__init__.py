"""Layers, response normalisation and every network."""
