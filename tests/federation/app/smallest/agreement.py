"""What a run of a smallest protocol on another runtime must have in common with the run in one process."""

import pytest

#: Protocols whose smallest run draws nothing at random but what their configuration names.
WITHOUT_NOISE = ("exact", "heavy-hitters", "bandit", "quantized-training", "shared-randomness", "hyperfl", "supermask")


def assert_agrees(name, outcome, plain):
    """Equal states to the last bit where nothing is drawn; elsewhere what was asked, answered, sent and promised."""
    assert set(outcome.state) == set(plain.state)
    assert [wave.answered for wave in outcome.history] == [wave.answered for wave in plain.history]
    assert outcome.payload_bytes == pytest.approx(plain.payload_bytes, rel=0.1)  # noise has digits
    assert outcome.wire_bytes > outcome.payload_bytes
    if name in WITHOUT_NOISE:
        assert outcome.state.to_bytes() == plain.state.to_bytes()
    if name == "kaplan-meier":
        counts, expected = outcome.result.noisy_counts_, plain.result.noisy_counts_
        assert (counts.variance, counts.sites) == (expected.variance, expected.sites)
    if name == "secure-sum":
        assert outcome.result.tolist() == plain.result.tolist() == [3, -10]
