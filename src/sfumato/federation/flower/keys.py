"""Keys of a federation: a server certificate that nodes can check, and a key for each node that the server can check.

For whoever sets one up; made with `cryptography`, without openssl or ssh-keygen.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import NameOID

from sfumato.errors import InvalidData

CA, CERTIFICATE, KEY = "ca.crt", "server.crt", "server.key"


def make_server_keys(
    folder: str | Path, *, hosts: Sequence[str] = ("localhost", "127.0.0.1"), days: int = 365
) -> dict[str, Path]:
    """Write `ca.crt` for the nodes, and `server.crt` and `server.key` for the SuperLink.

    The authority's own key signs this one certificate and is not kept, so nobody can sign another.

    Parameters
    ----------
    folder : str or Path
        Made if it is not there.
    hosts : sequence of str
        Names and addresses under which nodes reach the server.
    days : int
        Until both certificates expire.

    Returns
    -------
    dict of str to Path
        The three files by name.

    Raises
    ------
    InvalidData
        If one of the files is there already, there is no host, or `days` is below 1.
    """
    if isinstance(hosts, str) or not hosts:
        raise InvalidData("hosts must be a sequence of at least one name or address")
    if days < 1:
        raise InvalidData(f"days must be at least 1, got {days}")
    authority, server = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    usage = dict.fromkeys(
        ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "encipher_only"), False
    )
    ca = (
        _certificate("sfumato federation", authority.public_key(), days)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(
            x509.KeyUsage(digital_signature=False, key_cert_sign=True, crl_sign=True, decipher_only=False, **usage),
            critical=True,
        )
        .sign(authority, hashes.SHA256())
    )
    certificate = (
        _certificate(hosts[0], server.public_key(), days)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([_general_name(host) for host in hosts]), critical=False)
        .sign(authority, hashes.SHA256())
    )
    key = server.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return _write(
        folder, {CA: ca.public_bytes(Encoding.PEM), CERTIFICATE: certificate.public_bytes(Encoding.PEM), KEY: key}
    )


def make_node_key(folder: str | Path, name: str) -> dict[str, Path]:
    """Write a node's key: `name`, which stays with the node, and `name.pub`, which the server registers.

    Raises
    ------
    InvalidData
        If one of the files is there already, or `name` is not a plain file name.
    """
    if Path(name).name != name or name in ("", ".."):
        raise InvalidData("name must be a plain file name")
    key = ec.generate_private_key(ec.SECP384R1())
    private = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
    public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    return _write(folder, {name: private, f"{name}.pub": public + b"\n"})


def _certificate(subject: str, key: ec.EllipticCurvePublicKey, days: int) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sfumato federation")])
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))  # clocks differ
        .not_valid_after(now + timedelta(days=days))
    )


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _write(folder: str | Path, files: dict[str, bytes]) -> dict[str, Path]:
    paths = {name: Path(folder) / name for name in files}
    there = [str(path) for path in paths.values() if path.exists()]
    if there:
        raise InvalidData(f"{there[0]} is there already: a key is made once")
    Path(folder).mkdir(parents=True, exist_ok=True)
    for name, path in paths.items():
        public = name.endswith((".crt", ".pub"))
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644 if public else 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(files[name])
    return paths
