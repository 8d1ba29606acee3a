"""SecureSum on the engine: the exact sum, drop-outs at every stage, and what the server and a liar can do."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from sfumato.errors import InvalidData, ProtocolError, TooFewParties
from sfumato.federation import InProcess, Message, SiloStore, Terms
from sfumato.federation.secure_sum import Contribution, SecureSum, client, make_signing_key, masks, shamir
from sfumato.privacy.bounds import Cryptographic

KEYS = [make_signing_key() for _ in range(10)]
ROSTER = [public for _, public in KEYS]
VALUES = np.random.default_rng(0).integers(-1000, 1001, (10, 5))


def silos(values=VALUES):
    return [Contribution(k, row, KEYS[k][0]) for k, row in enumerate(values)]


def protocol(n=10, **options):
    return SecureSum(ROSTER[:n], **{"length": 5, "bound": 1000, **options})


class Faulty(SecureSum):
    """Some silos do something else at some stage: `faults` maps (stage, party) to a change of the reply, or to None."""

    faults: dict = {}  # noqa: RUF012

    def client_step(self, request, memory, data):
        reply, after = super().client_step(request, memory, data)
        stage = (request["stage"], data.party)
        if stage in self.faults:
            if self.faults[stage] is None:
                raise ProtocolError("gone")
            reply = self.faults[stage](reply)
        return reply, after


def faulty(faults, n=10, **options):
    built = Faulty(ROSTER[:n], **{"length": 5, "bound": 1000, **options})
    built.faults = faults
    return built


def run(p, data=None, min_parties=None, **options):
    data = silos()[: len(p.roster)] if data is None else data
    return InProcess(Terms(min_parties=p.threshold if min_parties is None else min_parties), **options).run(p, data)


@settings(max_examples=15, deadline=None)
@given(st.integers(2, 6), st.integers(1, 8), st.sampled_from([1, 1000, 2**31, 2**59]), st.integers(0, 2**32))
def test_the_sum_is_exact(n, length, bound, seed):
    values = np.random.default_rng(seed).integers(-bound, bound + 1, (n, length))
    values[0] = bound
    p = SecureSum(ROSTER[:n], length=length, bound=bound)
    outcome = InProcess().run(p, silos(values))
    assert outcome.result.dtype == np.int64
    assert (outcome.result == values.sum(axis=0)).all()
    assert p.bits == (32 if n * bound < 2**31 else 64)
    assert len(outcome.history) == 5


def test_extremes_do_not_wrap():
    for bound in ((2**31 - 1) // 10, (2**63 - 1) // 10):
        for sign in (1, -1):
            p = protocol(bound=bound, length=2)
            outcome = InProcess().run(p, silos(np.full((10, 2), sign * bound)))
            assert (outcome.result == sign * bound * 10).all()


@pytest.mark.parametrize("stage", [1, 2, 3, 4, 5])
def test_thirty_per_cent_may_drop_out_at_any_stage(stage):
    gone = (1, 4, 9)
    outcome = run(faulty({(stage, party): None for party in gone}))
    summed = [k for k in range(10) if k not in gone or stage >= 4]
    assert (outcome.result == VALUES[summed].sum(axis=0)).all()
    assert outcome.state["parties"].tolist() == summed


def test_drop_outs_at_different_stages_add_up():
    outcome = run(faulty({(1, 0): None, (2, 3): None, (3, 7): None, (4, 8): None}, threshold=6))
    assert (outcome.result == VALUES[[1, 2, 4, 5, 6, 8, 9]].sum(axis=0)).all()
    with pytest.raises(TooFewParties):
        run(faulty({(1, 0): None, (2, 3): None, (3, 7): None, (4, 8): None}))
    with pytest.raises(TooFewParties):
        run(faulty({(1, 0): None, (2, 3): None, (4, 7): None, (5, 8): None}))


def test_too_few_for_the_threshold_end_the_run_whatever_the_terms_say():
    with pytest.raises(ProtocolError, match="6 silos are left, and the threshold is 7"):
        run(faulty({(3, party): None for party in range(4)}), min_parties=1)


def test_nothing_is_left_when_it_is_over(tmp_path):
    stores = [SiloStore(tmp_path / f"{k}.db") for k in range(3)]
    secrets = []

    class Watching(SecureSum):
        def client_step(self, request, memory, data):
            secrets.extend(memory[name] for name in ("box-secret", "mask-secret", "seed") if name in memory)
            return super().client_step(request, memory, data)

    outcome = run(Watching(ROSTER[:3], length=5, bound=1000), silos()[:3], stores=stores)
    assert set(outcome.state) == {"stage", "sum", "parties"}
    assert len(set(secrets)) == 9
    for path in tmp_path.iterdir():
        raw = path.read_bytes()
        assert not any(secret in raw for secret in secrets)


@pytest.mark.parametrize(
    ("stage", "change", "reason"),
    [
        (1, lambda r: {**r, "keys": bytes(64)}, "not signed by its key"),
        (1, lambda r: {**r, "signature": bytes(64)}, "not signed by its key"),
        (1, lambda r: {**r, "keys": b"short"}, "length 64"),
        (2, lambda r: {**r, "commitment": b""}, "length 32"),
        (2, lambda r: {k: v for k, v in r.items() if k != "box/0"}, "expected the fields"),
        (2, lambda r: {**r, "box/0": b"short"}, "length 82"),
        (3, lambda r: {"masked": r["masked"].astype(float)}, "array of uint32"),
        (3, lambda r: {"masked": r["masked"][1:]}, "shape"),
        (4, lambda r: {"signature": bytes(64)}, "did not sign for those who arrived"),
        (4, lambda r: {"signature": bytes(63)}, "length 64"),
        (5, lambda r: {**r, "share/99": bytes(33)}, "silos that sent some"),
        (5, lambda r: {**r, "share/0": b""}, "length 33"),
    ],
)
def test_a_reply_of_another_form_is_a_drop_out(stage, change, reason):
    p = faulty({(stage, 2): change})
    with pytest.raises(TooFewParties, match=f"silo 2: .*{reason}"):
        run(p, min_parties=10)
    outcome = run(p)
    summed = [k for k in range(10) if k != 2 or stage >= 4]
    assert (outcome.result == VALUES[summed].sum(axis=0)).all()


def test_a_wrong_share_is_found_and_done_without():
    def garbage(reply):
        return {name: bytes(33) for name in reply}

    outcome = run(faulty({(5, 2): garbage, (3, 5): None}))
    assert (outcome.result == VALUES[[k for k in range(10) if k != 5]].sum(axis=0)).all()
    with pytest.raises(ProtocolError, match="silo 0's secret do not give it"):
        run(faulty({(5, party): garbage for party in range(4)}))


def test_boxes_that_do_not_open_end_the_run_and_name_their_sender():
    def garbage(reply):
        return {name: value if name == "commitment" else bytes(82) for name, value in reply.items()}

    with pytest.raises(ProtocolError, match="silo 2's secret do not give it"):
        run(faulty({(2, 2): garbage}))


def conversation(n=4, threshold=3):
    """Go through the stages by hand, as a server may."""
    p = protocol(n, threshold=threshold)
    data = silos()[:n]
    state, memories = Message(p.start()), {k: Message({}) for k in range(n)}

    def wave():
        nonlocal state
        replies = {}
        for party, request in p.requests(state, tuple(range(n))).items():
            reply, memory = p.client_step(Message(request), memories[party], data[party])
            replies[party], memories[party] = Message(reply), Message(memory)
        state = Message(p.server_step(state, replies))
        return replies

    return p, data, memories, wave, lambda: state


def agree(p, memories, data, arrived):
    """What each of `arrived` says when it is told that these arrived; and their memories after it."""
    request = Message({"stage": 4, "arrived": np.array(arrived, np.int64)})
    said = {party: p.client_step(request, memories[party], data[party]) for party in arrived}
    agreed = {f"agreed/{party}": reply["signature"] for party, (reply, _) in said.items()}
    return agreed, {party: Message(after) for party, (_, after) in said.items()}


def test_no_silo_gives_both_shares_of_another_whatever_is_asked():
    p, data, memories, wave, _ = conversation()
    for _ in range(3):
        wave()
    for arrived in ([0, 1, 2, 3], [0, 1, 2], [0, 2, 3]):
        agreed, after = agree(p, memories, data, arrived)
        request = Message({"stage": 5, **agreed})
        reply, last = p.client_step(request, after[0], data[0])
        assert set(reply) == {f"share/{party}" for party in range(4)}
        for party in range(4):
            kind = "seed" if party in arrived else "key"
            assert reply[f"share/{party}"] == memories[0][f"{kind}/{party}"]
        with pytest.raises(ProtocolError, match="out of order"):  # and not twice
            p.client_step(request, Message(last), data[0])
        with pytest.raises(ProtocolError, match="out of order"):  # nor does it sign for another list
            agree(p, {**memories, 0: after[0]}, data, [0, 1, 3])
    for arrived in ([0, 1], [1, 2, 3], [0, 1, 2, 3, 4], []):
        with pytest.raises(ProtocolError, match="those who arrived"):
            p.client_step(Message({"stage": 4, "arrived": np.array(arrived, np.int64)}), memories[0], data[0])


def told_apart(signatures_of):
    """Five silos, threshold three. Each is told of three arrivals, silos 0 and 1 and one other, and not of the same.

    No silo is out by its own list, and every other one but 0 and 1 is out by three lists: enough shares of its key.
    """
    p, data, memories, wave, state = conversation(5, 3)
    for _ in range(3):
        wave()
    lists = {0: [0, 1, 4], 1: [0, 1, 2], 2: [0, 1, 2], 3: [0, 1, 3], 4: [0, 1, 4]}
    shares = {party: {} for party in range(5)}
    for k, arrived in lists.items():
        request = Message({"stage": 4, "arrived": np.array(arrived)})
        reply, after = p.client_step(request, memories[k], data[k])
        signatures = signatures_of(k, arrived, reply["signature"])
        request = Message({"stage": 5, **{f"agreed/{u}": signature for u, signature in signatures.items()}})
        reply, _ = p.client_step(request, Message(after), data[k])
        for party in range(5):
            kind = "seed" if party in arrived else "key"
            shares[party].setdefault(kind, {})[k + 1] = reply[f"share/{party}"]
    total = sum(state()[f"masked/{k}"] for k in (0, 1))
    for k in (0, 1):
        total = total - masks.mask(shamir.combine(dict(list(shares[k]["seed"].items())[:3])), 5, 32)
        for other in (2, 3, 4):
            secret = shamir.combine(shares[other]["key"])
            key = masks.agreed_key(secret, state()[f"keys/{k}"][32:64], client.pair_purpose(k, other), state()["nonce"])
            total = total - client.signed_pair_mask(p, k, other, key)
    return total.view(np.int32)


def test_a_server_that_tells_silos_of_different_arrivals_gets_no_sum_of_too_few(monkeypatch):
    with pytest.raises(ProtocolError, match="did not sign for those who arrived"):
        told_apart(lambda k, arrived, own: {u: own if u == k else bytes(64) for u in arrived})
    # The twin without the check: the sum of two silos, where the threshold says three.
    monkeypatch.setattr(SecureSum, "verify_set", lambda *_: None)
    total = told_apart(lambda k, arrived, own: {u: bytes(64) for u in arrived})
    assert (total == VALUES[:2].sum(axis=0)).all()


def test_silos_that_saw_other_keys_do_not_sign_for_one_another():
    """A server that plays back a silo's keys of an old run, under the old nonce, finds nobody to agree with."""
    p, data, memories, wave, state = conversation()
    for _ in range(3):
        wave()
    view = client.view_of({k: state()[f"keys/{k}"][:64] for k in range(4)})
    assert {memories[k]["view"] for k in range(4)} == {view}
    old = Message({**memories[1], "view": client.view_of({k: bytes(64) for k in range(4)})})
    agreed, after = agree(p, {**memories, 1: old}, data, [0, 1, 2, 3])
    with pytest.raises(ProtocolError, match="silo 1 did not sign for those who arrived with these keys"):
        p.client_step(Message({"stage": 5, **agreed}), after[0], data[0])
    few = {name: signature for name, signature in agreed.items() if name in ("agreed/0", "agreed/2")}
    with pytest.raises(ProtocolError, match="2 silos agreed"):
        p.client_step(Message({"stage": 5, **few}), after[0], data[0])
    for name in ("agreed/9", "agreed/x", "share/2"):
        with pytest.raises(ProtocolError):
            p.client_step(Message({"stage": 5, **few, name: bytes(64)}), after[0], data[0])


