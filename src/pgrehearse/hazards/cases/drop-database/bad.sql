-- not run: it drops a database
DROP DATABASE shop;
