-- One change to the zoo a line, each of another kind; some name objects that others' texts name.
ALTER TABLE customer RENAME COLUMN status TO state
ALTER TABLE customer RENAME TO client
ALTER TABLE purchase RENAME COLUMN customer_id TO client_id
ALTER VIEW v_in RENAME COLUMN status TO shown
ALTER TABLE purchase ADD COLUMN region char(2)
ALTER TABLE client DROP COLUMN tags CASCADE
CREATE TABLE fresh (id int PRIMARY KEY, of_client int REFERENCES client, made timestamptz DEFAULT now())
CREATE INDEX fresh_made ON fresh (made); COMMENT ON INDEX fresh_made IS 'new'
ALTER TABLE fresh RENAME CONSTRAINT fresh_of_client_fkey TO renamed_fk
DROP TABLE fresh
CREATE VIEW v_fresh AS SELECT id FROM client; COMMENT ON VIEW v_fresh IS 'new'
CREATE OR REPLACE VIEW v_fresh AS SELECT id, state FROM client
DROP VIEW v_fresh
ALTER TABLE parted RENAME COLUMN kind TO sort
ALTER TABLE parted RENAME CONSTRAINT to_target TO aimed
ALTER TABLE parted_target RENAME TO target
ALTER INDEX parted_ix RENAME TO parted_index
ALTER TABLE parted DETACH PARTITION parted_a
CREATE TABLE parted_c PARTITION OF parted FOR VALUES FROM ('2000-01-01') TO ('2001-01-01')
ALTER TABLE parted ALTER sort SET DEFAULT 'b'
ALTER TABLE parted_b ALTER sort SET DEFAULT 'c'
ALTER TABLE parted_d_x DISABLE TRIGGER ptrg
ALTER TABLE parted DISABLE TRIGGER ALL
ALTER TABLE parted_target_0 DISABLE TRIGGER ALL
ALTER TRIGGER ptrg ON parted RENAME TO ptrigger
ALTER TABLE base ADD COLUMN still_later int
ALTER TABLE base RENAME COLUMN b TO bee
ALTER TABLE derived NO INHERIT base
ALTER TABLE derived INHERIT base
ALTER TABLE base RENAME TO basis
ALTER TABLE second_base ADD COLUMN r int
ALTER TYPE shade RENAME VALUE 'mid' TO 'middle'
ALTER TYPE shade RENAME TO tint
ALTER TYPE tint ADD VALUE 'bright'
ALTER TYPE comp RENAME ATTRIBUTE x TO ex CASCADE
ALTER TYPE comp ADD ATTRIBUTE w int CASCADE
ALTER TYPE comp RENAME TO composite
ALTER TYPE floatrange RENAME TO doublerange
ALTER DOMAIN d_multi RENAME TO d_many
ALTER DOMAIN d_many VALIDATE CONSTRAINT lately
ALTER DOMAIN d_many RENAME CONSTRAINT lately TO of_late
ALTER DOMAIN d_many SET DEFAULT '{}'
COMMENT ON DOMAIN d_many IS 'renamed'; COMMENT ON CONSTRAINT of_late ON DOMAIN d_many IS NULL
ALTER FUNCTION addt(text, text) RENAME TO add_text
ALTER FUNCTION tf() RENAME TO trigger_function
CREATE OR REPLACE FUNCTION ptf() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN OLD; END'
CREATE FUNCTION one() RETURNS int LANGUAGE sql AS 'SELECT 1'; COMMENT ON FUNCTION one() IS '1'; REVOKE ALL ON FUNCTION one() FROM PUBLIC
DROP FUNCTION one()
CREATE FUNCTION of_row(c client) RETURNS text LANGUAGE sql RETURN (c).name
ALTER TABLE client RENAME COLUMN name TO full_name
ALTER AGGREGATE agg (text) RENAME TO aggregated
ALTER FUNCTION to_shade(text) RENAME TO to_tint
ALTER SEQUENCE owned_seq OWNED BY NONE
ALTER SEQUENCE owned_seq OWNED BY attrs.k
ALTER SEQUENCE free_seq RENAME TO loose_seq
ALTER SEQUENCE loose_seq INCREMENT 5
CREATE TABLE counted (id int DEFAULT nextval('loose_seq'))
ALTER SEQUENCE loose_seq SET SCHEMA "My Schema"
ALTER TABLE attrs ALTER t SET STATISTICS 12
ALTER TABLE attrs SET (fillfactor = 70, toast.autovacuum_enabled = on)
ALTER TABLE attrs RENAME COLUMN k TO key
ALTER TABLE attrs VALIDATE CONSTRAINT attrs_ref
ALTER TABLE attrs REPLICA IDENTITY NOTHING
ALTER TABLE attrs CLUSTER ON attrs_uq
ALTER TABLE attrs SET WITHOUT CLUSTER
ALTER TABLE attrs SET LOGGED
COMMENT ON COLUMN attrs.t IS 'changed'; COMMENT ON CONSTRAINT attrs_uq ON attrs IS NULL; COMMENT ON INDEX attrs_k IS NULL
COMMENT ON TRIGGER t_when ON client IS 'a trigger'; COMMENT ON RULE r_log ON client IS 'a rule'
GRANT SELECT (t), UPDATE (c) ON attrs TO zoo_app
GRANT SELECT ON attrs TO zoo_other; REVOKE SELECT ON attrs FROM zoo_other
GRANT USAGE ON SCHEMA "My Schema" TO zoo_app
ALTER TABLE attrs OWNER TO zoo_owner
ALTER INDEX named_by_hand SET (fillfactor = 56)
ALTER INDEX named_by_hand ALTER COLUMN 1 SET STATISTICS 45
ALTER TABLE deep RENAME COLUMN b TO bb
ALTER INDEX deep_ix RENAME TO deep_index
ALTER TABLE deep_1 ENABLE TRIGGER deep_t
ALTER TABLE deep ALTER c TYPE bigint
ALTER TABLE client ADD CHECK (region <> '')
ALTER TABLE purchase ADD CONSTRAINT late CHECK (amount > 0) NOT VALID
ALTER TABLE purchase VALIDATE CONSTRAINT late
CREATE POLICY seen ON full_id USING (a > 0)
ALTER POLICY seen ON full_id USING (a > 1) WITH CHECK (a < 9)
ALTER TABLE full_id RENAME COLUMN a TO aa
ALTER TABLE full_id DISABLE ROW LEVEL SECURITY
CREATE STATISTICS of_two ON id, state FROM client
ALTER STATISTICS of_two SET STATISTICS 77
ALTER STATISTICS of_two RENAME TO of_both
REFRESH MATERIALIZED VIEW mv
ALTER MATERIALIZED VIEW mv RENAME COLUMN n TO number
CREATE SCHEMA added CREATE TABLE inside (a int); COMMENT ON SCHEMA added IS 'new'
ALTER TABLE added.inside SET SCHEMA public
ALTER SCHEMA added RENAME TO further
ALTER SCHEMA "My Schema" RENAME TO mine
DROP SCHEMA mine CASCADE
CREATE SCHEMA drizzle
CREATE TABLE drizzle.__drizzle_migrations (id serial PRIMARY KEY)
CREATE TABLE drizzle.other (id int)
DROP TABLE drizzle.other
ALTER ROLE zoo_other RENAME TO zoo_another
ALTER ROLE zoo_another RENAME TO zoo_other
CREATE PUBLICATION of_all FOR TABLE client WHERE (id > 1), inside; COMMENT ON PUBLICATION of_all IS 'new'
ALTER TABLE client RENAME COLUMN id TO identity
ALTER PUBLICATION of_all DROP TABLE inside
DROP PUBLICATION of_all
CREATE OPERATOR CLASS by_default DEFAULT FOR TYPE tint USING hash AS OPERATOR 1 = (anyenum, anyenum), FUNCTION 1 hashenum(anyenum)
CREATE TYPE further.colour AS ENUM ('red'); CREATE TABLE coloured (c further.colour DEFAULT 'red' CHECK (c <> 'red'))
ALTER TYPE further.colour RENAME VALUE 'red' TO 'rot'
CREATE TABLE by_colour (c further.colour) PARTITION BY LIST (c); CREATE TABLE by_rot PARTITION OF by_colour FOR VALUES IN ('rot')
ALTER TYPE further.colour RENAME VALUE 'rot' TO 'rouge'
ALTER TYPE further.colour SET SCHEMA public
CREATE FUNCTION pg_catalog.upper(integer) RETURNS int LANGUAGE sql AS 'SELECT 1'
ALTER EXTENSION plpgsql ADD TABLE coloured
ALTER EXTENSION plpgsql DROP TABLE coloured
REVOKE EXECUTE ON FUNCTION plpgsql_call_handler() FROM PUBLIC
ALTER EXTENSION plpgsql DROP FUNCTION plpgsql_inline_handler(internal)
CREATE FUNCTION watched() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'; CREATE EVENT TRIGGER watching ON ddl_command_end WHEN TAG IN ('CREATE CAST') EXECUTE FUNCTION watched()
ALTER FUNCTION watched() RENAME TO was_watched
ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO zoo_app
UPDATE pg_catalog.pg_class SET relname = 'by_hand' WHERE relname = 'inside'
UPDATE pg_catalog.pg_attribute SET attname = 'by_hand' WHERE attrelid = 'by_hand'::regclass AND attnum = 1
DELETE FROM pg_catalog.pg_description WHERE objoid = 'attrs'::regclass
UPDATE pg_catalog.pg_constraint SET convalidated = false WHERE conname = 'late'
VACUUM FULL attrs
VACUUM FULL pg_catalog.pg_class
ANALYZE
ALTER TABLE since18 ADD w int GENERATED ALWAYS AS (c + 1) VIRTUAL
ALTER TABLE since18 RENAME COLUMN renamed_a TO aaa
COMMENT ON CONSTRAINT b_there ON since18 IS 'still not null'
ALTER TABLE since18 VALIDATE CONSTRAINT c_late
ALTER TABLE since18 ALTER CONSTRAINT b_there INHERIT
ALTER TABLE parent18 RENAME COLUMN a TO a_of_parent
