"""A throw-away certification authority, made by openssl."""

import subprocess


def _openssl(*args):
    subprocess.run(["openssl", *args], check=True, timeout=30,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


class Authority:
    def __init__(self, folder):
        self.folder = folder
        self.cert = folder / "ca.crt"
        self._key = folder / "ca.key"
        folder.mkdir()
        _openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                 "-keyout", self._key, "-out", self.cert, "-days", "2", "-subj", "/CN=xmpp443 test CA",
                 "-addext", "keyUsage=critical,keyCertSign,cRLSign")

    def issue(self, host):
        """Return (certificate, key) paths for one host name, readable by every local user."""
        key, csr, cert = (self.folder / f"{host}.{end}" for end in ("key", "csr", "crt"))
        ext = self.folder / f"{host}.ext"
        ext.write_text(f"subjectAltName=DNS:{host}\nbasicConstraints=CA:FALSE\n"
                       "subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n")
        _openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                 "-keyout", key, "-out", csr, "-subj", f"/CN={host}")
        _openssl("x509", "-req", "-in", csr, "-CA", self.cert, "-CAkey", self._key,
                 "-CAcreateserial", "-days", "2", "-extfile", ext, "-out", cert)
        key.chmod(0o644)
        return cert, key
