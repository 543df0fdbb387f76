"""The way back: the inverse of a migration, the images of what it destroys, and performing both."""
