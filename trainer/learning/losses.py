"""The two losses of the adapter, each over one batch of images and views.

What belongs together is drawn together by the supervised contrastive loss (Khosla et al., 2020, "Supervised
Contrastive Learning", L_out). An image and its views belong together too, so for images without a group it is InfoNCE.
What has no label is held to the frozen space by its pairwise similarities (as in relational distillation, Park et al.,
2019), so that groups not seen keep their order, and what has one does not come between.
"""

import torch

# Images more alike than this in the frozen space may be one image twice: never pushed apart.
NEAR_IDENTICAL = 0.95
VERY_SMALL = -1e9


def contrastive(
    similarity: torch.Tensor, positive: torch.Tensor, ignored: torch.Tensor, temperature: float
) -> torch.Tensor:
    """The mean loss over the rows that have a positive; 0 where none has.

    similarity: cosines [b, b] in the tuned space; positive: bool [b, b], what belongs together; ignored: bool [b, b],
    pairs that are neither drawn together nor pushed apart, the diagonal among them. temperature: the lower it is, the
    more do the most similar of what does not belong together count.
    """
    anchors = positive.any(dim=1)
    if not bool(anchors.any()):
        return similarity.new_zeros(())
    scores = (similarity / temperature).masked_fill(ignored, VERY_SMALL)
    log_share = scores - torch.logsumexp(scores, dim=1, keepdim=True)
    each = -(log_share * positive).sum(dim=1)[anchors] / positive.sum(dim=1)[anchors]
    return each.mean()


def frozen_pull(
    similarity: torch.Tensor, frozen: torch.Tensor, unlabelled: torch.Tensor, mixed: torch.Tensor
) -> torch.Tensor:
    """The mean squared change of cosine similarity that may do harm; all four are [b, b].

    unlabelled: bool, pairs of which neither has a group: every change counts. mixed: pairs of which one has a group:
    only a rise counts. To push the two apart is what the groups want, and does the other one's ranking no harm.
    """
    if not bool((unlabelled | mixed).any()):
        return similarity.new_zeros(())
    change = similarity - frozen
    change = torch.where(mixed, change.clamp(min=0), change)
    return change[unlabelled | mixed].square().mean()
