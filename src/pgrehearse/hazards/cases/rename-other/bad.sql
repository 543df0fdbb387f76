ALTER FUNCTION greet(text) RENAME TO welcome;
