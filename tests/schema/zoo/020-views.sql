-- Views, rules, triggers and SQL-standard function bodies: whole queries that the server prints.
CREATE TABLE customer (id int PRIMARY KEY, name varchar(40), status varchar(10), region char(2), city text, score numeric(8,2), born date, tags varchar[]);
CREATE TABLE purchase (id bigint PRIMARY KEY, customer_id int REFERENCES customer, kind varchar(10), amount numeric(10,2), at timestamptz, note text, city text);
CREATE VIEW v_in AS SELECT * FROM customer WHERE status IN ('a', 'b') AND region IN ('EU', 'US') AND (score > -1 AND id > 0) AND born > '2000-01-01';
CREATE VIEW v_join AS SELECT c.*, p.id AS pid, p.amount FROM customer c JOIN purchase p ON p.customer_id = c.id AND p.kind IN ('x', 'y') LEFT JOIN purchase q ON q.id = p.id AND (q.amount > 0 AND q.kind NOT IN ('z', 'w'));
CREATE VIEW v_using AS SELECT city, id, c.name, p.note FROM customer c FULL JOIN purchase p USING (id, city) WHERE city LIKE 'a%';
CREATE VIEW v_using_alias AS SELECT j.id, j.city FROM customer JOIN purchase USING (id, city) AS j;
CREATE VIEW v_natural AS SELECT * FROM customer NATURAL JOIN (SELECT id, city, note FROM purchase) q;
CREATE VIEW v_cross AS SELECT a.id, b.id AS bid FROM customer a, customer b CROSS JOIN purchase p WHERE a.id <> b.id AND p.kind IN ('x');
CREATE VIEW v_union AS SELECT name FROM customer WHERE status IN ('a', 'b') UNION ALL SELECT note FROM purchase EXCEPT (SELECT 'x'::text UNION SELECT 'y') ORDER BY 1 DESC LIMIT 10 OFFSET 2;
CREATE VIEW v_union_types AS SELECT 'a' AS k, 1 AS n UNION ALL SELECT 'b', 2.5 UNION ALL SELECT kind, -1 FROM purchase UNION ALL SELECT NULL, NULL;
CREATE VIEW v_window AS SELECT id, rank() OVER w, sum(amount) FILTER (WHERE kind IN ('x', 'y')) OVER (PARTITION BY customer_id ORDER BY at DESC ROWS BETWEEN 1 PRECEDING AND UNBOUNDED FOLLOWING EXCLUDE TIES) AS s, lag(amount, 1, -1) OVER (w ROWS UNBOUNDED PRECEDING) AS l FROM purchase WINDOW w AS (PARTITION BY kind ORDER BY id);
CREATE VIEW v_group AS SELECT status, count(*) AS n, count(DISTINCT region) AS r, string_agg(name, ', ' ORDER BY name) AS names, percentile_cont(0.5) WITHIN GROUP (ORDER BY score) AS med FROM customer GROUP BY status HAVING count(*) > 1 AND max(score) IN (1, 2.5);
CREATE VIEW v_sets AS SELECT status, region, sum(score), GROUPING(status) FROM customer GROUP BY GROUPING SETS ((status, region), (status), ()) ;
CREATE VIEW v_cube AS SELECT status, region, sum(score) FROM customer GROUP BY DISTINCT ROLLUP (status, region), CUBE (status);
CREATE VIEW v_cte AS WITH RECURSIVE t(n, path) AS (SELECT 1, ARRAY['a']::varchar[] UNION ALL SELECT n + 1, path || 'b'::varchar FROM t WHERE n < 10 AND path[1] IN ('a', 'b')) SEARCH DEPTH FIRST BY n SET ord, m AS MATERIALIZED (SELECT * FROM customer) SELECT t.n, t.path, m.name FROM t, m;
CREATE VIEW v_sub AS SELECT id, (SELECT max(amount) FROM purchase p WHERE p.customer_id = c.id AND p.kind IN ('x', 'y')) AS m, ARRAY(SELECT kind FROM purchase) AS ks, EXISTS (SELECT FROM purchase) AS e, id IN (SELECT customer_id FROM purchase) AS i, id NOT IN (SELECT customer_id FROM purchase) AS ni, (id, city) IN (SELECT customer_id, note FROM purchase) AS ri, score > ALL (SELECT amount FROM purchase) AS al FROM customer c;
CREATE VIEW v_values AS SELECT * FROM (VALUES (1, 'a'), (-2, 'b')) AS x(n, t) WHERE t IN ('a', 'b');
CREATE VIEW v_values_bare AS VALUES (1, 'x'::varchar), (2, 'y');
CREATE VIEW v_func AS SELECT g, o, l.* FROM generate_series(1, 10) WITH ORDINALITY AS s(g, o), LATERAL (SELECT name, status FROM customer WHERE id = g) l, unnest(ARRAY['a', 'b'], ARRAY[1, 2]) AS u(x, y);
CREATE VIEW v_rowsfrom AS SELECT * FROM ROWS FROM (generate_series(1, 2), unnest(ARRAY['a'::varchar, 'b'])) AS r(a, b);
CREATE VIEW v_record AS SELECT * FROM jsonb_to_recordset('[{"a": 1}]') AS x(a int, b varchar(5)) WHERE b IN ('a', 'b');
CREATE VIEW v_distinct AS SELECT DISTINCT ON (status, lower(name)) status, name, score FROM customer ORDER BY status, lower(name), score DESC NULLS LAST, id USING >;
CREATE VIEW v_lock AS SELECT id FROM customer TABLESAMPLE bernoulli (10) REPEATABLE (1) WHERE id > 0 FOR UPDATE SKIP LOCKED;
CREATE VIEW v_whole AS SELECT c, c.id, (c).name, row_to_json(c) AS j  FROM customer c;
CREATE VIEW v_case AS SELECT CASE status WHEN 'a' THEN 'x' WHEN 'b' THEN region ELSE name END AS k, CASE WHEN status IN ('a', 'b') AND (region = 'EU' AND id > 0) THEN 1 END AS w, COALESCE(name, status, 'n/a') AS co, NULLIF(status, 'x') AS nu, status || '-' || region AS cat, -score AS neg, - 5 AS five, 'lit' AS lit, NULL AS nul, 1.50 AS dec FROM customer;
CREATE VIEW v_time AS SELECT at AT TIME ZONE 'Europe/Vienna' AS l, date_trunc('month', at) AS m, EXTRACT(dow FROM at) AS d, at + interval '1 month -2 days' AS n, at > '2020-01-01' AS o, now() - at AS age, CURRENT_TIMESTAMP(2) AS ct, LOCALTIME AS lt, CURRENT_USER AS cu FROM purchase;
CREATE VIEW v_options WITH (security_barrier, security_invoker = on) AS SELECT * FROM customer WHERE status IN ('a', 'b') WITH LOCAL CHECK OPTION;
CREATE VIEW v_of_view AS SELECT v.id, v.status FROM v_in v WHERE v.status IN ('a', 'c') OR (v.region = 'EU' OR v.id = 3);
CREATE VIEW v_alias (alpha, "Beta") AS SELECT id, name FROM customer;
CREATE VIEW v_array AS SELECT tags && ARRAY['a', 'b']::varchar[] AS o, tags @> '{a}' AS c, tags || 'z'::varchar AS t, ARRAY[status, region, 'lit'] AS m, ARRAY[ARRAY[1, 2], ARRAY[3, 4]] AS mm, tags[1:2] AS sl, status = ANY (tags) AS an, array_agg(status) OVER () AS ag FROM customer;
CREATE VIEW v_paren AS (SELECT id FROM customer ORDER BY id LIMIT 1) UNION ALL (SELECT customer_id FROM purchase ORDER BY 1 FETCH FIRST 2 ROWS WITH TIES);
CREATE VIEW v_bool AS SELECT (id = 1 AND id = 2) AND id = 3 AS a, id = 1 OR (id = 2 OR id = 3) AS o, NOT (id = 1 AND NOT id = 2) AS n FROM customer WHERE (status = 'a' OR status = 'b') OR status = 'c' AND (region = 'EU' AND (id = 1 AND score = 1));
CREATE MATERIALIZED VIEW mv AS SELECT status, region, count(*) AS n FROM customer WHERE status IN ('a', 'b') AND (id > 0 AND score > 0) GROUP BY 1, 2 WITH NO DATA;
CREATE UNIQUE INDEX mv_ix ON mv (status, region) WHERE status IN ('a', 'b');
COMMENT ON MATERIALIZED VIEW mv IS 'matview';
COMMENT ON COLUMN v_in.status IS 'a view''s column';
-- renamed beneath a view
CREATE TABLE renamed (old_name varchar(5), b int, gone int, d int);
CREATE VIEW v_renamed AS SELECT * FROM renamed r WHERE old_name IN ('a', 'b');
CREATE VIEW v_renamed2 AS SELECT renamed.old_name, x.b FROM renamed JOIN (SELECT b FROM customer, renamed) x USING (b);
ALTER TABLE renamed RENAME COLUMN old_name TO "New Name";
ALTER TABLE renamed RENAME TO "Renamed";
ALTER VIEW v_renamed RENAME COLUMN old_name TO "Shown As";
ALTER TABLE v_renamed ALTER COLUMN b SET DEFAULT -7;
CREATE VIEW v_join_added AS SELECT c.id, p.note FROM customer c JOIN purchase p USING (city);
ALTER TABLE customer ADD COLUMN note text, ADD COLUMN dropped int;
ALTER TABLE customer DROP COLUMN dropped;
ALTER TABLE purchase ADD COLUMN extra varchar(3) DEFAULT 'abc' CHECK (extra IN ('abc', 'def'));

