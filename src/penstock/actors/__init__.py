"""Actors: each owns one resource, handles one message at a time, and is restarted by a supervisor when it breaks."""
