CREATE SCHEMA shop;
CREATE SCHEMA "Odd One" AUTHORIZATION shop_owner;
CREATE TYPE shop.state AS ENUM ('new', 'paid', 'sent');
CREATE DOMAIN shop.amount AS numeric(12, 2) CHECK (VALUE >= 0);
CREATE TABLE shop.customers (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL CHECK (name <> ''),
    mail varchar(80) UNIQUE,
    born timestamptz DEFAULT '2000-01-01 00:00:00'::timestamp
);
CREATE TABLE shop.orders (
    id bigserial,
    customer bigint NOT NULL REFERENCES shop.customers,
    placed date NOT NULL,
    state shop.state NOT NULL DEFAULT 'new',
    total shop.amount,
    notes jsonb DEFAULT '{}',
    PRIMARY KEY (id, placed)
) PARTITION BY RANGE (placed);
CREATE TABLE shop.orders_2025 PARTITION OF shop.orders FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
CREATE TABLE shop.orders_2026 PARTITION OF shop.orders FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
CREATE TABLE "Odd One"."a ""quoted"" täble" ("ke y" int PRIMARY KEY, "Wert" text COLLATE "C");
CREATE INDEX ON shop.orders (customer) WHERE state <> 'sent';
CREATE VIEW shop.open_orders AS SELECT o.id, c.name FROM shop.orders o JOIN shop.customers c ON c.id = o.customer
    WHERE o.state IN ('new', 'paid');
CREATE MATERIALIZED VIEW shop.totals AS SELECT customer, sum(total) FROM shop.orders GROUP BY customer;
CREATE FUNCTION shop.touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.notes := NEW.notes || '{"seen": 1}'; RETURN NEW; END $$;
CREATE TRIGGER touch BEFORE UPDATE ON shop.orders FOR EACH ROW EXECUTE FUNCTION shop.touch();
INSERT INTO shop.customers (name, mail) SELECT 'customer ' || g, g || '@example.org' FROM generate_series(1, 500) g;
INSERT INTO shop.orders (customer, placed, total)
    SELECT 1 + g % 500, '2025-06-01'::date + g % 500, g / 7.0 FROM generate_series(1, 3000) g;
INSERT INTO "Odd One"."a ""quoted"" täble" SELECT g, NULLIF(repeat('x', g % 5), '') FROM generate_series(1, 50) g;
REFRESH MATERIALIZED VIEW shop.totals;
GRANT USAGE ON SCHEMA shop TO shop_readers;
GRANT SELECT ON ALL TABLES IN SCHEMA shop TO shop_readers;
GRANT UPDATE (state) ON shop.orders TO shop_app;
ALTER DEFAULT PRIVILEGES IN SCHEMA shop GRANT SELECT ON TABLES TO shop_app;
COMMENT ON TABLE shop.customers IS 'who buys';
