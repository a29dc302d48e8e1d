-- Images whose vector equals that of an earlier image of the same index. Only the first of them has a point in Qdrant.
CREATE TABLE equal_images (
    index_id       bigint NOT NULL REFERENCES indexes ON DELETE CASCADE,
    first_image_id bigint NOT NULL,
    -- 1 for the first image after first_image_id, and so on without a gap, in the order of the ids.
    ordinal        bigint NOT NULL,
    image_id       bigint NOT NULL,
    PRIMARY KEY (index_id, first_image_id, ordinal)
);
