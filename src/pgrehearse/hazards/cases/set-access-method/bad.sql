-- fails: 42704
ALTER TABLE users SET ACCESS METHOD columnar;
