-- The collections of older services that `similis migrate-from` copies, so that a second run continues the first.
CREATE TABLE migrated_collections (
    -- The address of the older service, and the collection's id there.
    source        text   NOT NULL,
    source_id     bigint NOT NULL,
    -- The id here. It is reserved before the collection is created, and stays after the collection is deleted.
    collection_id bigint NOT NULL UNIQUE,
    -- The name that was last copied; NULL before the collection is created.
    name          text,
    -- SHA-256 of the CSV that was last copied, there and here. They differ if rows had to be repaired. NULL before the
    -- first time, and for a collection with a HeidICON tag.
    source_digest bytea,
    digest        bytea,
    -- When content was last copied.
    content_at    timestamptz,
    PRIMARY KEY (source, source_id)
);
