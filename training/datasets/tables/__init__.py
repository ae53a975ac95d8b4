"""Tables in files, read as streams."""
