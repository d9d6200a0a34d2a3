"""From samples to numbers; nothing here simulates."""
