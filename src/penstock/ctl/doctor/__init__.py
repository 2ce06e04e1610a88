"""`penstockctl doctor`: what is looked at, what it means, and how it is mended. Nothing here changes anything."""
