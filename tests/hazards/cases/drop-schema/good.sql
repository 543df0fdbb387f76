ALTER SCHEMA "Old shop" RENAME TO old_shop;
