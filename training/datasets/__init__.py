"""Importers, and the TFRecord format that they write. Behind dataset_tool.py."""
