-- name: database_18
SELECT pg_encoding_to_char(d.encoding)::text, d.datlocprovider::text, d.datcollate::text, d.datctype::text,
       d.datlocale::text, d.daticurules::text, pg_database_collation_actual_version(d.oid)::text
FROM pg_catalog.pg_database d WHERE d.datname = current_database();

-- name: database_16
-- Until 16 the locale of a provider has its own name, and ICU is the only one.
SELECT pg_encoding_to_char(d.encoding)::text, d.datlocprovider::text, d.datcollate::text, d.datctype::text,
       d.daticulocale::text, d.daticurules::text, pg_database_collation_actual_version(d.oid)::text
FROM pg_catalog.pg_database d WHERE d.datname = current_database();

-- name: database_15
-- 15 knows ICU without rules.
SELECT pg_encoding_to_char(d.encoding)::text, d.datlocprovider::text, d.datcollate::text, d.datctype::text,
       d.daticulocale::text, NULL::text, pg_database_collation_actual_version(d.oid)::text
FROM pg_catalog.pg_database d WHERE d.datname = current_database();

-- name: database_14
-- 14 knows libc only, and not its version.
SELECT pg_encoding_to_char(d.encoding)::text, 'c', d.datcollate::text, d.datctype::text,
       NULL::text, NULL::text, NULL::text
FROM pg_catalog.pg_database d WHERE d.datname = current_database();

-- name: extensions
SELECT e.extname::text, e.extversion FROM pg_catalog.pg_extension e ORDER BY 1;

-- name: available_extensions
SELECT a.name::text, a.default_version FROM pg_catalog.pg_available_extensions a;

-- name: used_collations
-- Collations that the server brings along and some column, type or expression names.  Those made by users
-- are part of the dump; "default", "C" and "POSIX" exist everywhere.
SELECT DISTINCT c.collname::text, c.collprovider::text, pg_collation_actual_version(c.oid)::text
FROM pg_catalog.pg_depend d
JOIN pg_catalog.pg_collation c ON c.oid = d.refobjid
WHERE d.refclassid = 'pg_catalog.pg_collation'::pg_catalog.regclass AND c.oid < 16384
  AND c.collnamespace = 'pg_catalog'::pg_catalog.regnamespace AND c.collname NOT IN ('default', 'C', 'POSIX')
  AND d.objid >= 16384
ORDER BY 1;

-- name: known_collations
SELECT DISTINCT c.collname::text, c.collprovider::text, pg_collation_actual_version(c.oid)::text
FROM pg_catalog.pg_collation c
WHERE c.collnamespace = 'pg_catalog'::pg_catalog.regnamespace
  AND c.collencoding IN (-1, (SELECT d.encoding FROM pg_catalog.pg_database d WHERE d.datname = current_database()))
  AND c.collname = ANY(%s);

-- name: tablespaces
SELECT DISTINCT t.spcname::text FROM pg_catalog.pg_class c JOIN pg_catalog.pg_tablespace t ON t.oid = c.reltablespace
WHERE c.oid >= 16384 ORDER BY 1;

-- name: size
SELECT pg_database_size(current_database());

-- name: me
SELECT r.rolname::text, r.rolsuper, r.rolcreatedb, r.rolcreaterole FROM pg_catalog.pg_roles r WHERE r.rolname = current_user;
