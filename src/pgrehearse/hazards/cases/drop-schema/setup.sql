CREATE SCHEMA "Old shop";
CREATE TABLE "Old shop".users (id integer);
