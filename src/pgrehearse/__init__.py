"""Rehearse PostgreSQL migrations on a clone of production and say truthfully what they did."""

__version__ = "0.1.0"
