// What a finetune measured, by kind of question.

export const KINDS = ["groups_seen", "groups_unseen", "views"];

/**
 * Return for each kind of question that was measured the share of searches that found the right picture first, 0 to 1,
 * before learning and in the space that is in use, and the distribution of the scores of right pictures there.
 */
export function measured(quality) {
  const { parts = {}, adapter } = quality ?? {};
  // What was learned but not adopted is measured too.
  const space = adapter === "pca" ? "pca" : "adapter";
  return KINDS.filter((kind) => parts[kind]?.frozen && parts[kind][space]).map((kind) => ({
    kind,
    before: parts[kind].frozen.recall_at_1,
    after: parts[kind][space].recall_at_1,
    scores: parts[kind][space].scores ?? [],
  }));
}
