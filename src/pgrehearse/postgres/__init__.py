"""Reaching PostgreSQL: conninfo, connections, identity, locks, servers of our own."""
