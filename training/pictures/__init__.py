"""Pictures from generators: grids, and what run_generator.py and run_projector.py do."""
