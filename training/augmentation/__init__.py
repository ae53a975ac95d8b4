"""What ADA does to the images that the discriminator sees, and how strongly."""
