-- A database with something of everything that a dump treats in its own way.
CREATE SCHEMA bank;
CREATE SCHEMA "Odd ""One""";
CREATE SCHEMA pgrehearse;
CREATE TYPE bank.state AS ENUM ('new', 'open', 'closed');
CREATE TYPE bank.place AS (street text, number int);
CREATE DOMAIN bank.amount AS numeric(12, 2) CHECK (VALUE >= 0);
CREATE TABLE bank.accounts (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    owner varchar(40) NOT NULL CHECK (owner IN ('ann', 'bob', 'eve')),
    balance bank.amount NOT NULL,
    state bank.state NOT NULL DEFAULT 'new',
    doubled numeric GENERATED ALWAYS AS (balance * 2) STORED
);
CREATE TABLE bank.transfers (
    id bigserial, at timestamptz NOT NULL DEFAULT now(), cents bigint, note jsonb, PRIMARY KEY (id, at)
) PARTITION BY RANGE (at);
CREATE TABLE bank.transfers_2025 PARTITION OF bank.transfers FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
CREATE TABLE bank.transfers_rest PARTITION OF bank.transfers DEFAULT;
CREATE TABLE bank.zoo (
    key uuid PRIMARY KEY, d date, ts timestamp, iv interval, b bytea, f float8, n numeric, c char(5), xs int[], j json,
    jb jsonb, i inet, r int4range, p point, v varbit, cash money, place bank.place, ss bank.state[], rc regclass,
    tv tsvector, x xml, nul text
);
CREATE TABLE bank.keyless (a int, b text);
CREATE TABLE "Odd ""One"""."tä ble" ("ke y" text COLLATE "C" PRIMARY KEY, "va""l" text);
CREATE TABLE pgrehearse.steps (version text PRIMARY KEY, done boolean);
CREATE UNLOGGED TABLE bank.scratchpad (a int UNIQUE);
CREATE TABLE bank.empty (a int);
CREATE SEQUENCE bank.tickets INCREMENT -5 MAXVALUE 1000 START 1000;
INSERT INTO bank.accounts (owner, balance, state)
    SELECT (ARRAY['ann', 'bob', 'eve'])[1 + g % 3], 1000, (ARRAY['new', 'open', 'closed']::bank.state[])[1 + g % 3]
    FROM generate_series(1, 600) g;
INSERT INTO bank.transfers (at, cents, note)
    SELECT timestamptz '2025-11-01 UTC' + g * interval '1 hour', g * 7, jsonb_build_object('n', g)
    FROM generate_series(1, 2500) g;
INSERT INTO bank.zoo SELECT
    ('00000000-0000-0000-0000-' || lpad(g::text, 12, '0'))::uuid, date '2000-01-01' + g, timestamp '2001-01-01' + g * '1 s'::interval,
    g * interval '1 month 1 day', decode(md5(g::text), 'hex'), CASE g % 3 WHEN 0 THEN 'NaN'::float8 WHEN 1 THEN '-0' ELSE g / 3.0 END,
    g::numeric / 7, 'x' || g % 90, ARRAY[g, NULL, -g], '{"b": 1,  "a": [1, 2]}', '{"b": 1,  "a": [1, 2]}',
    ('10.0.' || g % 250 || '.1')::inet, int4range(g, g + 3), point(g, -g), B'1010'::varbit, (g / 100.0)::numeric::money,
    ROW(('street ' || g)::text, g::int)::bank.place, ARRAY['new', 'closed']::bank.state[], 'bank.accounts', to_tsvector('simple', 'a b c ' || g),
    NULL, NULL
    FROM generate_series(1, 300) g;
INSERT INTO bank.keyless SELECT g % 10, repeat('k', g % 4) FROM generate_series(1, 100) g;
INSERT INTO "Odd ""One"""."tä ble" SELECT 'k' || g, chr(10) || 'x\t' || g FROM generate_series(1, 40) g;
INSERT INTO pgrehearse.steps VALUES ('0001', true);
INSERT INTO bank.scratchpad VALUES (1), (2);
SELECT nextval('bank.tickets'), nextval('bank.tickets');
SELECT lo_from_bytea(424242, convert_to(repeat('large ', 300000), 'UTF8')), lo_from_bytea(424243, ''),
       lo_put(424243, 5000, 'behind a hole');
CREATE MATERIALIZED VIEW bank.totals AS SELECT owner, sum(balance) FROM bank.accounts GROUP BY owner;
CREATE INDEX ON bank.transfers (cents);
CREATE VIEW bank.open AS SELECT * FROM bank.accounts WHERE state IN ('new', 'open');
CREATE FUNCTION bank.touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.balance := NEW.balance; RETURN NEW; END $$;
CREATE TRIGGER touch BEFORE INSERT OR UPDATE ON bank.accounts FOR EACH ROW EXECUTE FUNCTION bank.touch();
ALTER TABLE bank.keyless ENABLE ROW LEVEL SECURITY;
CREATE POLICY few ON bank.keyless USING (a < 3);
GRANT USAGE ON SCHEMA bank TO PUBLIC;
GRANT SELECT ON bank.accounts TO PUBLIC;
COMMENT ON TABLE bank.accounts IS 'who has what';
