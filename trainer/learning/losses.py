"""The two terms of the adapter's loss, each over one batch of images and views.

An image is pulled towards its views (InfoNCE; van den Oord et al., 2018) and towards the other images of its group
(supervised contrastive loss; Khosla et al., 2020, L_out). Both terms share their negatives, so they are one
cross-entropy towards weighted targets. A regularisation term, the pull, keeps the similarity of all other pairs as it
is in the frozen space (relational distillation; Park et al., 2019), so that the adapter preserves what no label covers.
"""

import torch

# Images with a higher similarity than this in the frozen space may show the same object. They are never negatives.
NEAR_IDENTICAL = 0.95
VERY_SMALL = -1e9


def contrastive(
    similarity: torch.Tensor, targets: torch.Tensor, ignored: torch.Tensor, temperature: float
) -> torch.Tensor:
    """Return the cross-entropy between target weights and the softmax of the similarities, averaged over all rows.

    similarity: cosines [b, b] in the tuned space. targets: weights [b, b], not negative; a row of zeros adds nothing.
    ignored: bool [b, b], pairs that are neither positives nor negatives, including the diagonal. A low temperature
    emphasises the most similar negatives.
    """
    # Adding is several times as fast as filling.
    scores = similarity / temperature + ignored.float() * VERY_SMALL
    weights = targets.sum(dim=1)
    return ((weights * torch.logsumexp(scores, dim=1)).sum() - (targets * scores).sum()) / len(scores)


def frozen_pull(similarity: torch.Tensor, frozen: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Return the weighted mean squared difference between two matrices of cosine similarities.

    similarity, frozen: cosines [b, b] in the tuned and in the frozen space. weights: [b, b]; pairs with weight 0 do not
    count.
    """
    return (weights * (similarity - frozen).square()).sum() / (weights > 0).sum().clamp(min=1)
