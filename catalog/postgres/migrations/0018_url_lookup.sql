-- The rows of a URL are looked up, and counted. By digest, because a URL can be longer than an index entry. While the
-- indexes are made, which takes a few seconds for a million rows, uploads wait and searches go on.
CREATE INDEX images_by_image_url ON images (collection_id, hashtextextended(image_url, 0)) WHERE last_revision IS NULL;
CREATE INDEX images_by_repo_url ON images (collection_id, hashtextextended(repo_url, 0)) WHERE last_revision IS NULL;
-- Without statistics, the planner would expect many rows for each URL.
ANALYZE images;
