"""Queries: the application's own statements, planned before and after, and the worst of them run both ways."""
