-- When it was noticed that the vectors of an index are gone. A finetune replaces such an index.
ALTER TABLE indexes ADD COLUMN lost_at timestamptz;
