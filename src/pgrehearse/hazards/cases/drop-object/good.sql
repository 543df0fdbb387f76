CREATE STATISTICS lines_both ON order_id, user_id FROM lines;
