DROP VIEW grown_up;
