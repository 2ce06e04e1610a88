"""Prometheus metrics.

A scrape reads memory only: the board, what actors have counted on the way, and the newest survey of the disks.
"""
