"""The file systems of this machine: of which kind they are, and calls into them of which none holds up the others'."""
