"""Study 45: no image is both trained on and tested on, for any seed; silos are dealt as the paper deals them."""

import numpy as np
import pytest

from sfumato.studies.hyperfl import GROUPS, deal, set_apart

LABELS = np.random.default_rng(0).permutation(np.repeat(np.arange(10), 100))


def test_images_set_apart_are_never_trained_on():
    train, test = set_apart(LABELS)
    assert sorted([*train, *test]) == list(range(1000))
    assert (np.bincount(LABELS[test]) == 20).all()
    for seed in range(3):
        dealt = np.concatenate(deal(LABELS, train, 5, 60, seed))
        assert len(set(dealt)) == 300
        assert not set(dealt) & set(test)


def test_a_silo_has_a_fifth_from_all_classes_and_the_rest_from_three():
    for k, rows in enumerate(deal(LABELS, set_apart(LABELS)[0], 5, 60, 0)):
        of_group = np.isin(LABELS[rows], GROUPS[k]).sum()
        assert 48 <= of_group <= 52  # 48 and, of the twelve, those of its own classes


def test_too_few_images_are_named():
    with pytest.raises(ValueError, match="too few images"):
        deal(LABELS, set_apart(LABELS)[0], 20, 60, 0)
