"""System 2: multi-view latent diffusion for data augmentation."""
