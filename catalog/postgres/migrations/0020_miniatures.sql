-- A grey picture of each embedded image, at most 32 pixels wide and high: a byte for each pixel, row by row. The search
-- for duplicates compares them. An image that an older release embedded has none.
CREATE TABLE image_miniatures (
    collection_id bigint   NOT NULL REFERENCES collections ON DELETE CASCADE,
    image_id      bigint   NOT NULL,
    width         smallint NOT NULL,
    pixels        bytea    NOT NULL,
    PRIMARY KEY (collection_id, image_id)
);
-- Whether each line of the CSV is a record, so that a row can be found without reading the lines before it. NULL: not
-- known, because an older release stored it, or because a record has line ends.
ALTER TABLE contents ADD COLUMN row_lines boolean;
