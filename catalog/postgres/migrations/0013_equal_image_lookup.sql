-- A search by the id of an image needs the point that stands for it.
CREATE INDEX equal_images_by_image ON equal_images (index_id, image_id);
