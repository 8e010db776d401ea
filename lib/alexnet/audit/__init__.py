"""Proofs that records belong to this code."""
