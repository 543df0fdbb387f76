CREATE TABLE empty_one (id int PRIMARY KEY, v text);
CREATE TABLE no_columns ();
