"""StyleGAN2: networks, losses, datasets and the training loop."""
