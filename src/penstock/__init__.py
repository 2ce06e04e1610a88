"""Penstock runs simulation workflows on clusters without losing or doubling a job."""

__version__ = "0.1.0"
