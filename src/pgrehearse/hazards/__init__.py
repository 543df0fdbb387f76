"""What a migration would do (lint) and what it did (trace)."""
