"""The exhibit of the bandits' room: the auditor catches it and passes its fix."""

from sfumato.attacks.bayesian_audit import Auditor
from sfumato.studies.bandit_exhibits import bandits


def test_the_exhibit_is_caught_and_its_fix_is_not():
    """The fix is accused with probability 1e-6."""
    for exhibit in bandits():
        options = {"n_train": 1000, "n_select": 2000, "n_test": 10_000, "random_state": 1, "progress": False}
        broken = Auditor(**options).audit(exhibit.mechanism, exhibit.claim, pairs=exhibit.pairs)
        fixed = Auditor(**options, alpha=1e-6).audit(exhibit.fixed, exhibit.claim, pairs=exhibit.pairs)
        assert broken.verdict == "violation"
        assert fixed.verdict == "no violation found"
