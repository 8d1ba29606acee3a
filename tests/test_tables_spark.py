"""Counting on a Spark cluster of one: the same counts, on its engine."""

import shutil

import numpy as np
import pandas as pd
import pytest

from sfumato.errors import InvalidData
from sfumato.tables import Bins, Categories, count

pytestmark = pytest.mark.spark


@pytest.fixture(scope="module")
def spark():
    sql = pytest.importorskip("pyspark.sql", reason="pyspark is not installed")
    if shutil.which("java") is None:
        pytest.skip("there is no Java for Spark")
    session = (
        sql.SparkSession.builder.master("local[1]")
        .config("spark.ui.enabled", "false")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.sql.shuffle.partitions", "2")
        .getOrCreate()
    )
    yield session
    session.stop()


def test_spark_agrees_with_pandas(spark):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "who": rng.integers(0, 40, 100),
            "time": rng.choice([0.0, 0.1, 0.5, 1.0, 3.0, 9.0], 100),
            "event": rng.integers(0, 2, 100).astype(bool),
        }
    )
    axes = [Categories("event", (0, 1)), Bins("time", (0.0, 0.1, 1.0, 5.0))]
    remote = spark.createDataFrame(frame)
    np.testing.assert_array_equal(count(remote, axes), count(frame, axes))
    kept = count(remote, axes, person="who", max_records=2)
    np.testing.assert_array_equal(kept, count(frame, axes, person="who", max_records=2))
    with pytest.raises(InvalidData, match="several rows"):
        count(remote, axes, person="who")
    with pytest.raises(InvalidData, match="'time' must hold"):
        count(remote, [Bins("time", (1.0, 2.0))])
