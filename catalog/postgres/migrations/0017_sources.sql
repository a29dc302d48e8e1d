-- Where the content of an imported collection comes from, and how often it is read.
CREATE TABLE sources (
    collection_id   bigint  PRIMARY KEY REFERENCES collections ON DELETE CASCADE,
    type            text    NOT NULL CHECK (type IN ('iiif', 'oai')),
    url             text    NOT NULL,
    metadata_prefix text,
    set_spec        text,
    from_date       text,
    -- Whether images with one repository URL are views of one object, or only pages of one book.
    views           boolean NOT NULL,
    refresh         text    CHECK (refresh IN ('daily', 'weekly')),
    then_finetune   boolean NOT NULL DEFAULT false,
    next_reading    timestamptz,
    -- When the last complete reading ended, and the last one that asked for everything.
    last_read       timestamptz,
    last_whole      timestamptz,
    -- Where the next reading begins, by the clock of the repository. NULL: it asks for everything.
    changed_since   text,
    -- What the last complete reading did to the images.
    added           bigint,
    changed         bigint,
    removed         bigint
);

-- The queue of readings. It is apart from `jobs`, so that trainers of the previous release never claim one.
CREATE TABLE source_readings (
    id               bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    collection_id    bigint           NOT NULL REFERENCES sources ON DELETE CASCADE,
    -- Ask for everything, not only for what has changed.
    whole            boolean          NOT NULL,
    key_name         text,
    state            text             NOT NULL DEFAULT 'queued'
                     CHECK (state IN ('queued', 'running', 'done', 'failed', 'cancelled')),
    phase            text             NOT NULL DEFAULT 'queued',
    progress         double precision NOT NULL DEFAULT 0,
    phase_done       bigint,
    phase_total      bigint,
    seconds_left     double precision,
    paced_by         jsonb,
    warnings         text[]           NOT NULL DEFAULT '{}',
    -- Where the reading continues after its trainer was stopped.
    checkpoint       jsonb,
    token            bigint           NOT NULL DEFAULT 0,
    worker           text,
    lease_until      timestamptz,
    attempts         int              NOT NULL DEFAULT 0,
    cancel_requested boolean          NOT NULL DEFAULT false,
    error_code       text,
    error_message    text,
    created_at       timestamptz      NOT NULL DEFAULT now(),
    started_at       timestamptz,
    progressed_at    timestamptz,
    finished_at      timestamptz
);
CREATE UNIQUE INDEX source_readings_active ON source_readings (collection_id) WHERE state IN ('queued', 'running');
CREATE INDEX source_readings_by_collection ON source_readings (collection_id, id);

-- What was read: records of a repository, or manifests.
CREATE TABLE source_records (
    collection_id  bigint NOT NULL REFERENCES sources ON DELETE CASCADE,
    identifier     text   NOT NULL,
    -- The order of records in the content: that in which they were first read.
    ordinal        bigint GENERATED ALWAYS AS IDENTITY,
    -- The last reading that met the record.
    reading_id     bigint NOT NULL,
    etag           text,
    last_modified  text,
    failure_reason text,
    failure_detail text,
    PRIMARY KEY (collection_id, identifier)
);
CREATE INDEX source_records_failed ON source_records (collection_id, ordinal) WHERE failure_reason IS NOT NULL;

CREATE TABLE source_images (
    collection_id bigint NOT NULL,
    identifier    text   NOT NULL,
    position      int    NOT NULL,
    image_url     text   NOT NULL,
    repo_url      text   NOT NULL,
    label         text,
    attribution   text,
    rights        text,
    PRIMARY KEY (collection_id, identifier, position),
    FOREIGN KEY (collection_id, identifier) REFERENCES source_records ON DELETE CASCADE
);
-- By digest, because a URL can be longer than an index entry.
CREATE INDEX source_images_by_url ON source_images (collection_id, md5(image_url));
