"""Generators in formats that other programs load: SavedModel, Keras, ONNX, TF Lite.

From a generator to files: `graph` makes a graph of constants that needs nothing of this project;
one module a format writes it; `check` has the result loaded in a process without this project, by
`bare`, and compares it with pictures of the generator itself; `command` is the order of that.
"""
