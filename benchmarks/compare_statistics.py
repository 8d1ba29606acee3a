"""Private statistics beside diffprivlib and OpenDP: measured error at equal ε, on the same data, in one run.

For docs/comparison.md. diffprivlib needs an older scikit-learn, so it runs in an environment of its own:

    python3.11 -m venv peer && peer/bin/pip install diffprivlib==0.6.6 scikit-learn==1.5.2
    python benchmarks/compare_statistics.py --peer peer/bin/python
"""

import argparse
import json
import subprocess
import tempfile
import warnings
from pathlib import Path

import numpy as np

REPEATS = 100
EPSILONS = (0.1, 1.0)


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--peer", help="python of an environment with diffprivlib")
    arguments.add_argument("--data", help=argparse.SUPPRESS)
    given = arguments.parse_args()
    warnings.simplefilter("ignore")
    if given.data:
        print(json.dumps(diffprivlib_errors(np.load(given.data))))
        return
    data = load()
    table = {"sfumato": ours(data), "OpenDP": opendp_errors(data)}
    if given.peer:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "data.npz"
            np.savez(file, **data)
            command = [given.peer, __file__, "--data", str(file)]
            table["diffprivlib"] = json.loads(
                subprocess.run(command, capture_output=True, text=True, check=True).stdout
            )
    print_table(table)


def load():
    """Real columns; every bound below is stated from what the column is, not from its values."""
    import statsmodels.datasets
    from lifelines.datasets import load_lung
    from sklearn.datasets import load_diabetes, load_digits
    from sklearn.model_selection import train_test_split

    randhie = statsmodels.datasets.randhie.load_pandas().data
    diabetes, digits = load_diabetes(scaled=False), load_digits()
    rows = np.random.default_rng(0).permutation(len(diabetes.target))
    train, test, labels, truth = train_test_split(digits.data, digits.target, test_size=0.3, random_state=0)
    return {
        "lung age": load_lung()["age"].to_numpy(float),
        "randhie visits": randhie["mdvis"].to_numpy(float),
        "bmi": diabetes.data[rows][:, [2]],
        "progression": diabetes.target[rows],
        "train": train / 16,
        "labels": labels,
        "test": test / 16,
        "truth": truth,
    }


def rmse(truth, release, *arguments, **parameters):
    errors = [float(release(*arguments, **parameters)) - truth for _ in range(REPEATS)]
    return float(np.sqrt(np.mean(np.square(errors))))


def columns(data):
    """Column, its public bounds, and a public guess of its scale."""
    return {"lung age": (data["lung age"], (0, 120), 10.0), "randhie visits": (data["randhie visits"], (0, 100), 5.0)}


