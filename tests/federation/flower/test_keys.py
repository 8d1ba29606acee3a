"""Keys: what Flower and TLS accept, with the permissions of secrets, made once."""

import stat

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_ssh_private_key, load_ssh_public_key

from sfumato.errors import InvalidData
from sfumato.federation.flower import make_node_key, make_server_keys


def test_the_server_certificate_is_signed_by_the_authority_and_names_its_hosts(tmp_path):
    paths = make_server_keys(tmp_path / "keys", hosts=["example.org", "192.0.2.1", "::1"], days=2)
    ca, server = (x509.load_pem_x509_certificate(paths[name].read_bytes()) for name in ("ca.crt", "server.crt"))
    server.verify_directly_issued_by(ca)
    names = server.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [str(name.value) for name in names] == ["example.org", "192.0.2.1", "::1"]
    assert ca.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert not server.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    key = load_pem_private_key(paths["server.key"].read_bytes(), None)
    assert key.public_key() == server.public_key()
    assert key.public_key() != ca.public_key()
    assert (server.not_valid_after_utc - server.not_valid_before_utc).days == 2


def test_a_nodes_key_is_an_openssh_key(tmp_path):
    paths = make_node_key(tmp_path, "north")
    private = load_ssh_private_key(paths["north"].read_bytes(), None)
    public = load_ssh_public_key(paths["north.pub"].read_bytes())
    assert private.public_key() == public
    assert public.curve.name == "secp384r1"


def test_secrets_are_their_owners_and_are_made_once(tmp_path):
    paths = {**make_server_keys(tmp_path), **make_node_key(tmp_path, "north")}
    for name in ("server.key", "north"):
        assert stat.S_IMODE(paths[name].stat().st_mode) == 0o600
    for again in (lambda: make_server_keys(tmp_path), lambda: make_node_key(tmp_path, "north")):
        with pytest.raises(InvalidData, match="is there already"):
            again()


def test_parameters_are_checked(tmp_path):
    for wrong in ({"hosts": []}, {"hosts": "localhost"}, {"days": 0}):
        with pytest.raises(InvalidData, match=next(iter(wrong))):
            make_server_keys(tmp_path, **wrong)
    for name in ("", "a/b", ".."):
        with pytest.raises(InvalidData, match="name"):
            make_node_key(tmp_path, name)
    assert list(tmp_path.iterdir()) == []
