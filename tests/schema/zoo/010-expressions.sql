-- Constraints, defaults, generated columns, indexes, policies whose text the server prints otherwise after a restore.
CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
CREATE DOMAIN email AS varchar(200) CHECK (VALUE ~~ '%@%' AND VALUE NOT IN ('a@b', 'b@c')) DEFAULT 'x@y';
CREATE DOMAIN percent AS numeric(5,2) CONSTRAINT in_range CHECK (VALUE BETWEEN -1.5 AND 100) NOT NULL;
CREATE DOMAIN code AS char(3) CHECK (VALUE IN ('abc', 'def'));
CREATE TYPE pair AS (a int, b text);

CREATE TABLE expressions (
    id bigint PRIMARY KEY,
    v varchar(20) DEFAULT 'new',
    v0 varchar,
    c char(3) DEFAULT 'abc',
    t text COLLATE "C",
    n numeric(10,2) DEFAULT -1.50,
    i int DEFAULT -1,
    s smallint DEFAULT -32768,
    b bigint DEFAULT -9223372036854775808,
    f4 real DEFAULT -0.1,
    f8 double precision DEFAULT '-Infinity',
    d date DEFAULT CURRENT_DATE,
    ts timestamp DEFAULT '2020-01-02 03:04:05.6',
    tz timestamptz(3) DEFAULT now(),
    iv interval DEFAULT '1 mon 2 days -03:04:05',
    ivd interval day to second(2) DEFAULT '2 days',
    m mood DEFAULT 'ok',
    ms mood[] DEFAULT '{sad,ok}',
    a int[] DEFAULT ARRAY[1, -2, NULL],
    va varchar(5)[] DEFAULT '{}',
    ta text[] DEFAULT ARRAY['x', 'y']::varchar[],
    j jsonb DEFAULT '{"a": [1, 2]}',
    u uuid DEFAULT gen_random_uuid(),
    bool boolean DEFAULT (NOT false),
    bits bit(4) DEFAULT B'1010',
    vb bit varying(8) DEFAULT X'1F',
    bin bytea DEFAULT '\xdeadbeef',
    ip inet DEFAULT '10.0.0.1/24',
    mon money DEFAULT 12.5,
    r int4range DEFAULT '[1,5)',
    p pair DEFAULT ROW(1, 'x'),
    e email,
    pc percent DEFAULT 5,
    cd code,
    tm time with time zone DEFAULT '12:00+02',
    pt point DEFAULT '(1,2)',
    g1 text GENERATED ALWAYS AS (v || ':' || COALESCE(c, 'zzz')) STORED,
    g2 boolean GENERATED ALWAYS AS (v IN ('a', 'b', 'c') AND i > -1 AND i < 10) STORED,
    g3 numeric GENERATED ALWAYS AS (CASE WHEN v = 'a' THEN n * 1.5 WHEN v IN ('b', 'c') THEN -1 ELSE i END) STORED
);
ALTER TABLE expressions
    ADD CONSTRAINT v_in CHECK (v IN ('a', 'b')),
    ADD CONSTRAINT v_one CHECK (v IN ('a')),
    ADD CONSTRAINT v_notin CHECK (v NOT IN ('a', 'b')),
    ADD CONSTRAINT v0_in CHECK (v0 IN ('a', 'b') OR v0 IS NULL),
    ADD CONSTRAINT v_any CHECK (v = ANY (ARRAY['a', 'b'])),
    ADD CONSTRAINT v_any_v CHECK (v = ANY (ARRAY['a', 'b']::varchar[])),
    ADD CONSTRAINT v_any_lit CHECK (v = ANY ('{a,b}')),
    ADD CONSTRAINT v_any_typed CHECK (v = ANY (ARRAY['a'::varchar(3), 'b'::varchar(3)])),
    ADD CONSTRAINT v_mixed CHECK (v IN ('a', t, v0)),
    ADD CONSTRAINT v_upper CHECK (upper(v) IN ('A', 'B')),
    ADD CONSTRAINT c_in CHECK (c IN ('abc', 'def')),
    ADD CONSTRAINT c_text CHECK (c::text IN ('abc', 'def')),
    ADD CONSTRAINT c_len CHECK (length(c) = 3 AND c <> ''),
    ADD CONSTRAINT c_v CHECK (c = v),
    ADD CONSTRAINT t_in CHECK (t IN ('a', 'b')),
    ADD CONSTRAINT t_like CHECK (t LIKE 'a%' AND t NOT ILIKE '%b' AND t SIMILAR TO '(a|b)%'),
    ADD CONSTRAINT t_coll CHECK (t COLLATE "POSIX" > 'a' COLLATE "POSIX"),
    ADD CONSTRAINT v_like CHECK (v LIKE 'a%' OR v LIKE ANY (ARRAY['b%', 'c%'])),
    ADD CONSTRAINT v_re CHECK (v ~ '^[a-z]+$' AND v !~* 'x'),
    ADD CONSTRAINT n_in CHECK (n IN (1, 2.5, -3)),
    ADD CONSTRAINT n_range CHECK (n >= -1 AND n <= 1.0 AND (n > 0 OR n < -0.5)),
    ADD CONSTRAINT n_between CHECK (n BETWEEN -1 AND 5 AND i BETWEEN 0 AND 10 AND s NOT BETWEEN 3 AND 4),
    ADD CONSTRAINT n_sym CHECK (n BETWEEN SYMMETRIC 5 AND -1),
    ADD CONSTRAINT n_cast CHECK (n::int > 0 AND i::numeric(6,1) < 10 AND i::text <> '7'),
    ADD CONSTRAINT and_or CHECK (((i > 0 AND i < 5) AND (s > 0 OR (s < -5 OR b = 3))) OR (NOT (i = 7) AND (b > 1 AND s > 2))),
    ADD CONSTRAINT or_nested CHECK ((i = 1 OR i = 2) OR i = 3 OR (i = 4 OR i = 5)),
    ADD CONSTRAINT and_nested CHECK (i > 0 AND (s > 0 AND (b > 0 AND n > 0))),
    ADD CONSTRAINT s_in CHECK (s IN (1, 2, 3)),
    ADD CONSTRAINT s_neg CHECK (s IN (-1, -2)),
    ADD CONSTRAINT b_in CHECK (b IN (1, 5000000000, -5000000000)),
    ADD CONSTRAINT b_lit CHECK (b > 5000000000 AND b <> - 2147483648),
    ADD CONSTRAINT f4_in CHECK (f4 IN (1, 0.5, -0.25)),
    ADD CONSTRAINT f8_cmp CHECK (f8 > 1e10 AND f8 < 1e300 AND f8 <> 0.1),
    ADD CONSTRAINT d_in CHECK (d IN ('2020-01-01', '2021-02-03') OR d > '2022-01-01'),
    ADD CONSTRAINT d_arith CHECK (d - 7 < CURRENT_DATE + interval '1 day' * 3),
    ADD CONSTRAINT ts_cmp CHECK (ts < '2030-01-01' AND ts > timestamp '2000-01-01 00:00:00' AND date_trunc('day', ts) = ts),
    ADD CONSTRAINT tz_cmp CHECK (tz > '2020-01-01 12:00+02' AND (tz AT TIME ZONE 'UTC') > '2020-01-01'),
    ADD CONSTRAINT tz_extract CHECK (EXTRACT(year FROM tz) > 2000 AND EXTRACT(EPOCH FROM iv) >= 0),
    ADD CONSTRAINT iv_cmp CHECK (iv > '-1 hours' AND iv < '1 year 2 months'::interval AND ivd <> interval '5' minute),
    ADD CONSTRAINT m_in CHECK (m IN ('sad', 'ok') AND m > 'sad'),
    ADD CONSTRAINT m_text CHECK (m::text IN ('sad', 'ok')),
    ADD CONSTRAINT a_ops CHECK (a @> ARRAY[1] AND a[1] > -1 AND a[1:2] <> '{}' AND 3 = ANY (a) AND 4 <> ALL (a)),
    ADD CONSTRAINT va_ops CHECK (va <@ ARRAY['a', 'b']::varchar[] AND va[1] IN ('a', 'b')),
    ADD CONSTRAINT va_sub CHECK (va <@ ARRAY['a'::varchar, 'b'::varchar] AND ta && va::text[]),
    ADD CONSTRAINT ta_ops CHECK (ta <@ ARRAY['a', 'b'] AND cardinality(ta) > 0 AND array_position(ta, NULL) IS NULL),
    ADD CONSTRAINT aa_ops CHECK (ARRAY[[v, v0], [v0, v]]::text[] <> ARRAY[['a', 'b'], ['c', 'd']]),
    ADD CONSTRAINT j_ops CHECK (j ->> 'a' IN ('x', 'y') AND (j -> 'b' ->> 0)::int > 0 AND j ? 'k' AND j @> '{"a": 1}'),
    ADD CONSTRAINT j_path CHECK (j @? '$.a[*] ? (@ > 2)' AND jsonb_typeof(j #> '{a,b}') = 'array'),
    ADD CONSTRAINT u_cmp CHECK (u <> '00000000-0000-0000-0000-000000000000'),
    ADD CONSTRAINT bool_is CHECK (bool IS TRUE OR bool IS NOT FALSE OR bool IS UNKNOWN OR NOT bool),
    ADD CONSTRAINT bits_cmp CHECK (bits <> B'0000' AND vb & X'FF' > B'0'),
    ADD CONSTRAINT bin_cmp CHECK (bin <> '\x00' AND octet_length(bin) < 100),
    ADD CONSTRAINT ip_cmp CHECK (ip << '10.0.0.0/8' AND host(ip) <> '10.0.0.9'),
    ADD CONSTRAINT mon_cmp CHECK (mon > '0'::money AND mon < 100.5::money),
    ADD CONSTRAINT r_cmp CHECK (r && int4range(1, 10) AND NOT isempty(r) AND r @> 3),
    ADD CONSTRAINT p_cmp CHECK ((p).a > 0 AND p <> ROW(1, 'x')::pair),
    ADD CONSTRAINT row_cmp CHECK ((i, b) < (1, 2) AND (i, v) = (3, 'x') AND ROW(i, s) IS DISTINCT FROM ROW(1, 2)),
    ADD CONSTRAINT row_in CHECK ((i, v) IN ((1, 'a'), (2, 'b'))),
    ADD CONSTRAINT dist CHECK (v IS DISTINCT FROM v0 AND v IS NOT DISTINCT FROM 'x' AND n IS DISTINCT FROM -1),
    ADD CONSTRAINT nullif_c CHECK (NULLIF(v, '') IS NOT NULL AND NULLIF(i, -1) > 0),
    ADD CONSTRAINT coal CHECK (COALESCE(v, v0, 'x') <> 'y' AND COALESCE(n, i, -1) > -2 AND COALESCE(c, v) <> ''),
    ADD CONSTRAINT great CHECK (GREATEST(n, i, 0.5) > LEAST(s, -1)),
    ADD CONSTRAINT case_s CHECK (CASE v WHEN 'a' THEN 1 WHEN 'b' THEN -2 ELSE 0 END > 0),
    ADD CONSTRAINT case_g CHECK (CASE WHEN v IN ('a', 'b') THEN v0 IN ('x') WHEN n > 0 THEN true ELSE NULL::boolean END),
    ADD CONSTRAINT case_v CHECK (CASE WHEN i > 0 THEN v ELSE 'none' END IN ('a', 'none')),
    ADD CONSTRAINT fn_syntax CHECK (POSITION('a' IN v) > 0 AND SUBSTRING(v FROM 2 FOR 3) <> '' AND TRIM(BOTH 'x' FROM t) <> ''
        AND OVERLAY(t PLACING 'zz' FROM 1) <> '' AND (ts, ts) OVERLAPS (ts, iv) AND t IS NORMALIZED),
    ADD CONSTRAINT fn_like CHECK (concat(v, '-', i) <> format('%s', v) AND concat_ws('-', VARIADIC ARRAY['a', v, t]) <> ''),
    ADD CONSTRAINT ops CHECK (- i < + s AND i % 2 = 0 AND i ^ 2 > 1 AND @ i > 0 AND |/ f8 > 0 AND i << 2 > 1 AND ~ i < 0 AND i - - 1 > - (- 2)),
    ADD CONSTRAINT op_explicit CHECK (i OPERATOR(pg_catalog.+) 1 > 0),
    ADD CONSTRAINT casts CHECK ('5'::int > 0 AND CAST(v AS int) > 0 AND v::varchar(3) = 'abc' AND 'abcdef'::varchar(3) <> v
        AND 'x'::char(3) <> c AND 1.5::numeric(4,2) < n AND '2020-01-01'::timestamp(0) < ts AND '1 day'::interval(2) < iv),
    ADD CONSTRAINT consts CHECK (true AND NOT false AND 1 = 1 AND 'it''s' <> E'back\\slash\n' AND 1.0 < 2e3 AND - 1.5 < 0 AND -0.0 <= 0),
    ADD CONSTRAINT oid_c CHECK (id::oid <> 'pg_class'::regclass AND v::regclass IS NOT NULL),
    ADD CONSTRAINT e_in CHECK (e IN ('a@x', 'b@x') AND e <> 'q'),
    ADD CONSTRAINT pc_in CHECK (pc IN (1, 2.5) AND pc > -1),
    ADD CONSTRAINT cd_in CHECK (cd IN ('abc', 'def')),
    ADD CONSTRAINT whole CHECK (expressions IS NOT NULL);

CREATE INDEX ix_pred_v ON expressions (v) WHERE v IN ('a', 'b');
CREATE INDEX ix_pred_and ON expressions (i) WHERE (i > 0 AND s > 0) AND v NOT IN ('x', 'y') AND (b > -1 OR n IN (1, 2));
CREATE INDEX ix_expr ON expressions (lower(v), (v || 'x'), (i + -1) DESC NULLS LAST, COALESCE(c, 'zzz'), (CASE WHEN v IN ('a', 'b') THEN 1 ELSE -1 END));
CREATE INDEX ix_ops ON expressions (v text_pattern_ops, t COLLATE "POSIX" varchar_pattern_ops) INCLUDE (n, i) WITH (fillfactor = 70);
CREATE INDEX ix_gin ON expressions USING gin (j jsonb_path_ops, ta) WITH (fastupdate = off);
CREATE INDEX ix_gist ON expressions USING gist (r, pt);
CREATE INDEX ix_brin ON expressions USING brin (ts) WITH (pages_per_range = 16);
CREATE INDEX ix_hash ON expressions USING hash (u);
CREATE UNIQUE INDEX ix_und ON expressions (i, s) NULLS NOT DISTINCT;
CREATE UNIQUE INDEX ix_uexp ON expressions (lower(v0)) WHERE m IN ('sad', 'ok');
ALTER INDEX ix_expr ALTER COLUMN 1 SET STATISTICS 500;
ALTER TABLE expressions ADD CONSTRAINT ex_r EXCLUDE USING gist (r WITH &&) WHERE (v IN ('a', 'b') AND (i > 0 AND s > 0) AND b > 0) DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE expressions ADD CONSTRAINT late CHECK (v IN ('q', 'r')) NOT VALID;
CREATE STATISTICS stx ON v, (i + -1), (CASE WHEN v IN ('a', 'b') THEN 1 END) FROM expressions;
CREATE STATISTICS stx2 (dependencies, mcv) ON i, s FROM expressions;
ALTER STATISTICS stx2 SET STATISTICS 77;
CREATE STATISTICS stx3 ON (v IN ('a', 'b')) FROM expressions;
ALTER TABLE expressions ENABLE ROW LEVEL SECURITY;
CREATE POLICY p_all ON expressions USING (v IN ('a', 'b') AND (i > 0 AND s > 0)) WITH CHECK (v NOT IN ('x', 'y'));
CREATE POLICY p_sub ON expressions AS RESTRICTIVE FOR SELECT
    USING (EXISTS (SELECT 1 FROM expressions o WHERE o.id = expressions.id AND o.v IN ('a', 'b')) AND current_user IN ('a', 'b'));
CREATE POLICY p_in ON expressions FOR UPDATE USING (v IN (SELECT o.t FROM expressions o) OR id = ANY (SELECT o.b FROM expressions o));
CREATE POLICY p_setting ON expressions FOR INSERT WITH CHECK (v = current_setting('app.tenant', true)::varchar);
