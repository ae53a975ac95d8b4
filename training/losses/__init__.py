"""Losses and regularizers, one paper a file."""
