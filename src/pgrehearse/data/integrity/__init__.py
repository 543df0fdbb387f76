"""Whether what the schema promises of the rows is really so after a plan: by the rows, never by the catalog alone."""
