from dataclasses import replace

import numpy as np

from tests.unit.trainer.learning.synthetic import DIM, EACH, HALF_GROUPED, OBJECTS, all_folds, half_of_each, objects
from trainer.learning.holdout import FOLDS, folds


def test_groups_are_hidden_if_half_of_the_images_have_no_group() -> None:
    names = {query_set.name for fold in all_folds(objects(1, HALF_GROUPED)) for query_set in fold.query_sets}
    assert names == {"groups_seen", "groups_unseen", "views", "entries", "neighbourhood"}


def test_no_query_is_in_the_training_set() -> None:
    data = objects(3)
    for fold in all_folds(data):
        views = fold.training.views.reshape(-1, DIM)
        assert len(views)
        known = {row.tobytes() for row in (*fold.training.vectors, *views)}
        for query_set in fold.query_sets:
            assert not known & {row.tobytes() for row in query_set.vectors}
            assert all(len(relevant) for relevant in query_set.relevant)


def test_no_image_is_a_query_twice_and_all_are_but_those_of_absent_groups() -> None:
    data = objects(3)
    queries: dict[str, list[bytes]] = {
        name: [
            row.tobytes()
            for fold in all_folds(data)
            for found in fold.query_sets
            if found.name == name
            for row in found.vectors
        ]
        for name in ("groups_seen", "views")
    }
    assert all(len(rows) == len(set(rows)) for rows in queries.values())
    assert len(queries["views"]) == len(data)
    # Each fold leaves some groups out of its training, so they are no queries about known groups there.
    assert 0.8 * len(data) < len(queries["groups_seen"]) < len(data)
    assert len(all_folds(data)) == FOLDS


def test_views_of_trained_and_of_held_out_images_look_for_entries() -> None:
    data = objects(3)
    for fold in all_folds(data):
        (entries,) = (found for found in fold.query_sets if found.name == "entries")
        trained = {row.tobytes() for row in fold.training.vectors}
        shown = [int(np.flatnonzero((data.views == query).all(axis=2).any(axis=1))[0]) for query in entries.vectors]
        assert {data.vectors[image].tobytes() in trained for image in shown} == {True, False}
        for image, relevant in zip(shown, entries.relevant, strict=True):
            np.testing.assert_array_equal(relevant, np.flatnonzero(data.groups == data.groups[image]))


def test_images_with_a_single_view_are_trained_on_with_it() -> None:
    data = objects(3)
    single = replace(data, views=data.views[:, :1])
    for fold in all_folds(single):
        assert fold.training.views.shape[1] == 1
        known = {row.tobytes() for row in fold.training.views.reshape(-1, DIM)}
        assert not known & {row.tobytes() for found in fold.query_sets for row in found.vectors}


def test_only_images_that_are_new_to_an_earlier_head_are_queries() -> None:
    data = objects(1, HALF_GROUPED)
    # Some objects have new images, and some are entirely new.
    fresh = half_of_each(data) | (np.arange(len(data)) >= EACH * (OBJECTS - 4))
    known = {row.tobytes() for row in data.vectors[~fresh]} | {
        row.tobytes() for row in data.views[~fresh].reshape(-1, DIM)
    }
    query_sets = [query_set for fold in folds(data, fresh, 0) for query_set in fold.query_sets]
    assert {query_set.name for query_set in query_sets} == {
        *("groups_seen", "groups_unseen", "views", "entries", "neighbourhood")
    }
    assert not known & {row.tobytes() for query_set in query_sets for row in query_set.vectors}
    hidden = {
        int(data.groups[image])
        for query_set in query_sets
        if query_set.name == "groups_unseen"
        for relevant in query_set.relevant
        for image in relevant
    }
    assert hidden <= set(range(OBJECTS - 4, OBJECTS))
