"""What survived: fingerprints of tables and exact losses."""
