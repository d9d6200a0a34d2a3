"""Exact estimates from noising and denoising paths in stages."""
