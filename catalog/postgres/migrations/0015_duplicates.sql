-- Whether duplicates were looked for when the index was made. False: it failed. NULL: the index is older than this column.
ALTER TABLE indexes ADD COLUMN duplicates_searched boolean;

-- Groups of images that are copies of each other.
CREATE TABLE duplicate_groups (
    index_id bigint NOT NULL REFERENCES indexes ON DELETE CASCADE,
    -- From 1, in the order in which groups are listed. There may be gaps.
    ordinal  bigint NOT NULL,
    kind     text   NOT NULL CHECK (kind IN ('identical', 'copy')),
    -- The weakest similarity in the group.
    score    real   NOT NULL,
    images   bigint NOT NULL,
    -- How many repository entries the images belong to.
    entries  bigint NOT NULL,
    PRIMARY KEY (index_id, ordinal)
);

CREATE TABLE duplicate_images (
    index_id bigint NOT NULL REFERENCES indexes ON DELETE CASCADE,
    ordinal  bigint NOT NULL,
    image_id bigint NOT NULL,
    PRIMARY KEY (index_id, ordinal, image_id)
);
