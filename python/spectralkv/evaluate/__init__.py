"""`spectralkv eval`: what a cache type does to a model's answers, measured on tasks."""
