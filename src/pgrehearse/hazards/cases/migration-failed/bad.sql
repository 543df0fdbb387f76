-- fails: 23505
-- needs: rehearsal
INSERT INTO orders (id, user_id) SELECT 1, min(id) FROM users;
