-- not run: databases are the whole server's
CREATE DATABASE shop_next;
