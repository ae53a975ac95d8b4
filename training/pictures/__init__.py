"""Pictures from generators: grids, and what run_generator.py does."""
