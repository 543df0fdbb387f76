"""Where migrations come from, what is pending, and the one way in which they run."""
