-- needs: rehearsal
DELETE FROM pg_catalog.pg_enum WHERE enumtypid = 'mood'::regtype AND enumlabel = 'sad';
