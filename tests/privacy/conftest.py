"""Ledgers on every backend there is."""

import os
import uuid

import pytest
import sqlalchemy as sa

from sfumato.privacy.ledger import Ledger


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def url(request, tmp_path):
    """The URL of an empty database."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'ledger.db'}"
        return
    server = os.environ.get("SFUMATO_TEST_POSTGRES")
    if not server:
        pytest.skip("no PostgreSQL server: SFUMATO_TEST_POSTGRES is not set (see .ci/postgres.sh)")
    name = f"ledger_{uuid.uuid4().hex}"
    engine = sa.create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    yield str(sa.make_url(server).set(database=name))
    with engine.connect() as connection:
        connection.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def ledger(url):
    """A ledger with three units of pure ε for a data set named lung."""
    from sfumato.privacy.bounds import PureDP

    ledger = Ledger(url, create=True)
    ledger.create("lung", PureDP(3.0))
    return ledger
