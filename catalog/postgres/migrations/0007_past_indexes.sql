-- The backbone as it was configured, for people. NULL: the index is older than this column.
ALTER TABLE indexes ADD COLUMN backbone_name text;

-- What a replaced index was made of. Its row in indexes, which pins a content, an adapter and vectors, is removed.
CREATE TABLE past_indexes (
    id            bigint      PRIMARY KEY,
    collection_id bigint      NOT NULL REFERENCES collections ON DELETE CASCADE,
    revision      bigint      NOT NULL,
    job_id        bigint      NOT NULL,
    backbone      text        NOT NULL,
    backbone_name text,
    dim           int,
    row_count     bigint,
    image_count   bigint,
    -- The number of images that could not be indexed, by reason.
    failures      jsonb       NOT NULL,
    quality       jsonb,
    created_at    timestamptz NOT NULL,
    published_at  timestamptz NOT NULL,
    superseded_at timestamptz
);
CREATE INDEX past_indexes_by_collection ON past_indexes (collection_id, published_at);
