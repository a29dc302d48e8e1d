-- The dimension of the backbone's own vectors, which the generation has beside the tuned ones if the backbone has a text
-- tower. NULL: the generation has the tuned vectors only, without a name.
ALTER TABLE indexes ADD COLUMN shared_dim integer;
