-- What an image's host calls the bytes that its base vector was made of. A row without its vector, or the other way
-- round, costs one download and nothing else.
CREATE TABLE image_versions (
    collection_id bigint NOT NULL REFERENCES collections ON DELETE CASCADE,
    image_id      bigint NOT NULL,
    backbone      text   NOT NULL,
    etag          text,
    last_modified text,
    -- The newest refresh (job) that asked the host for a newer version.
    refreshed_by  bigint,
    PRIMARY KEY (collection_id, image_id)
);

-- How far the phase of a job is, in images, and how long the whole job will still take; NULL where that is not known.
ALTER TABLE jobs ADD COLUMN phase_done bigint;
ALTER TABLE jobs ADD COLUMN phase_total bigint;
ALTER TABLE jobs ADD COLUMN seconds_left double precision;
