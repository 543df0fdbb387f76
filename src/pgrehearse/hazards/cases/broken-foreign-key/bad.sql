-- needs: rehearsal
SET session_replication_role = replica;
DELETE FROM users WHERE id = 1;
RESET session_replication_role;
