"""ORCA."""
