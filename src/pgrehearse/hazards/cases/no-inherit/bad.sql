ALTER TABLE trucks NO INHERIT vehicles;
