"""Databases of older tools become workflows: read as they are, written into a database of our own.

Each kind of source has a reader, which says what its rows mean; all write through `writing`. What a row cannot tell
becomes a remark, so that nothing is dropped in silence. Runs in a worker process and streams.
"""
