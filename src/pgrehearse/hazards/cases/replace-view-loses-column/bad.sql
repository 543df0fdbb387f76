-- needs: catalog
-- fails: 42P16
CREATE OR REPLACE VIEW adults AS SELECT id, nick FROM users;
