"""penstockd: the one place where everything is wired together."""
