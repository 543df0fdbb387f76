CREATE TABLE audit (at timestamptz DEFAULT now(), what text);
INSERT INTO audit (what) VALUES ('paid');
CREATE RULE keep AS ON DELETE TO audit DO INSTEAD NOTHING;
