"""StyleGAN2: networks, losses, data sets and the training loop."""