CREATE RULE r_ins AS ON INSERT TO v_alias DO INSTEAD INSERT INTO customer (id, name) VALUES (new.alpha, new."Beta") RETURNING customer.id, customer.name;
CREATE RULE r_cond AS ON INSERT TO v_of_view WHERE new.id > -1 AND (new.status IN ('a', 'b') AND new.id < 10) DO INSTEAD NOTHING;
CREATE RULE r_notify AS ON INSERT TO v_of_view DO INSTEAD NOTIFY changed;
CREATE RULE r_log AS ON UPDATE TO customer WHERE old.status IN ('a', 'b') DO ALSO (UPDATE purchase SET note = new.status, kind = 'x' WHERE purchase.customer_id = old.id; DELETE FROM purchase WHERE kind NOT IN ('x', 'y') AND customer_id = old.id;);
CREATE RULE r_upsert AS ON DELETE TO purchase DO ALSO INSERT INTO customer (id, status) SELECT old.customer_id, 'x' ON CONFLICT (id) DO UPDATE SET status = excluded.status WHERE customer.status IN ('a', 'b');
ALTER TABLE purchase DISABLE RULE r_upsert;

CREATE FUNCTION tf() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RETURN NEW; END$$;
CREATE TRIGGER t_when BEFORE UPDATE OF status, name ON customer FOR EACH ROW WHEN (NEW.status IN ('a', 'b') AND (OLD.id > 0 AND OLD.* IS DISTINCT FROM NEW.*)) EXECUTE FUNCTION tf('arg', 'it''s', '\x');
CREATE TRIGGER t_stmt AFTER INSERT ON customer REFERENCING NEW TABLE AS fresh FOR EACH STATEMENT EXECUTE FUNCTION tf();
CREATE CONSTRAINT TRIGGER t_con AFTER INSERT OR DELETE ON purchase DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (true) EXECUTE FUNCTION tf();
CREATE TRIGGER t_instead INSTEAD OF INSERT ON v_join FOR EACH ROW EXECUTE FUNCTION tf();
ALTER TABLE customer DISABLE TRIGGER t_stmt;
ALTER TABLE customer ENABLE ALWAYS TRIGGER t_when;

