"""Decoding photos: colors, opacity, cutting out, orientation, limits, resizing."""
