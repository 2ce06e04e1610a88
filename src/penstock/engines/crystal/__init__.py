"""CRYSTAL 14 to 23: decks as structures, outputs, remedies."""
