ALTER VIEW adults RENAME TO grown_ups;
