"""Figures as files; one module a topic."""
