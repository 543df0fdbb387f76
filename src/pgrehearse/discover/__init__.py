"""What a folder already says about its migrations and databases, and the pgrehearse.toml that follows from it."""
