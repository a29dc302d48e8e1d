// What this version's API can do. The page and the API come from the same gateway.
// A test compares the routes with those that exist.

export const routes = {
  info: true,
  similar: false,
  images: false,
  duplicates: false,
  allCollections: false,
};

// Fields of a search.
export const search = {
  imageId: true,
  imageUrl: false,
  region: false,
  examples: true,
  groupBy: false,
  offset: true,
};
