"""CRYSTAL (14, 17, 23): decks, outputs and remedies."""
