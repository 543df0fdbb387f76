SET session_replication_role = replica;
INSERT INTO child VALUES (1, 1), (2, 999);
RESET session_replication_role;
