"""Directions in W that change attributes: found, measured, kept in files."""
