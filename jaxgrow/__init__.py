"""Progressive-growing inpainting GANs and multi-view latent diffusion, in JAX."""

__version__ = "0.1.0"
