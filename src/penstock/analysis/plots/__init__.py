"""Figures of what analyses find, drawn from values."""
