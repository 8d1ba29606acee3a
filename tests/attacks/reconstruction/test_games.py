"""The attribute game: a sound referee, generators that leak and that do not, and reports that repeat."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from sfumato.attacks.reconstruction import (
    AttributeGame,
    BayesianNetwork,
    IndependentHistograms,
    InferenceForest,
    NearestRecord,
    NonPrivate,
    PopulationForest,
    PrivBayes,
    ReconstructionAttack,
    utility,
)
from sfumato.attacks.reconstruction.networks import Information
from sfumato.attacks.reconstruction.targets import information_sensitivity
from sfumato.data.tabular import ACS, synthetic_census
from sfumato.errors import InvalidClaim, InvalidData
from sfumato.privacy.bounds import PureDP
from sfumato.privacy.ledger import Ledger

SECRET = "SEX"
DOMAIN = {name: range(k) for name, k in ACS.items()}


@pytest.fixture(scope="module")
def people():
    return synthetic_census(5000, ACS, random_state=0)


def play(people, generator, attacks=None, **change):
    settings = {"n": 300, "rows": 3000, "repetitions": 2, "mode": "all_bits", "random_state": 1, **change}
    return AttributeGame(generator, people, SECRET, **settings).run(attacks or {"linear": ReconstructionAttack(3)})


def test_resampled_people_are_read(people):
    outcome = play(people, NonPrivate()).outcomes["linear"]
    assert outcome.accuracy > 0.9
    assert outcome.auc > 0.95


class Deaf:
    """A generator that ignores the people it is given."""

    def __init__(self, rows):
        self.rows = rows

    @property
    def claim(self):
        return NonPrivate().claim

    def fit(self, frame):
        return self

    def sample(self, n):
        return self.rows.iloc[:n].reset_index(drop=True)


@pytest.mark.parametrize("name", ["apart", "deaf"])
def test_controls_leave_a_coin_a_coin(people, name):
    """About 600 bits: outside these bounds with probability 1e-6 if every guess is a coin."""
    generator = IndependentHistograms() if name == "apart" else Deaf(people.iloc[-3000:])
    attacks = {"linear": ReconstructionAttack(3), "forest": InferenceForest(), "nearest": NearestRecord()}
    for outcome in play(people.iloc[:2000], generator, attacks).outcomes.values():
        n = outcome.games
        right = int((outcome.guesses == outcome.bits).sum())
        # games of one table share its rows: allow for twice the deviation of independent ones
        reach = 2 * (stats.binom.isf(5e-7, n, 0.5) - n / 2)
        assert abs(right - n / 2) <= reach


class Cheat:
    """Reads the secret if the referee lets it: the frame it is given must not have it."""

    def fit(self, quasi):
        assert SECRET not in quasi.columns
        assert list(quasi.index) == list(range(len(quasi)))
        self.n = len(quasi)
        return self

    def score(self, synthetic, secret):
        return np.full(self.n, 0.5)


def test_an_attack_is_never_given_the_secret(people):
    poisoned = people.set_index(people[SECRET] * 10_000 + np.arange(len(people)))
    outcome = play(poisoned, NonPrivate(), Cheat()).outcomes["Cheat"]
    assert outcome.auc == 0.5


def test_the_published_game_throws_one_coin(people):
    report = play(people, NonPrivate(), mode="single_bit", repetitions=12)
    outcome = report.outcomes["linear"]
    assert outcome.games == 12
    assert outcome.accuracy > 0.5
    (evidence,) = report.to_evidence()
    assert evidence.verdict == "inconclusive"  # nothing formal is claimed
    assert report.ceiling is None


def test_privbayes_stays_below_its_ceiling_and_a_lie_is_falsified(people):
    generator = PrivBayes(1.0, DOMAIN, degree=2)
    report = play(people, generator, {"linear": ReconstructionAttack(3), "nearest": NearestRecord()})
    assert report.ceiling == pytest.approx(np.e / (1 + np.e))
    for outcome in report.outcomes.values():
        # the most that 1e-6 allows a truth at the ceiling
        assert (outcome.guesses == outcome.bits).sum() <= stats.binom.isf(1e-6, outcome.games, report.ceiling)

    class Liar(NonPrivate):
        @property
        def claim(self):
            return generator.claim

    lied = play(people, Liar(), mode="single_bit", repetitions=40).to_evidence()
    assert lied[0].verdict == "falsified"


def test_games_repeat_in_series_in_parallel_and_after_an_interruption(people, tmp_path):
    game = AttributeGame(
        NonPrivate(), people, SECRET, n=200, rows=1000, repetitions=4, mode="single_bit", random_state=3
    )
    attack = {"linear": ReconstructionAttack(3)}
    series, parallel = game.run(attack), game.run(attack, n_jobs=2)
    journal = tmp_path / "game.jsonl"
    game.run(attack, journal=journal)
    text = journal.read_text().splitlines()
    journal.write_text("\n".join(text[:3]) + "\n" + text[3][:20])
    resumed = game.run(attack, journal=journal)
    for other in (parallel, resumed):
        pd.testing.assert_frame_equal(series.to_frame(), other.to_frame())
    with pytest.raises(InvalidData, match="another game"):
        AttributeGame(NonPrivate(), people, SECRET, n=100, random_state=3).run(attack, journal=journal)


def test_a_population_knows_no_coin(people):
    forest = PopulationForest(people.iloc[2000:])
    outcome = play(people.iloc[:2000], NonPrivate(), {"population": forest}).outcomes["population"]
    reach = stats.binom.isf(5e-7, outcome.games, 0.5) - outcome.games / 2
    assert abs((outcome.guesses == outcome.bits).sum() - outcome.games / 2) <= reach


def test_utility_orders_the_generators(people):
    sample = people.iloc[:500].reset_index(drop=True)
    errors = [
        utility(sample, generator.fit(sample).sample(5000), random_state=0)["tvd3"]
        for generator in (NonPrivate(random_state=0), BayesianNetwork(3, random_state=0), IndependentHistograms())
    ]
    assert errors == sorted(errors)
    assert utility(sample, sample)["tvd3"] == 0


@pytest.mark.parametrize("n", [2, 3, 10, 57])
def test_replacing_a_record_moves_mutual_information_by_its_sensitivity_and_no_more(n):
    rng = np.random.default_rng(n)
    sizes = (2, 3, 2)
    node = (0, (1, 2))
    worst = 0.0
    for _ in range(2000):
        skew = rng.random() < 0.5
        codes = np.stack([np.where(rng.random(n) < 0.9, 0, rng.integers(k, size=n)) if skew else
                          rng.integers(k, size=n) for k in sizes])  # fmt: skip
        other = codes.copy()
        other[:, rng.integers(n)] = [rng.integers(k) for k in sizes]
        worst = max(worst, abs(Information(codes, sizes).of(node) - Information(other, sizes).of(node)))
    assert worst <= information_sensitivity(n) + 1e-9
    assert worst > information_sensitivity(n) / 4


def test_privbayes_charges_its_ledger_once_and_refuses_before_it_spends(people, tmp_path):
    ledger = Ledger(tmp_path / "b.db", create=True)
    ledger.create("acs", PureDP(1.0), unit="record", neighbours="replace-one")
    with ledger.charging("acs"):
        for bad in (people.iloc[:1], people.drop(columns="MIG"), people.replace({"MIG": {0: 99}})):
            with pytest.raises(InvalidData):
                PrivBayes(1.0, DOMAIN).fit(bad)
        with pytest.raises(InvalidClaim):
            PrivBayes(-1.0, DOMAIN).fit(people)
        assert ledger.account("acs").charges == 0
        PrivBayes(1.0, DOMAIN).fit(people.iloc[:200])
    assert ledger.account("acs").charges == 1
    assert PrivBayes(1.0, DOMAIN, noise_seed=1).claim.void


@pytest.mark.parametrize(
    "change", [{"n": 0}, {"rows": 0}, {"repetitions": 0}, {"mode": "two_bits"}, {"n": 10_000}, {"n": True}]
)
def test_bad_games_are_named(people, change):
    with pytest.raises(InvalidData):
        play(people, NonPrivate(), **change)


def test_without_a_unique_person_there_is_no_target():
    twins = pd.DataFrame({"a": [1, 1, 1, 1], "s": [0, 1, 0, 1]})
    with pytest.raises(InvalidData, match="no target"):
        AttributeGame(NonPrivate(), twins, "s", n=4, rows=10, repetitions=1).run(ReconstructionAttack(2))
