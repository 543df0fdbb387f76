CREATE INDEX CONCURRENTLY orders_placed ON orders (placed);
