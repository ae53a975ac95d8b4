"""Attributes that are measured on pictures: color, shape, texture, and what classifiers say."""
