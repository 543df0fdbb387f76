"""Backups: taken in one snapshot, proved by a restore elsewhere, checked byte for byte before they are used."""