@pytest.mark.parametrize("stage", [0, 2, 3, 4, 5, 6])
def test_stages_come_in_order(stage):
    p = protocol(3)
    with pytest.raises(ProtocolError):
        p.client_step(Message({"stage": stage}), Message({}), silos()[0])


def test_a_server_cannot_swap_keys():
    p, data, memories, wave, state = conversation()
    wave()
    request = dict(p.requests(state(), (0, 1, 2, 3))[0])
    own = masks.public_of(bytes(range(32))) * 2
    for swapped in (
        {"keys/1": own + bytes(64)},
        {"keys/1": request["keys/2"]},
        {"keys/0": request["keys/1"]},
        {"keys/9": request["keys/1"]},
        {"keys/x": request["keys/1"]},
        {"keys/01": request["keys/1"]},
    ):
        with pytest.raises(ProtocolError):
            p.client_step(Message({**request, **swapped}), memories[0], data[0])
    few = {name: request[name] for name in ("stage", "keys/0", "keys/1")}
    with pytest.raises(ProtocolError, match="2 silos sent keys"):
        p.client_step(Message(few), memories[0], data[0])


def test_keys_of_another_run_are_not_accepted():
    first, second = conversation(), conversation()
    first[3]()
    second[3]()
    request = dict(first[0].requests(first[4](), (0, 1, 2, 3))[0])
    old = second[0].requests(second[4](), (0, 1, 2, 3))[0]["keys/1"]
    with pytest.raises(ProtocolError, match="silo 1 are not signed"):
        first[0].client_step(Message({**request, "keys/1": old}), first[2][0], first[1][0])


