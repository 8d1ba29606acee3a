"""A synthesizer that finds nothing: what the tests of the shared part use, so that they test that part alone."""

from sfumato.synthesis.synthesizer import Synthesizer


class StandingStill(Synthesizer):
    def __init__(
        self,
        epsilon=1.0,
        delta=None,
        *,
        rho=None,
        workload="marginals",
        strategy="oneshot",
        rounds=3,
        per_round=2,
        n_synthetic=10,
        warm_start=True,
        neighbours="replace-one",
        unit="record",
        clip=False,
        journal=None,
        random_state=0,
        noise_seed=None,
    ):
        for name, value in list(locals().items()):
            if name != "self" and not name.startswith("_"):
                setattr(self, name, value)

    def _check_search(self, workloads):
        pass

    def _search(self, found, rows, random, *, last):
        return rows
