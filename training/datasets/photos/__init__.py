"""Decoding photos: colors, orientation, limits, resizing."""
