"""System 1: grow the inpainting GAN of Speck et al. (2023) on pictures of places."""
