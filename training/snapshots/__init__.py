"""Reading, writing and adapting snapshots."""
