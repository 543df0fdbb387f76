CREATE INDEX a_v ON a (v);
