"""InProcess: all silos in this process, one after the other.

For tests, studies and fits on data that are in one place anyway. Every message is written to bytes and read back, by
the same two ends that talk over a network, so nothing works here that would not work there.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any
from typing import Protocol as Structural

from sfumato.errors import InvalidData
from sfumato.federation.message import Message
from sfumato.federation.protocol import Protocol, run_key
from sfumato.federation.rounds import Delivery, Outcome, Terms, run_rounds
from sfumato.federation.silo import Silo, SiloStore
from sfumato.privacy.ledger import Ledger


class Runtime(Structural):
    """Where a protocol runs. A system's `fit` takes one, `InProcess()` by default."""

    def run(self, protocol: Protocol, silos: Sequence[Any] | None = None) -> Outcome:
        """Run the protocol to its end.

        Parameters
        ----------
        protocol : Protocol
        silos : sequence, optional
            The data of each silo, where the runtime does not find them at the silos.
        """
        ...


class InProcess:
    """Run a protocol over silos in this process.

    Parameters
    ----------
    terms : Terms
    stores : sequence of SiloStore, optional
        One for each silo, for silos that must remember between runs.
    ledgers : sequence of (Ledger, str), optional
        Ledger and account of each silo. Without it releases are charged to the ledger that is active, if any.

    Examples
    --------
    >>> from sfumato.federation import InProcess
    >>> outcome = InProcess().run(protocol, [silo_a, silo_b])  # doctest: +SKIP
    """

    def __init__(
        self,
        terms: Terms = Terms(),
        *,
        stores: Sequence[SiloStore] | None = None,
        ledgers: Sequence[tuple[Ledger, str]] | None = None,
    ) -> None:
        self.terms = terms
        self.stores = stores
        self.ledgers = ledgers

    def run(self, protocol: Protocol, silos: Sequence[Any] | None = None) -> Outcome:
        """Run the protocol to its end; see `run_rounds`.

        Raises
        ------
        InvalidData
            If `silos` is empty, or there is another number of stores or ledgers.
        TooFewParties
            If a round has too few good replies.
        """
        if not silos:
            raise InvalidData("silos must be a non-empty sequence: the data of each silo")
        for name, given in (("stores", self.stores), ("ledgers", self.ledgers)):
            if given is not None and len(given) != len(silos):
                raise InvalidData(f"{name} must have one entry for each of the {len(silos)} silos, got {len(given)}")
        ends = [self._end(protocol, node, data) for node, data in enumerate(silos)]
        return run_rounds(protocol, DirectExchange(ends), self.terms)

    def _end(self, protocol: Protocol, node: int, data: Any) -> Silo:
        ledger, dataset = (None, "") if self.ledgers is None else self.ledgers[node]
        store = None if self.stores is None else self.stores[node]
        return Silo(
            [protocol], lambda _: data, node=node, store=store, ledger=ledger, dataset=dataset, limit=self.terms.limit
        )


class DirectExchange:
    """Hands each request to its silo and waits; a reply that took longer than the timeout is dropped."""

    def __init__(self, silos: Sequence[Silo]) -> None:
        self._silos = {silo.node: silo for silo in silos}

    @property
    def parties(self) -> tuple[int, ...]:
        return tuple(sorted(self._silos))

    def __call__(self, requests: Mapping[int, bytes], timeout: float) -> Delivery:
        replies: dict[int, bytes] = {}
        lost: dict[int, str] = {}
        for party, request in requests.items():
            if party not in self._silos:
                lost[party] = "it is not there"
                continue
            began = time.monotonic()
            reply = self._silos[party].answer(request)
            if time.monotonic() - began > timeout:
                lost[party] = "no reply in time"
            else:
                replies[party] = reply
        return Delivery(replies, lost, sum(map(len, requests.values())), sum(map(len, replies.values())))


def run_and_remember(
    protocol: Protocol, silos: Sequence[Any] | None, runtime: Runtime | None
) -> tuple[Outcome, dict[int, Message] | None]:
    """Run a protocol; with all silos in this process, also return what each remembers: what never left it.

    Elsewhere that is in each silo's own store.
    """
    if runtime is not None and not isinstance(runtime, InProcess):
        return runtime.run(protocol, silos), None
    given = InProcess() if runtime is None else runtime
    terms = replace(given.terms, run=given.terms.run or secrets.token_hex(16))
    stores = [SiloStore() for _ in silos or ()] if given.stores is None else list(given.stores)
    outcome = InProcess(terms, stores=stores, ledgers=given.ledgers).run(protocol, silos)
    answers = {node: store.last(run_key(protocol, terms.run), node) for node, store in enumerate(stores)}
    return outcome, {node: answer.memory for node, answer in answers.items() if answer is not None}
