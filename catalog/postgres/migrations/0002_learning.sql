-- Fetch, embed and learn everything again.
ALTER TABLE jobs ADD COLUMN refresh boolean NOT NULL DEFAULT false;

-- Quantiles, at equal steps from 0 to 1, of the scores between unrelated images. They turn a score into a percentile.
ALTER TABLE indexes ADD COLUMN score_quantiles real[];
