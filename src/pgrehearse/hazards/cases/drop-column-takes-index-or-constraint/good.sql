CREATE INDEX CONCURRENTLY orders_only_status ON orders (status);
