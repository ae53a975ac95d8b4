"""Latents of pictures: projection into W and W+."""
