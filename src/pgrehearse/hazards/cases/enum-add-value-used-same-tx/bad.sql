-- fails: 55P04
BEGIN;
ALTER TYPE mood ADD VALUE 'calm' AFTER 'happy';
INSERT INTO users (email, feeling) VALUES ('calm@example.com', 'calm');
COMMIT;
