"""Helps to test and to measure: models without a download."""
