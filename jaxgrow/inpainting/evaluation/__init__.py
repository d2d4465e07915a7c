"""Evaluation of inpainting: the same photographs and holes for every method."""
