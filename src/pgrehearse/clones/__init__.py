"""Copies of an environment at one instant, and how they are made and wiped."""
