"""Operations that StyleGAN2 is made of, each with a pure-TensorFlow reference (DESIGN D5)."""
