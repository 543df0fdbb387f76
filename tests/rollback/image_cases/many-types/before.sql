CREATE TYPE mood AS ENUM ('sad', 'ok', 'it''s, "fine"');
CREATE DOMAIN email AS text CHECK (VALUE LIKE '%@%');
CREATE DOMAIN short AS varchar(5);
CREATE TYPE pair AS (a int, b text);
CREATE TYPE span AS RANGE (subtype = float8);
CREATE TABLE things (
    id int PRIMARY KEY, j jsonb, js json, ints int[], words text[], moods mood[], m mood, e email, s short, p pair, ps pair[],
    r int4range, mr datemultirange, sp span, n numeric, f float8, f4 float4, i interval, tz timestamptz, tt timetz,
    b bytea, net inet, mac macaddr, c char(6), bits bit(5), vb varbit, pt point, box box, cash money, v tsvector, u uuid, oid oid, x "char"
);
INSERT INTO things VALUES
 (1, '{"a": [1, null, "\u00fc"], "b": 1.10}', '{"b":1,  "b":2}', '{{1,2},{3,NULL}}', ARRAY['a,b', '', NULL, '"', 'NULL'], '{sad,"it''s, \"fine\""}', 'it''s, "fine"',
  'a@b', 'abc', '(1,"x, y")', ARRAY['(1,a)', '(,)']::pair[], '[1,5)', '{[2026-01-01,2026-02-01)}', '[0.1,0.2]', 1.10, 0.1, 0.1, '1 mon -3 days 00:00:01.5',
  '2026-03-29 01:30:00.123456+02', '12:00:00+05', '\x00ff25', '10.0.0.1/24', '08:00:2b:01:02:03', 'ab', '10101', '1', '(1.5,-2)', '((1,1),(0,0))', 12.34, 'a:1 b:2', '00000000-0000-0000-0000-000000000001', 4000000000, 'q'),
 (2, 'null', 'null', '{}', '{}', '{}', 'sad', NULL, '', '(,)', '{}', 'empty', '{}', 'empty', 'NaN', '-0', 'Infinity', '-1 year', 'infinity', NULL, '', '::1', NULL, '', '00000', '', NULL, NULL, NULL, '', NULL, NULL, NULL),
 (3, NULL, NULL, '[5:6]={1,2}', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 1.0, 'NaN', NULL, NULL, '-infinity', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
 (4, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
CREATE TABLE moved (LIKE things INCLUDING ALL);
INSERT INTO moved SELECT * FROM things;
CREATE TABLE cleared (LIKE things INCLUDING ALL);
INSERT INTO cleared SELECT * FROM things;
CREATE TABLE by_mood (m mood PRIMARY KEY, n int);
INSERT INTO by_mood VALUES ('sad', 1), ('ok', 2), ('it''s, "fine"', 3);
