ALTER TABLE days ADD COLUMN note text;
