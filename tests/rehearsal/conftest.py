"""A receipt's document as a rehearsal makes it, with one of everything."""

from typing import Any

import pytest

DIGEST = "ab" * 32


@pytest.fixture
def document() -> dict[str, Any]:
    finding = {
        "hazard": "drop-column", "classes": ["data-loss"], "level": "error", "file": "db/0001_drop.sql", "line": 3,
        "column": 1, "message": "drops the column a*b of public.t", "remedy": "-- Keep it:\nCREATE TABLE kept AS …",
        "evidence": "confirmed", "relation": "public.t", "measured": {"rows_lost": 0},
    }  # fmt: skip
    column: dict[str, Any] = {
        "name": "a",
        "name_after": None,
        "verdict": "dropped",
        "values_before": 48_112,
        "values_changed": 0,
        "values_lost": 48_112,
        "values_moved": 0,
        "changes": [],
    }
    return {
        "format": 1,
        "digest": DIGEST,
        "verdict": "loss",
        "grade": {"full": False, "why_not": ["collation version differs"]},
        "source": {
            "address": "db.example.com/shop", "environment": "prd", "database": "shop", "database_oid": 5,
            "system_identifier": "7", "server_version": "18.4", "is_replica": False, "lsn": "0/1A",
            "taken_at": "2026-01-01",
        },
        "clone": {
            "address": "private local server", "provider": "pg_dump and template", "private": True,
            "server_version": "18.4", "switched_off": ["subscription s: not restored"],
        },
        "role": "migrator",
        "transaction": "auto",
        "plan": [{"version": "0001_drop", "name": "drop", "sha256": DIGEST}],
        "statements": [
            {
                "file": "db/0001_drop.sql", "line": 3, "sql": "ALTER TABLE t\n  DROP COLUMN a", "duration_ms": 1234.5,
                "locks": {"public.t": "AccessExclusiveLock"}, "rewrites": ["public.t"], "scans_under_lock": [],
                "error": {"sqlstate": "42P01", "message": "relation <b> does not exist | oh", "hint": None},
            }
        ],
        "tables": [
            {
                "name": "public.t", "name_after": "public.t2", "verdict": "values-changed", "rows_before": 50_000,
                "rows_after": 50_000, "rows_lost": 0, "rows_merged": 0, "rows_moved": 0,
                "columns": [column], "traces": [], "orphans": [],
                "proof": {"how": "compared", "evidence": []},
            },
            {
                "name": "public.calm", "name_after": "public.calm", "verdict": "unchanged", "rows_before": 1,
                "rows_after": 1, "rows_lost": 0, "rows_merged": 0, "rows_moved": 0, "columns": [],
                "traces": [], "orphans": [],
                "proof": {"how": "untouched", "evidence": ["catalog", "relfilenode", "counters"]},
            },
        ],
        "proof": {"mode": "touched", "counters_not_believed": None},
        "schema": {
            "before": DIGEST, "after": DIGEST,
            "changes": [
                {
                    "kind": "table column", "name": "public.t.a", "relation": "public.t", "effect": "removed",
                    "attribute": None, "before": None, "after": None,
                }
            ],
        },
        "declarations": [
            {
                "file": "db/0001_drop.sql", "line": 2, "text": "drops column t.a", "verb": "drops column",
                "relation": "public.t", "column": "a", "condition": None, "bound": None, "outcome": "as-declared",
                "count": 48_112, "rows_before": 50_000, "rows_declared": None, "beyond": 0,
                "detail": "public.t.a dropped with 48,112 values, as expected",
            }
        ],
        "checks": [{"name": "money.sql", "verdict": "failed", "detail": "0 rows before, 3 after, and not the same"}],
        "queries": [],
        "contention": {},
        "rollback": {
            "type": "restorable", "reasons": ["the columns of public.t come back in another order"],
            "statements": ["ALTER TABLE public.t ADD COLUMN a text;"], "statements_after_rows": [],
            "before_images": [
                {
                    "relation": "public.t", "name_after": "public.t", "columns": ["id", "a"], "rows": 50_000,
                    "why": "columns-dropped",
                    "rows_taken": {
                        "by": ["id"], "is_key": True, "gone": {"rows": 0, "digest": "0:0"}, "changed": None,
                    },
                }
            ],
            "proved": True, "down_ms": 1250.0, "up_again_ms": 80.0, "left_behind": [],
        },
        "findings": [finding],
        "not_measured": [
            {"what": "table public.secret", "reason": "row-level security hides rows", "decisive": False}
        ],
        "timings": {"dump_ms": 12.5},
        "receipt": {
            "recipe": "pgrehearse-receipt-1", "tool_version": "0.1.0", "created_at": "2026-01-01",
            "rehearsed_by": "ann", "rehearser": {"login": "ann", "host": "laptop", "git": None},
            "level": "error", "source_kind": "sql-folder",
            "plan_digest": DIGEST, "files": [], "statement_rows": [None], "commits": [],
            "settings": {"TimeZone": "UTC"},
            "parameters": {"listed": True, "digests": {"app.tenant": "0123456789abcdef"}},
            "schema_objects": {"recipe": "pgrehearse-schema-1", "before": "e30=", "after": "e30="},
            "source_started_at": "2026-01-01",
            "table_sizes": {"public.t": {"rows": 50_000, "size_bytes": 8192, "writes": 50_000}},
            "samples": [{"table": "public.t", "key": {"id": "5"}, "before": {"a": "1"}, "after": None}],
        },
    }  # fmt: skip
