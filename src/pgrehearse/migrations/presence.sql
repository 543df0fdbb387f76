-- name: relations
-- relkind tells tables, views and sequences apart; an index counts only on its own table, and says whether it is valid.
SELECT wanted.number, c.relkind::text, t.relname::text, i.indisvalid
FROM unnest(%s::int[], %s::text[], %s::text[]) AS wanted (number, namespace, name)
JOIN pg_catalog.pg_namespace n ON n.nspname = wanted.namespace
JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = wanted.name
LEFT JOIN pg_catalog.pg_index i ON i.indexrelid = c.oid
LEFT JOIN pg_catalog.pg_class t ON t.oid = i.indrelid

-- name: columns
SELECT wanted.number
FROM unnest(%s::int[], %s::text[], %s::text[], %s::text[]) AS wanted (number, namespace, relation, name)
JOIN pg_catalog.pg_namespace n ON n.nspname = wanted.namespace
JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = wanted.relation
JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attname = wanted.name AND a.attnum > 0 AND NOT a.attisdropped

-- name: constraints
SELECT wanted.number
FROM unnest(%s::int[], %s::text[], %s::text[], %s::text[]) AS wanted (number, namespace, relation, name)
JOIN pg_catalog.pg_namespace n ON n.nspname = wanted.namespace
JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = wanted.relation
JOIN pg_catalog.pg_constraint k ON k.conrelid = c.oid AND k.conname = wanted.name

-- name: types
-- Row types of tables are left out: typrelid leads to a relation of another kind than 'c'.
SELECT wanted.number
FROM unnest(%s::int[], %s::text[], %s::text[]) AS wanted (number, namespace, name)
JOIN pg_catalog.pg_namespace n ON n.nspname = wanted.namespace
JOIN pg_catalog.pg_type y ON y.typnamespace = n.oid AND y.typname = wanted.name
LEFT JOIN pg_catalog.pg_class c ON c.oid = y.typrelid
WHERE c.oid IS NULL OR c.relkind = 'c'

-- name: enum_values
SELECT wanted.number
FROM unnest(%s::int[], %s::text[], %s::text[], %s::text[]) AS wanted (number, namespace, type, name)
JOIN pg_catalog.pg_namespace n ON n.nspname = wanted.namespace
JOIN pg_catalog.pg_type y ON y.typnamespace = n.oid AND y.typname = wanted.type
JOIN pg_catalog.pg_enum e ON e.enumtypid = y.oid AND e.enumlabel = wanted.name

-- name: namespaces
SELECT wanted.number
FROM unnest(%s::int[], %s::text[]) AS wanted (number, name)
JOIN pg_catalog.pg_namespace n ON n.nspname = wanted.name
