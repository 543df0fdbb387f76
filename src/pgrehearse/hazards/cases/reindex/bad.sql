REINDEX INDEX users_age;
