"""What a run is: options, presets, schedule, comparison methods."""
