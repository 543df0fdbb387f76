SELECT count(*) FROM orders WHERE user_id IS NULL;
