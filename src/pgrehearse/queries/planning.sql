-- name: settings_of_planning
-- What a role may have set that decides how its statements are read and planned.
SELECT s.name FROM pg_catalog.pg_settings s
WHERE s.context IN ('user', 'superuser')
  AND (s.category LIKE 'Query Tuning%%'
       OR s.name IN ('search_path', 'work_mem', 'hash_mem_multiplier', 'DateStyle', 'IntervalStyle', 'TimeZone',
                     'standard_conforming_strings', 'row_security', 'default_text_search_config', 'xmloption',
                     'transform_null_equals', 'array_nulls', 'backslash_quote', 'quote_all_identifiers'))
  AND s.name <> 'plan_cache_mode';

-- name: types
SELECT t.oid, pg_catalog.format_type(t.oid, NULL), t.typcategory::pg_catalog.text
FROM pg_catalog.pg_type t WHERE t.oid = ANY(%s::pg_catalog.oid[]);
