CREATE TABLE stays (room text, EXCLUDE (room WITH =));
INSERT INTO stays VALUES ('1a'), ('1b');
