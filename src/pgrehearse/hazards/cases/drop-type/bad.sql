-- fails: 2BP01
DROP TYPE mood;
