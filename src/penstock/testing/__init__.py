"""What tests of Penstock, and of programs built on it, can use."""
