"""Certificates as they should be, and as they should not."""

import datetime
import hashlib
import pathlib

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

DAY = datetime.timedelta(days=1)


def _name(text):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


class Issuer:
    """An authority; root=None makes a root, else one below it."""

    def __init__(self, name, root=None):
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = _name(name)
        self.above = root
        self.certificate = _sign(root or self, self.name, self.key.public_key(), -400, 4000,
                                 x509.BasicConstraints(ca=True, path_length=None))

    def pem(self):
        return self.certificate.public_bytes(serialization.Encoding.PEM)


def _sign(issuer, subject, key, begin, end, constraints, names=()):
    now = datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None)
    builder = (x509.CertificateBuilder().subject_name(subject).issuer_name(issuer.name).public_key(key)
               .serial_number(x509.random_serial_number())
               .not_valid_before(now + begin * DAY).not_valid_after(now + end * DAY)
               .add_extension(constraints, critical=True)
               .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
               .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.key.public_key()), critical=False))
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(n) for n in names]), critical=False)
    return builder.sign(issuer.key, hashes.SHA256())


class Certificates:
    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir()
        self.root = Issuer("Example Root")
        self.intermediate = Issuer("Example Intermediate", self.root)
        self.ca_file = self.folder / "ca.pem"
        self.ca_file.write_bytes(self.root.pem())

    def make(self, file, names=None, days=60, begin=-30, self_signed=False, chain=True):
        """(certificate, key): paths. days: from now to the end; begin: from now to the beginning."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = names or [file]
        issuer = self.intermediate
        if self_signed:
            issuer = Issuer.__new__(Issuer)
            issuer.key, issuer.name = key, _name(names[0])
        leaf = _sign(issuer, _name(names[0]), key.public_key(), begin, days,
                     x509.BasicConstraints(ca=False, path_length=None), names)
        cert_path, key_path = self.folder / f"{file}.crt", self.folder / f"{file}.key"
        cert_path.write_bytes(leaf.public_bytes(serialization.Encoding.PEM) +
                              (self.intermediate.pem() if chain and not self_signed else b""))
        key_path.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                               serialization.NoEncryption()))
        key_path.chmod(0o644)
        return cert_path, key_path


def tlsa_of(cert_path):
    """The data of the record "3 1 1" for the first certificate in a file."""
    certificate = x509.load_pem_x509_certificate(pathlib.Path(cert_path).read_bytes())
    key = certificate.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(key).hexdigest()
