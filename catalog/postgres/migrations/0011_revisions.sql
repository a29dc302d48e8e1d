-- The name of the API key that uploaded the content. NULL: it was not recorded.
ALTER TABLE contents ADD COLUMN key_name text;
-- Only the bytes are kept, for downloads. The content no longer holds its images.
ALTER TABLE contents ADD COLUMN retired boolean NOT NULL DEFAULT false;