def test_what_the_server_sees_of_one_silo_is_uniform():
    """All that came in but one silo's own secrets: its masked vector is uniform (probability of a false alarm 1e-6)."""
    p = protocol(4, threshold=3, length=20_000, bound=1)
    data = [replace(d, values=np.zeros(20_000, np.int64)) for d in silos()[:4]]
    seen = []

    class Watching(SecureSum):
        def client_step(self, request, memory, d):
            reply, after = super().client_step(request, memory, d)
            if request["stage"] == 3:
                seen.append(reply["masked"])
            return reply, after

    watching = Watching(p.roster, length=p.length, bound=1, threshold=3)
    outcome = InProcess().run(watching, data)
    assert (outcome.result == 0).all()
    for view in (seen[0], seen[0] + seen[1], seen[0] + seen[1] + seen[2]):  # no partial sum says anything either
        counts = np.bincount(view.view(np.uint8), minlength=256)
        assert stats.chisquare(counts).pvalue > 1e-6 / 3


def test_a_seed_or_a_pair_alone_does_not_unmask():
    """Double masking: with the seed, or with all pair masks, but not both, the vector stays hidden."""
    p, data, memories, wave, state = conversation()
    wave()
    wave()
    seed, secret = memories[0]["seed"], memories[0]["mask-secret"]
    nonce = state()["nonce"]
    masked = wave()[0]["masked"]
    without_seed = masked - masks.mask(seed, 5, 32)
    pairs = np.zeros(5, np.uint32)
    for other in (1, 2, 3):
        public = state()[f"keys/{other}"][32:64]
        key = masks.agreed_key(secret, public, client.pair_purpose(0, other), nonce)
        pairs = pairs + client.signed_pair_mask(p, 0, other, key)
    without_pairs = masked - pairs
    truth = data[0].values.astype(np.uint32)
    assert (without_seed - pairs == truth).all()
    assert (without_seed != truth).any()
    assert (without_pairs != truth).any()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"values": np.full(5, 1001)}, "within the bound"),
        ({"values": np.zeros(4, int)}, "5 integers"),
        ({"values": np.zeros(5)}, "5 integers"),
        ({"signing_key": KEYS[1][0]}, "not the one in the roster"),
        ({"signing_key": b"short"}, "32 bytes"),
        ({"party": 10}, "number in the roster"),
    ],
)
def test_a_contribution_that_cannot_enter_is_refused_at_home(change, reason, caplog):
    """The silo's log says why; the server learns that, and nothing of the vector."""
    data = silos()
    data[0] = replace(data[0], **change)
    with pytest.raises(TooFewParties, match=r"silo 0: it refused: the silo's step failed \(InvalidData\)\)$"):
        run(protocol(), data, min_parties=10)
    assert reason in caplog.text
    assert (run(protocol(), data).result == VALUES[1:].sum(axis=0)).all()


