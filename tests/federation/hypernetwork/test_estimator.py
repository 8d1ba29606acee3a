"""HyperFL: the official round, what is on the wire and what is not, runtimes, errors."""

import warnings

import numpy as np
import pytest
import torch
from sklearn.base import clone
from small_silos import Watching, silos
from torch import nn
from torch.nn import functional

from sfumato.errors import InvalidData, ProtocolError, TooFewParties
from sfumato.federation import InProcess, Message, SiloStore, Terms
from sfumato.federation.flower import run_locally, to_client_app, to_server_app
from sfumato.federation.hypernetwork import FederatedAveraging, HyperFL, HyperNetwork, accuracy
from sfumato.federation.protocol import run_key

SMALL = {"embedding_dim": 6, "hidden_dim": 4, "rounds": 2, "local_epochs": 2, "batch_size": 8, "random_state": 0}


def fit(**change):
    return HyperFL(**{"extractor": "mlp-digits", "num_classes": 3, **SMALL, **change})


def test_silos_learn_and_all_that_is_promised_is_there():
    model = fit(rounds=8, head_epochs=2, hidden_dim=16, embedding_seed=0).fit(silos())
    assert model.score(silos()) > 0.7  # of the largest class there is less than half
    assert len(model.models_) == 3
    assert not model.claim_.formal
    assert isinstance(model.hypernetwork_, HyperNetwork)
    assert len(model.history_) == 8
    assert clone(model).get_params()["hidden_dim"] == 16


def test_bytes_up_are_those_of_phi():
    """Its numbers, and a few names."""
    model = fit().fit(silos())
    assert not model.claim_.void
    assert "inversion needs the private embedding" in str(model.claim_)
    numbers = 4 * sum(value.numel() for value in model.hypernetwork_.state_dict().values())
    assert 0 < model.bytes_up_ / 6 - numbers < 500
    alone = FederatedAveraging("mlp-digits", 3, share="extractor", rounds=2, batch_size=8).fit(silos())
    assert model.bytes_up_ / alone.bytes_up_ > 4  # hidden_dim + 1 times the extractor, and its hidden layer


def test_one_round_is_that_of_the_official_code():
    """Written out in its two stages: load_state_dict cuts the graph, a vector-Jacobian product mends it."""
    work = fit(grad_clip=0.5).protocol().work
    (images, labels), settings = (torch.from_numpy(each) for each in silos()[0]), work.settings
    shared = work.start()
    update, kept = work.round(shared, {}, images, labels, [0, 0])
    first = work.round(shared, {}, images, labels, [0, 0])[1]  # its embedding is another one: that of the round is lost
    assert not (first["embedding"] == kept["embedding"]).all()

    work.embedding_seed = 3
    update, kept = work.round(shared, {}, images, labels, [0, 0])
    random = settings.random(0, 0)
    network, extractor, head = work.network(shared), work.extractor, nn.Linear(32, 3)
    bound = 1 / np.sqrt(32)
    with torch.no_grad():
        for parameter, shape in ((head.weight, (3, 32)), (head.bias, (3,))):
            parameter.copy_(torch.from_numpy(random.uniform(-bound, bound, shape).astype(np.float32)))
    v = torch.from_numpy(np.random.default_rng([3, 0, 45]).standard_normal(6).astype(np.float32)).requires_grad_()
    extractor.load_state_dict(network(v))
    optimizer = torch.optim.SGD(head.parameters(), lr=0.1, momentum=0.5, weight_decay=5e-4)
    for rows in settings.batches(20, 1, random):
        optimizer.zero_grad()
        functional.cross_entropy(head(extractor(images[rows])), labels[rows]).backward()
        optimizer.step()
    optimizer = torch.optim.SGD([*network.parameters(), v], lr=0.02, momentum=0.5, weight_decay=5e-4)
    for rows in settings.batches(20, 2, random):
        optimizer.zero_grad()
        theta = network(v)
        extractor.load_state_dict(theta)
        extractor.zero_grad()
        functional.cross_entropy(head(extractor(images[rows])), labels[rows]).backward()
        torch.autograd.backward(list(theta.values()), [p.grad for p in extractor.parameters()])
        nn.utils.clip_grad_norm_(network.parameters(), 0.5)
        nn.utils.clip_grad_norm_([v], 0.5)
        optimizer.step()
    for name, value in network.state_dict().items():
        assert torch.allclose(value - shared[name], update[name], atol=1e-6)
    assert np.allclose(v.detach(), kept["embedding"], atol=1e-6)
    assert np.allclose(head.weight.detach(), kept["head/weight"], atol=1e-6)


