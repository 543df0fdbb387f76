"""The shape of a database: read, fingerprinted, compared."""
