CREATE TYPE triple AS (a integer, b integer, c integer);