def test_embedding_and_classifier_never_leave_and_differ_between_silos():
    protocol = Watching(fit().protocol())
    InProcess().run(protocol, silos())
    phi = set(protocol.start()) - {"round"}
    assert phi == {
        "hidden.weight",
        "hidden.bias",
        *(f"heads.{k}.{part}" for k in (0, 1) for part in ("weight", "bias")),
    }
    sent = b""
    for request, reply, _ in protocol.seen:
        assert set(request) == phi | {"round", "party"}
        assert set(reply) == phi | {"examples"}
        sent += Message(request).to_bytes() + Message(reply).to_bytes()
    for _, _, memory in protocol.seen:
        for name in ("embedding", "head/weight", "theta/1.weight"):
            assert np.asarray(memory[name]).tobytes() not in sent
    first = [memory["embedding"] for _, _, memory in protocol.seen[:3]]
    assert len({each.tobytes() for each in first}) == 3


def test_embeddings_do_not_follow_from_the_random_state():
    embeddings = []
    for _ in range(2):
        protocol = Watching(fit(rounds=1).protocol())
        InProcess().run(protocol, silos(1))
        embeddings.append(protocol.seen[0][2]["embedding"])
    assert not np.allclose(*embeddings, atol=0.1)


def test_an_embedding_seed_is_reproducible_and_voids_the_claim():
    one, two = (fit(embedding_seed=1).fit(silos()) for _ in range(2))
    assert one.outcome_.state == two.outcome_.state
    assert one.claim_.void
    assert fit(embedding_seed=2).fit(silos()).outcome_.state != one.outcome_.state


@pytest.mark.parametrize(
    "estimator",
    [fit(embedding_seed=1), FederatedAveraging("mlp-digits", 3, rounds=2, batch_size=8, random_state=0)],
    ids=["hyperfl", "averaging"],
)
def test_flower_gives_the_same_phi_byte_for_byte(tmp_path, estimator):
    pytest.importorskip("flwr")
    data, protocol, outcomes = silos(), estimator.protocol(), []
    server = to_server_app([protocol], finished=lambda _, outcome: outcomes.append(outcome))
    client = to_client_app([protocol], lambda _, config: data[config["partition-id"]])
    nodes = [{"partition-id": k, "silo-store": str(tmp_path / f"{k}.db")} for k in range(3)]
    run_locally(server, client, nodes, {"parties": 3, "min-parties": 0, "timeout": 60, "run": "r", "state-dir": ""})
    assert outcomes[0].state.to_bytes() == InProcess().run(protocol, data).state.to_bytes()


def test_a_silo_that_diverges_is_refused_by_the_name_of_the_weight():
    data = silos()
    data[1] = (data[1][0] * np.float32(1e30), data[1][1])
    with pytest.raises(TooFewParties, match=r"silo 1: it refused: 'h.*' is NaN or infinite.*diverged"):
        fit().fit(data)
    model = fit().fit(data, runtime=InProcess(Terms(min_parties=2)))
    assert model.history_[0].answered == (0, 2)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda reply: {**reply, "embedding": np.zeros(6, np.float32)}, "expected the fields"),
        (lambda reply: {**reply, "hidden.bias": np.zeros(5, np.float32)}, "'hidden.bias' must have shape"),
        (lambda reply: {**reply, "hidden.bias": reply["hidden.bias"].astype(float)}, "'hidden.bias' must be an array"),
        (lambda reply: {**reply, "examples": 0}, "'examples' must be an integer"),
        (lambda reply: {**reply, "hidden.bias": np.full(4, np.nan, np.float32)}, "'hidden.bias' holds NaN"),
    ],
)
def test_bad_uploads_are_refused_by_name(spoil, reason):
    class Spoiling(Watching):
        def client_step(self, request, memory, data):
            reply, after = self._protocol.client_step(request, memory, data)
            return (spoil(reply) if request["party"] == 1 else reply), after

    with pytest.raises(TooFewParties, match=f"silo 1: .*{reason}"):
        InProcess().run(Spoiling(fit().protocol()), silos())


def test_a_silo_uploads_once_a_round_whatever_it_is_asked():
    """A server that asked on would have more uploads than the claim of all rounds is about."""
    protocol = fit(rounds=2).protocol()
    request = Message(protocol.requests(protocol.start(), (0,))[0])
    _, memory = protocol.client_step(request, Message({}), silos()[0])
    with pytest.raises(ProtocolError, match="round 0 or a later one was answered"):
        protocol.client_step(request, Message(memory), silos()[0])
    with pytest.raises(ProtocolError, match="round"):
        protocol.client_step(Message({**request, "round": 2}), Message(memory), silos()[0])
    protocol.client_step(Message({**request, "round": 1}), Message(memory), silos()[0])


