-- Successive contents share the chunks that an edit did not touch. A chunk belongs to the contents from `revision` to
-- `last_revision` that were edited from the same upload. NULL: to all later ones of them.
ALTER TABLE content_chunks ADD COLUMN last_revision bigint;
-- The upload that this content was edited from. NULL: it was uploaded itself.
ALTER TABLE contents ADD COLUMN base_revision bigint;
-- The chunks of a removed content may belong to a newer one.
ALTER TABLE content_chunks DROP CONSTRAINT content_chunks_collection_id_revision_fkey;
ALTER TABLE content_chunks ADD FOREIGN KEY (collection_id) REFERENCES collections ON DELETE CASCADE;
