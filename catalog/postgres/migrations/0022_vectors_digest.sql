-- What the base vectors of an index are, so that the duplicates of an earlier index with the same ones can be used
-- again. NULL: not known.
ALTER TABLE indexes ADD COLUMN vectors_digest bytea;
