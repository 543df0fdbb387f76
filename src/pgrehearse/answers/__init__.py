"""The published JSON Schemas of every `--json` answer."""
