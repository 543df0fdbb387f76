"""Which operator classes an index would find: the catalogs' answer, as the server itself looks for them."""

# GetDefaultOpClass and IsBinaryCoercible, for the type below a domain.
NO_DEFAULT_OPERATOR_CLASS = """
    WITH RECURSIVE below (oid) AS (
        SELECT a.atttypid FROM pg_catalog.pg_attribute a
        JOIN pg_catalog.pg_class c ON c.oid = a.attrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = {} AND c.relname = {} AND a.attname = {} AND NOT a.attisdropped
        UNION ALL
        SELECT t.typbasetype FROM below JOIN pg_catalog.pg_type t ON t.oid = below.oid WHERE t.typtype = 'd')
    SELECT EXISTS (
        SELECT FROM below JOIN pg_catalog.pg_type t ON t.oid = below.oid CROSS JOIN pg_catalog.pg_am m
        WHERE t.typtype <> 'd' AND m.amname = {} AND NOT EXISTS (
            SELECT FROM pg_catalog.pg_opclass o JOIN pg_catalog.pg_type i ON i.oid = o.opcintype
            WHERE o.opcmethod = m.oid AND o.opcdefault AND (
                o.opcintype = t.oid OR i.typname IN ('any', 'anyelement', 'anycompatible')
                OR (i.typname = 'anyarray' AND t.typcategory = 'A') OR (i.typname = 'anyenum' AND t.typtype = 'e')
                OR (i.typname = 'anyrange' AND t.typtype = 'r') OR (i.typname = 'anymultirange' AND t.typtype = 'm')
                OR (i.typname = 'record' AND t.typtype = 'c')
                OR EXISTS (SELECT FROM pg_catalog.pg_cast k WHERE k.castsource = t.oid AND k.casttarget = o.opcintype
                           AND k.castmethod = 'b' AND k.castcontext = 'i'))))
"""
NO_NAMED_OPERATOR_CLASS = """
    SELECT EXISTS (SELECT FROM pg_catalog.pg_am m WHERE m.amname = {method}) AND NOT EXISTS (
        SELECT FROM pg_catalog.pg_opclass o JOIN pg_catalog.pg_am m ON m.oid = o.opcmethod
        WHERE m.amname = {method} AND o.opcname = {name})
"""
