"""Importers: one source of pictures and labels a file."""
