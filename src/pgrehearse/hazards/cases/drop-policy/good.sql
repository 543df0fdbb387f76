CREATE POLICY everybody ON days USING (true);
