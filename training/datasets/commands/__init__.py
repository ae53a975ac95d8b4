"""The command line of dataset_tool.py: one file a group of commands, and what they share."""
