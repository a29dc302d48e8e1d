-- The hosts that set the pace of a running job: [{"host", "reason"}]. NULL: none.
ALTER TABLE jobs ADD COLUMN paced_by jsonb;
-- What users should know about a finetune although it did not fail.
ALTER TABLE jobs ADD COLUMN warnings text[] NOT NULL DEFAULT '{}';

-- The digest of the bytes that were embedded. NULL: they were embedded by an older release.
ALTER TABLE image_versions ADD COLUMN digest bytea;
