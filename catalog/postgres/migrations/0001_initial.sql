CREATE TABLE collections (
    id               bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name             text        NOT NULL,
    heidicon_tag     text,
    -- The newest content; 0 before the first upload.
    content_revision bigint      NOT NULL DEFAULT 0,
    -- Nothing else decides which index search serves.
    live_index       bigint,
    created_at       timestamptz NOT NULL DEFAULT now(),
    last_modified    timestamptz NOT NULL DEFAULT now(),
    last_finetuned   timestamptz,
    -- Set when the collection is deleted. The row is removed last, after its vectors and images.
    deleting_at      timestamptz
);

CREATE TABLE contents (
    collection_id bigint      NOT NULL REFERENCES collections ON DELETE CASCADE,
    revision      bigint      NOT NULL,
    digest        bytea       NOT NULL,
    row_count     bigint      NOT NULL,
    created_at    timestamptz NOT NULL DEFAULT now(),
    -- Set when a newer revision is stored. The content stays while an index or a job pins it.
    superseded_at timestamptz,
    PRIMARY KEY (collection_id, revision)
);

-- The uploaded bytes in chunks of at most 1 MiB, so that no process holds a whole CSV.
CREATE TABLE content_chunks (
    collection_id bigint NOT NULL,
    revision      bigint NOT NULL,
    ordinal       int    NOT NULL,
    data          bytea  NOT NULL,
    PRIMARY KEY (collection_id, revision, ordinal),
    FOREIGN KEY (collection_id, revision) REFERENCES contents ON DELETE CASCADE
);
ALTER TABLE content_chunks ALTER COLUMN data SET STORAGE EXTERNAL;

CREATE SEQUENCE image_ids;

-- One row for each span of revisions in which an image's row was the same. The id stays while the URL's nth occurrence
-- stays. A changed repository URL ends one span and begins the next under the same id.
CREATE TABLE images (
    collection_id  bigint NOT NULL REFERENCES collections ON DELETE CASCADE,
    id             bigint NOT NULL,
    image_url      text   NOT NULL,
    occurrence     int    NOT NULL,
    repo_url       text   NOT NULL,
    first_revision bigint NOT NULL,
    -- NULL: still in the newest content.
    last_revision  bigint,
    PRIMARY KEY (collection_id, id, first_revision)
);
-- By digest, because a URL can be longer than an index entry.
CREATE UNIQUE INDEX images_current ON images (collection_id, md5(image_url), occurrence) WHERE last_revision IS NULL;
CREATE INDEX images_ended ON images (collection_id, last_revision) WHERE last_revision IS NOT NULL;

CREATE TABLE jobs (
    id               bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    collection_id    bigint           NOT NULL REFERENCES collections ON DELETE CASCADE,
    revision         bigint           NOT NULL,
    state            text             NOT NULL DEFAULT 'queued'
                     CHECK (state IN ('queued', 'running', 'done', 'failed', 'cancelled')),
    phase            text             NOT NULL DEFAULT 'queued',
    progress         double precision NOT NULL DEFAULT 0,
    force            boolean          NOT NULL DEFAULT false,
    -- The fencing token: each claim increments it, and writes need the newest one.
    token            bigint           NOT NULL DEFAULT 0,
    worker           text,
    lease_until      timestamptz,
    attempts         int              NOT NULL DEFAULT 0,
    cancel_requested boolean          NOT NULL DEFAULT false,
    error_code       text,
    error_message    text,
    created_at       timestamptz      NOT NULL DEFAULT now(),
    started_at       timestamptz,
    finished_at      timestamptz
);
CREATE UNIQUE INDEX jobs_active ON jobs (collection_id) WHERE state IN ('queued', 'running');
CREATE INDEX jobs_by_collection ON jobs (collection_id, id);

CREATE TABLE adapters (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    collection_id bigint      NOT NULL REFERENCES collections ON DELETE CASCADE,
    backbone      text        NOT NULL,
    -- safetensors
    weights       bytea       NOT NULL,
    quality       jsonb,
    created_at    timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX adapters_by_collection ON adapters (collection_id);

CREATE TABLE indexes (
    id                bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    collection_id     bigint      NOT NULL REFERENCES collections ON DELETE CASCADE,
    revision          bigint      NOT NULL,
    job_id            bigint      NOT NULL REFERENCES jobs ON DELETE CASCADE,
    token             bigint      NOT NULL,
    qdrant_collection text        NOT NULL UNIQUE,
    adapter_id        bigint      REFERENCES adapters,
    backbone          text        NOT NULL,
    dim               int,
    image_count       bigint,
    quality           jsonb,
    created_at        timestamptz NOT NULL DEFAULT now(),
    published_at      timestamptz,
    superseded_at     timestamptz
);
CREATE INDEX indexes_by_collection ON indexes (collection_id);
CREATE INDEX indexes_by_job ON indexes (job_id);
CREATE INDEX indexes_by_adapter ON indexes (adapter_id);
ALTER TABLE collections ADD FOREIGN KEY (live_index) REFERENCES indexes ON DELETE SET NULL;

CREATE TABLE image_failures (
    index_id bigint NOT NULL REFERENCES indexes ON DELETE CASCADE,
    image_id bigint NOT NULL,
    reason   text   NOT NULL,
    detail   text   NOT NULL DEFAULT '',
    PRIMARY KEY (index_id, image_id)
);

CREATE TABLE api_keys (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name         text        NOT NULL,
    -- SHA-256 of the secret, which is shown once and never stored.
    digest       bytea       NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    last_used_at timestamptz,
    revoked_at   timestamptz
);
