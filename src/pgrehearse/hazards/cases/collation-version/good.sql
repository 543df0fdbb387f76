CREATE COLLATION names (provider = libc, locale = 'C');
