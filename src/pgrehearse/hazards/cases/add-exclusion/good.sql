CREATE TABLE stays (during tsrange);
ALTER TABLE stays ADD EXCLUDE USING gist (during WITH &&);
