-- What was wrong with the bytes that an image's base vector was made of, although they could be embedded.
ALTER TABLE image_versions ADD COLUMN warning text;
CREATE INDEX image_versions_warned ON image_versions (collection_id, image_id) WHERE warning IS NOT NULL;
