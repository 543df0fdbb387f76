CREATE TABLE "Order ""Lines"" 100%s" ("Id" int PRIMARY KEY, "time" text, "a%b" text, "ünïcødé" text, "o'clock" text, "user" text);
INSERT INTO "Order ""Lines"" 100%s" SELECT i, 't' || i, 'p' || i, 'ü' || i, 'o', 'u' FROM generate_series(1, 40) i;
CREATE TABLE "äääääääääääääääääääääääääääääää1" ("ßßßßßßßßßßßßßßßßßßßßßßßßßßßßßßßx" int PRIMARY KEY, b text);
INSERT INTO "äääääääääääääääääääääääääääääää1" SELECT i, 'b' FROM generate_series(1, 20) i;
CREATE TABLE "select" ("from" int, "where" text, UNIQUE ("from"));
ALTER TABLE "select" ALTER COLUMN "from" SET NOT NULL;
INSERT INTO "select" SELECT i, 'x' FROM generate_series(1, 20) i;
CREATE TABLE "keyless 50%" ("per%cent" int, "%s" text);
INSERT INTO "keyless 50%" SELECT i % 3, 'x' FROM generate_series(1, 20) i;
