-- needs: rehearsal
INSERT INTO orders (id, user_id) SELECT max(o.id) + 1, min(u.id) FROM orders o, users u;
