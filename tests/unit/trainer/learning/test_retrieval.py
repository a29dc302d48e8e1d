import numpy as np

from trainer.learning.retrieval import retrieve


def test_metrics_follow_their_usual_definitions() -> None:
    gallery = np.eye(4, dtype=np.float32)
    query = np.array([[0.9, 0.8, 0.7, 0.1]], dtype=np.float32)
    found = retrieve(query, np.array([7]), gallery, np.array([5, 7, 5, 7]))
    # The relevant images have ranks 2 and 4: (1/2 + 2/4) / 2.
    assert found.means() == {"map": 0.5, "map_at_10": 0.5, "recall_at_1": 0.0, "recall_at_10": 1.0}
