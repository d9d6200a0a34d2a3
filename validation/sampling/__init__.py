"""Engines that make samples along a path; nothing here estimates."""
