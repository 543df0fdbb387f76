-- needs: catalog
-- fails: 42P07
CREATE TABLE users (id integer);