CREATE FUNCTION atomic(p varchar, n numeric DEFAULT -1.5, VARIADIC a varchar[] DEFAULT ARRAY['x', 'y']::varchar[]) RETURNS SETOF customer LANGUAGE sql STABLE
BEGIN ATOMIC
    SELECT * FROM customer WHERE status IN ('a', 'b') AND (score > n AND status = p) AND status = ANY (a);
    SELECT customer.* FROM customer WHERE region IN ('EU', 'US');
END;
CREATE FUNCTION returning_one(p varchar) RETURNS boolean LANGUAGE sql IMMUTABLE RETURN p IN ('a', 'b') AND (p <> 'c' AND p <> 'd');
CREATE PROCEDURE proc_atomic(p int) LANGUAGE sql BEGIN ATOMIC
    INSERT INTO "Renamed" (b, d) VALUES (p, -p), (-p, 2) ON CONFLICT DO NOTHING;
    UPDATE customer SET status = 'z', (name, city) = (SELECT 'n', 'c') WHERE status IN ('a', 'b') RETURNING id;
    DELETE FROM purchase USING customer c WHERE c.id = customer_id AND c.status NOT IN ('a', 'b');
END;
CREATE FUNCTION defaults(a int DEFAULT -1, b varchar DEFAULT 'x', c numeric DEFAULT 1.0, d date DEFAULT CURRENT_DATE - 1, e varchar[] DEFAULT ARRAY['a', 'b'], f interval DEFAULT '1 day', OUT o1 int, INOUT o2 text DEFAULT NULL) LANGUAGE plpgsql COST 5 PARALLEL SAFE SET search_path = 'public', 'pg_temp' SET work_mem = '1MB' AS $$BEGIN o1 := 1; END$$;
CREATE FUNCTION tab() RETURNS TABLE (a int, b varchar) LANGUAGE sql ROWS 5 SECURITY DEFINER LEAKPROOF STRICT AS 'SELECT 1, ''x''::varchar';