def test_data_of_another_type_are_refused(caplog):
    with pytest.raises(TooFewParties, match=r"failed \(InvalidData\)"):
        run(protocol(), [[1, 2]] * 10, min_parties=10)
    assert "must be a Contribution, got list" in caplog.text


@pytest.mark.parametrize(
    ("roster", "options", "reason"),
    [
        (ROSTER[:1], {}, "roster"),
        ([ROSTER[0]] * 3, {}, "distinct"),
        (["x", "y"], {}, "hexadecimal"),
        (ROSTER, {"length": 0}, "length"),
        (ROSTER, {"bound": 0}, "bound"),
        (ROSTER, {"bound": 2**62}, "64 bits"),
        (ROSTER, {"threshold": 5}, "threshold"),
        (ROSTER, {"threshold": 11}, "threshold"),
    ],
)
def test_parameters_are_checked(roster, options, reason):
    with pytest.raises(InvalidData, match=reason):
        SecureSum(roster, **{"length": 5, "bound": 10, **options})


def test_the_claim_names_its_adversary():
    claim = protocol().claim
    assert isinstance(claim.bound, Cryptographic)
    assert not claim.formal
    assert "up to 6 silos" in str(claim)
    assert "a server that lies, together with up to 3 silos" in str(claim)
    assert "follows the protocol" in str(claim)
    assert shamir.SHARE_BYTES * 2 + 16 == client.BOX_BYTES
