DELETE FROM cache;
DROP TABLE empty_one;
DROP TABLE no_columns;
