"""Acting on production: approval, gate, recoverability, promotion, and taking it back."""