def score_line(data, fit):
    """Median share of the variance of held-out patients that a private line explains; 0 is the mean, 1 all."""
    half = len(data["bmi"]) // 2
    x, y = data["bmi"], data["progression"]
    found = []
    for _ in range(REPEATS // 5):
        predicted = fit(x[:half], y[:half])(x[half:])
        found.append(1 - np.mean((y[half:] - predicted) ** 2) / np.var(y[half:]))
    return float(np.median(found))


def accuracy(data, fit):
    return float(np.mean([np.mean(fit()(data["test"]) == data["truth"]) for _ in range(5)]))


def ours(data):
    from sfumato.statistics.robust import DPDepthRegression, private_mean, private_median, private_quantile
    from sfumato.statistics.similarity import SimilarityClassifier

    found = {}
    for epsilon in EPSILONS:
        for name, (x, bounds, scale) in columns(data).items():
            known = {"bounds": bounds, "scale": scale}
            if name == "lung age":
                found[f"mean, {name}, {epsilon}"] = rmse(x.mean(), private_mean, x, epsilon, **known)
            found[f"median, {name}, {epsilon}"] = rmse(np.median(x), private_median, x, epsilon, **known)
            found[f"0.9 quantile, {name}, {epsilon}"] = rmse(
                np.quantile(x, 0.9), private_quantile, x, 0.9, epsilon, **known
            )
        x = data["lung age"]
        wide = {"bounds": (-1e6, 1e6), "scale": 10.0}
        found[f"mean, lung age, range ±10^6, {epsilon}"] = rmse(x.mean(), private_mean, x, epsilon, **wide)
    line = DPDepthRegression(1.0, X_bounds=(15, 45), y_bounds=(0, 350))
    found["line, progression on body mass index, 1.0"] = score_line(data, lambda x, y: line.fit(x, y).predict)
    kernel = SimilarityClassifier("kernel", 1.0, delta=1e-5, classes=range(10), norm_bound=6.0)
    found["digits, accuracy, (1.0, 1e-5)"] = accuracy(data, lambda: kernel.fit(data["train"], data["labels"]).predict)
    return found


def opendp_errors(data):
    import opendp.prelude as dp

    dp.enable_features("contrib", "idealized-numerics", "honest-but-curious")
    found = {}
    for epsilon in EPSILONS:
        for name, (x, bounds, _) in columns(data).items():
            low, high = float(bounds[0]), float(bounds[1])
            space = (dp.vector_domain(dp.atom_domain(bounds=(low, high)), size=len(x)), dp.symmetric_distance())
            if name == "lung age":
                mean = space >> dp.t.then_mean() >> dp.m.then_laplace(scale=(high - low) / len(x) / epsilon)
                found[f"mean, {name}, {epsilon}"] = rmse(x.mean(), mean, x.tolist())
            candidates = np.arange(low, high + 1).tolist()
            plain = (dp.vector_domain(dp.atom_domain(T=float, nan=False), size=len(x)), dp.symmetric_distance())
            for title, alpha in (("median", 0.5), ("0.9 quantile", 0.9)):
                measure = opendp_quantile(plain, candidates, alpha, epsilon)
                found[f"{title}, {name}, {epsilon}"] = rmse(np.quantile(x, alpha), measure, x.tolist())
        x = data["lung age"]
        space = (dp.vector_domain(dp.atom_domain(bounds=(-1e6, 1e6)), size=len(x)), dp.symmetric_distance())
        mean = space >> dp.t.then_mean() >> dp.m.then_laplace(scale=2e6 / len(x) / epsilon)
        found[f"mean, lung age, range ±10^6, {epsilon}"] = rmse(x.mean(), mean, x.tolist())
    # scale 4: epsilon 1 at distance 2, a replaced record
    line = dp.sklearn.linear_model.LinearRegression(
        dp.max_divergence(), x_bounds=[(15.0, 45.0)], y_bounds=(0.0, 350.0), scale=4.0
    )
    found["line, progression on body mass index, 1.0"] = score_line(data, lambda x, y: line.fit(x, y).predict)
    return found


def opendp_quantile(space, candidates, alpha, epsilon):
    import opendp.prelude as dp

    def make(scale):
        return dp.m.make_private_quantile(*space, dp.max_divergence(), candidates=candidates, alpha=alpha, scale=scale)

    return dp.binary_search_chain(make, 2, epsilon, T=float)  # a replaced record is removed and another one added


def diffprivlib_errors(data):
    from diffprivlib import models, tools

    found = {}
    for epsilon in EPSILONS:
        for name, (x, bounds, _) in columns(data).items():
            if name == "lung age":
                found[f"mean, {name}, {epsilon}"] = rmse(x.mean(), tools.mean, x, epsilon=epsilon, bounds=bounds)
            for title, p in (("median", 0.5), ("0.9 quantile", 0.9)):
                found[f"{title}, {name}, {epsilon}"] = rmse(
                    np.quantile(x, p), tools.quantile, x, p, epsilon=epsilon, bounds=bounds
                )
        x = data["lung age"]
        found[f"mean, lung age, range ±10^6, {epsilon}"] = rmse(
            x.mean(), tools.mean, x, epsilon=epsilon, bounds=(-1e6, 1e6)
        )
    line = models.LinearRegression(epsilon=1.0, bounds_X=(15, 45), bounds_y=(0, 350))
    found["line, progression on body mass index, 1.0"] = score_line(data, lambda x, y: line.fit(x, y).predict)
    bayes = models.GaussianNB(epsilon=1.0, bounds=(0, 1))
    found["digits, accuracy, (1.0, 1e-5)"] = accuracy(data, lambda: bayes.fit(data["train"], data["labels"]).predict)
    return found


def print_table(table):
    names = list(dict.fromkeys(name for each in table.values() for name in each))
    print("| what, on what, ε | " + " | ".join(table) + " |\n" + "|---" * (1 + len(table)) + "|")
    for name in names:
        print(
            f"| {name} | " + " | ".join(f"{each[name]:.3g}" if name in each else "" for each in table.values()) + " |"
        )


if __name__ == "__main__":
    main()
