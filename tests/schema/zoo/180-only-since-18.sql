-- needs: 18
CREATE TABLE since18 (id int GENERATED ALWAYS AS IDENTITY, a varchar(5) NOT NULL, b int CONSTRAINT b_there NOT NULL NO INHERIT, c int,
    v text GENERATED ALWAYS AS (CASE WHEN a IN ('a', 'b') THEN 'x' ELSE a END) VIRTUAL,
    CONSTRAINT unenforced CHECK (a IN ('a', 'b') AND (b > 0 AND c > 0)) NOT ENFORCED, rid int4range, during daterange, PRIMARY KEY (rid, during WITHOUT OVERLAPS));
ALTER TABLE since18 ADD CONSTRAINT c_late NOT NULL c NOT VALID;
COMMENT ON CONSTRAINT b_there ON since18 IS 'a not null';
ALTER TABLE since18 RENAME COLUMN a TO renamed_a;
CREATE TABLE since18_ref (rid int4range, during daterange, FOREIGN KEY (rid, PERIOD during) REFERENCES since18 (rid, PERIOD during), x int REFERENCES parted_target NOT ENFORCED);
CREATE TABLE parted18 (id int GENERATED ALWAYS AS IDENTITY, k int NOT NULL, r int, t int4range) PARTITION BY LIST (k);
CREATE TABLE parted18_1 PARTITION OF parted18 FOR VALUES IN (1);
ALTER TABLE parted18 ADD CONSTRAINT late_fk FOREIGN KEY (r) REFERENCES parted_target NOT VALID;
CREATE TABLE parent18 (a int NOT NULL, b int); CREATE TABLE child18 (b int NOT NULL, a int CONSTRAINT child_named NOT NULL) INHERITS (parent18);
CREATE DOMAIN named_not_null AS int CONSTRAINT never_null NOT NULL;
CREATE PUBLICATION pub18 FOR TABLE since18 WITH (publish_generated_columns = stored);
ALTER DEFAULT PRIVILEGES FOR ROLE zoo_owner GRANT SELECT ON LARGE OBJECTS TO zoo_app;
GRANT MAINTAIN ON since18 TO zoo_app;
