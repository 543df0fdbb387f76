-- fails: 42704
ALTER TABLE users SET TABLESPACE fast_disks;
