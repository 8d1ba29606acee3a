"""FederatedKaplanMeier: each site noises its own life table and sends it once; the server adds the tables.

For registries on machines of their own; any runtime of `sfumato.federation` runs it. It is `merge` over a network:
parallel composition over disjoint people (McSherry 2009).
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.base import clone

from sfumato.errors import InvalidData, ProtocolError
from sfumato.statistics.survival.cells import check_labels
from sfumato.statistics.survival.federated import merge
from sfumato.statistics.survival.noisy_counts import NoisyCounts
from sfumato.statistics.survival.releasing import read_request, stated_claim
from sfumato.statistics.survival.sound import DPKaplanMeier
from sfumato.statistics.survival.spending import Budget

#: Beyond this no sum of a million tables leaves int64, and no registry has as many people.
_MOST = 1 << 43
_CELLS = ("events", "censored", "tail")


class FederatedKaplanMeier:
    """A protocol of one round: private survival curves of the people of several sites together.

    A site fits the estimator to its own people, in its own `Release` and with its own ledger, and sends the noisy
    integers and nothing else. Grid, mechanism, variance and claim are functions of the estimator's parameters, which
    all sides must share, so none of them is taken from a message. *Neighbours* are those of the estimator, within one
    site; each person is in one site, so the sum promises each of them what their own site promises, whatever the other
    sites and the server do. The server sees every site's noisy table: it could publish each alone, at the same claim.

    What it cannot do: a site that sends a well-formed table of invented counts changes the sum, as it could by
    inventing patients. Tables of another shape or dtype are refused by name and their site counts as a drop-out.

    Parameters
    ----------
    estimator : DPKaplanMeier
        With a public grid: `edges`, or `horizon` and a number `n_bins`. It is not fitted and not changed.
    group_labels : sequence of str or int, optional
        Public labels. Each site's data then have groups.

    Raises
    ------
    InvalidData
        If the grid would be chosen from the data, the noise would be reproducible, or a label is not text or an
        integer.
    InvalidClaim
        If the privacy parameters do not hold.

    Examples
    --------
    >>> from sfumato.federation import InProcess
    >>> protocol = FederatedKaplanMeier(DPKaplanMeier(epsilon=1.0, horizon=10, n_bins=2))
    >>> outcome = InProcess().run(protocol, [([1, 4], [1, 0]), ([8, 9], [1, 1])])
    >>> outcome.result.noisy_counts_.sites
    2
    """

    name = "kaplan-meier"
    version = 1

    def __init__(self, estimator: DPKaplanMeier, *, group_labels: Sequence[Hashable] | None = None) -> None:
        request = read_request(estimator.get_params(deep=False), "Kaplan-Meier life table")
        if request.edges is None:
            raise InvalidData('sites must share a public grid: give edges, or horizon and a number n_bins, not "auto"')
        if request.seed is not None:
            raise InvalidData("noise_seed must be None: sites would draw the same noise")
        labels = None if group_labels is None else check_labels(group_labels)
        if any(isinstance(label, bool) or not isinstance(label, (str, int)) for label in labels or ()):
            raise InvalidData("group_labels must be text or integers")
        budget = Budget(request.bound, request.neighbours)
        bins = len(request.edges) - 1
        mechanism = request.mechanism or budget.cheapest(bins)
        self.estimator = estimator
        self.group_labels = labels
        groups = 1 if labels is None else len(labels)
        self._shapes = {"events": (groups, bins), "censored": (groups, bins), "tail": (groups,)}
        self._terms: dict[str, Any] = {
            "edges": request.edges,
            "variance": budget.variance(mechanism, bins),
            "neighbours": request.neighbours,
            "group_labels": labels,
            "claim": stated_claim(request, labels),
            "mechanism": mechanism,
        }

    def config(self) -> dict[str, Any]:
        """Return the estimator's parameters, the edges written out, and the labels."""
        parameters = self.estimator.get_params(deep=False)
        for name in ("noise_seed", "horizon", "n_bins", "expected_n", "expected_events"):
            del parameters[name]
        parameters["edges"] = [float(edge) for edge in self._terms["edges"]]
        return {**parameters, "group_labels": None if self.group_labels is None else list(self.group_labels)}

    def start(self) -> dict[str, Any]:
        """Nothing is known yet."""
        return {"sites": 0}

    def requests(self, state: Mapping[str, Any], parties: tuple[int, ...]) -> dict[int, dict[str, Any]]:
        """Ask every site for its table; there is nothing to tell them."""
        return {party: {} for party in parties}

    def check_reply(self, state: Mapping[str, Any], party: int, reply: Mapping[str, Any]) -> None:
        """Refuse anything but int64 cells of the agreed shape and of a size that people come in."""
        if set(reply) != set(_CELLS):
            raise ProtocolError(f"a table has the fields {', '.join(_CELLS)}")
        for name, shape in self._shapes.items():
            cells = reply[name]
            if not isinstance(cells, np.ndarray) or cells.dtype != np.int64 or cells.shape != shape:
                raise ProtocolError(f"field {name!r} must be an array of int64 of shape {shape}")
            if np.any(cells > _MOST) or np.any(cells < -_MOST):
                raise ProtocolError(f"field {name!r} must lie within ±2^43")

    def server_step(self, state: Mapping[str, Any], replies: Mapping[int, Mapping[str, Any]]) -> dict[str, Any]:
        """Keep the tables, stacked in the order of the parties."""
        stacked = {name: np.stack([reply[name] for reply in replies.values()]) for name in _CELLS}
        return {"sites": len(replies), **stacked}

    def finished(self, state: Mapping[str, Any]) -> bool:
        """Whether the one round is over."""
        return bool(state["sites"])

    def result(self, state: Mapping[str, Any]) -> DPKaplanMeier:
        """Return the estimator fitted to the sum, with the joint claim: what `merge` makes of the tables."""
        tables = []
        for k in range(state["sites"]):
            cells: dict[str, Any] = {name: state[name][k] for name in _CELLS}
            tables.append(NoisyCounts(**self._terms, **cells))
        names = ("actuarial", "interpolation", "shrink")
        return merge(tables, **{name: getattr(self.estimator, name) for name in names})

    def client_step(
        self, request: Mapping[str, Any], memory: Mapping[str, Any], data: Sequence[Any]
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Fit the estimator to a site's people, `(durations, events)` or `(durations, events, groups)`."""
        if len(request):
            raise ProtocolError("a request of this protocol is empty")
        durations, events, *groups = data
        if len(groups) != (self.group_labels is not None):
            raise InvalidData("the data must be durations, events and, if labels were agreed on, groups")
        fit = clone(self.estimator).fit(
            durations, events, groups=groups[0] if groups else None, group_labels=self.group_labels
        )
        return {name: getattr(fit.noisy_counts_, name) for name in _CELLS}, {}
