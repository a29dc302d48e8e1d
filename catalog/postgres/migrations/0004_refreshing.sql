-- The HTTP validators of the bytes that an image's base vector was made of. A row without its vector, or a vector
-- without its row, only costs one download.
CREATE TABLE image_versions (
    collection_id bigint NOT NULL REFERENCES collections ON DELETE CASCADE,
    image_id      bigint NOT NULL,
    backbone      text   NOT NULL,
    etag          text,
    last_modified text,
    -- The last refresh job that asked the host for a newer version.
    refreshed_by  bigint,
    PRIMARY KEY (collection_id, image_id)
);

-- The progress of a job's phase in images, and the estimated time until the job ends. NULL: unknown.
ALTER TABLE jobs ADD COLUMN phase_done bigint;
ALTER TABLE jobs ADD COLUMN phase_total bigint;
ALTER TABLE jobs ADD COLUMN seconds_left double precision;
