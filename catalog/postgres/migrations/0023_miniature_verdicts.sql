-- Which pairs of miniatures were compared, and what came of it, so that the next search need not compare them again. For
-- each pair 17 bytes: one digest of its images, one of its miniatures, and the verdict.
CREATE TABLE miniature_verdicts (
    collection_id bigint PRIMARY KEY REFERENCES collections ON DELETE CASCADE,
    verdicts      bytea  NOT NULL
);
