-- Every writer of images has locked the collection and numbered the occurrences of each URL, and a deletion removes
-- images before their collection. Checking this for each row took more than half of the time for 2,000,000 rows.
ALTER TABLE images DROP CONSTRAINT images_collection_id_fkey;
DROP INDEX images_current;
