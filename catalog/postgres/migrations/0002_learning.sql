-- Everything is fetched, embedded and learnt anew.
ALTER TABLE jobs ADD COLUMN refresh boolean NOT NULL DEFAULT false;

-- The scores between unrelated images, as quantiles at equal steps from 0 to 1: what turns a score into a percentile.
ALTER TABLE indexes ADD COLUMN score_quantiles real[];
