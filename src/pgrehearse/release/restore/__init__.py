"""The last way back: a backup restored beside production, later writes kept, the two databases' names swapped."""
