-- needs: catalog
BEGIN;
ALTER TYPE mood RENAME TO mood_old;
CREATE TYPE mood AS ENUM ('happy');
ALTER TABLE users ALTER COLUMN feeling DROP DEFAULT;
ALTER TABLE users ALTER COLUMN feeling TYPE mood
    USING (CASE feeling::text WHEN 'sad' THEN 'happy' ELSE feeling::text END)::mood;
COMMIT;
