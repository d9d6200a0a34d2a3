"""The steps of noising and denoising paths, and paths in stages."""
