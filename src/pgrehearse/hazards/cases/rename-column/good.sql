ALTER TABLE users ADD COLUMN "nickName" varchar(20);
