"""Figures and tables, all in one convention."""
