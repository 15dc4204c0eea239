"""Checkpoints that others have published, read without running them."""