def test_updates_are_averaged_by_their_records():
    protocol = fit(embedding_seed=1, rounds=1).protocol()
    watching, data = Watching(protocol), silos()
    data[0] = tuple(each[:5] for each in data[0])
    after = InProcess().run(watching, data).result
    before = protocol.work.start()
    for name in before:
        mean = (
            sum(n * reply[name].astype(float) for n, (_, reply, _) in zip((5, 20, 20), watching.seen, strict=True)) / 45
        )
        assert np.allclose(after[name], before[name] + mean, atol=1e-6)


def test_statistics_of_normalisation_stay_local():
    extractor = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.BatchNorm1d(8), nn.LeakyReLU(), nn.Linear(8, 8))
    with pytest.warns(UserWarning, match="statistics of normalisation layers stay in each silo"):
        protocol = Watching(fit(extractor=extractor, batch_size=10).protocol())
    data = silos()
    data[1] = (data[1][0] + 10, data[1][1])
    InProcess().run(protocol, data)
    assert not any("running" in name for request, reply, _ in protocol.seen for name in {**request, **reply})
    means = [memory["statistics/2.running_mean"] for _, _, memory in protocol.seen]
    assert not np.allclose(means[3], means[4], atol=0.5)
    steps = [int(memory["statistics/2.num_batches_tracked"]) for _, _, memory in protocol.seen]
    assert steps == [6, 6, 6, 12, 12, 12]  # they outlive the round
    model = protocol.work.model(protocol.seen[4][2])
    assert torch.allclose(model[0][2].running_mean, torch.from_numpy(np.array(means[4])))


def test_a_new_silo_learns_only_what_is_its_own():
    model = fit(rounds=8, hidden_dim=16, embedding_seed=0).fit(silos())
    phi = {name: value.clone() for name, value in model.hypernetwork_.state_dict().items()}
    images, labels = silos(4)[3]
    assert accuracy(model.personalize(images, labels, steps=150), images, labels) > 0.9
    assert all((phi[name] == value).all() for name, value in model.hypernetwork_.state_dict().items())


def test_silos_with_stores_of_their_own_have_their_models_there():
    stores = [SiloStore() for _ in range(3)]
    estimator = fit()
    runtime = InProcess(Terms(run="r"), stores=stores)
    model = estimator.fit(silos(), runtime=runtime)
    protocol = estimator.protocol()
    mine = protocol.work.model(stores[2].last(run_key(protocol, "r"), 2).memory)
    images = torch.from_numpy(silos()[2][0])
    assert (mine(images) == model.models_[2](images)).all()

    class Elsewhere:
        run = InProcess().run

    assert not hasattr(fit().fit(silos(), runtime=Elsewhere()), "models_")


def test_one_class_and_fewer_rows_than_a_batch_are_fine():
    images, labels = silos()[0]
    model = fit(batch_size=100).fit([(images, np.zeros_like(labels)), (images[:1], labels[:1])])
    assert len(model.models_) == 2


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"num_classes": 0}, "num_classes must be at least 1"),
        ({"rounds": 0}, "rounds must be at least 1"),
        ({"local_epochs": 0}, "local_epochs"),
        ({"batch_size": 0}, "batch_size"),
        ({"head_epochs": -1}, "head_epochs"),
        ({"learning_rate": 0}, "learning_rate"),
        ({"momentum": 1}, "momentum"),
        ({"weight_decay": -1}, "weight_decay"),
        ({"grad_clip": float("nan")}, "grad_clip"),
        ({"embedding_dim": 0}, "embedding_dim"),
        ({"extractor": 3}, "extractor must be a torch module or a name, got int"),
        ({"extractor": nn.Flatten()}, "must have parameters"),
        ({"hidden_dim": 100_000}, "more than 50,000,000"),
    ],
)
def test_bad_parameters_are_named(change, match):
    with pytest.raises(InvalidData, match=match):
        fit(**change).fit(silos())


IMAGES, LABELS = silos()[0]


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (IMAGES, "pair of images and labels"),
        ((IMAGES[:, 0], LABELS), "shape"),
        ((IMAGES[:0], LABELS[:0]), "shape"),
        ((IMAGES + np.nan, LABELS), "NaN"),
        ((IMAGES, LABELS[:3]), "labels must be 20 integers"),
        ((IMAGES, LABELS.astype(float)), "labels must be 20 integers, got float64"),
        ((IMAGES, LABELS + 1), r"labels must lie in 0 \.\. 2, got 1 \.\. 3"),
    ],
)
def test_bad_data_are_named(data, match):
    with pytest.raises(InvalidData, match=match):
        fit().fit([data])
    with pytest.raises(InvalidData, match="steps"):
        fit().personalize(IMAGES, LABELS, steps=0)


def test_an_extractor_that_gives_no_features_is_named():
    with pytest.raises(TooFewParties, match="InvalidData"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit(extractor=nn.Sequential(nn.Conv2d(1, 3, 3))).fit(silos())
