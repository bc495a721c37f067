"""The security of [kafka.options] holds for Faust's consumer too, or the streams refuse to start."""

import ssl
from pathlib import Path

import pytest
from faust.auth import SASLCredentials, SSLCredentials

from pganalytics.runtime.errors import SettingsError
from pganalytics.streams.security import credentials_of


def test_plain_text_needs_nothing() -> None:
    assert credentials_of({}) is None
    assert credentials_of({"linger.ms": 5, "security.protocol": "PLAINTEXT"}) is None


def test_a_password_login() -> None:
    login = {"sasl.mechanism": "SCRAM-SHA-512", "sasl.username": "u", "sasl.password": "p"}
    plain = credentials_of({"security.protocol": "sasl_plaintext", **login})
    assert isinstance(plain, SASLCredentials)
    assert (plain.username, plain.password, plain.mechanism.value) == ("u", "p", "SCRAM-SHA-512")
    assert plain.ssl_context is None
    secret = credentials_of({"security.protocol": "SASL_SSL", **login})
    assert isinstance(secret, SASLCredentials)
    assert isinstance(secret.ssl_context, ssl.SSLContext)


def test_certificates_and_names_are_verified_unless_told_otherwise() -> None:
    def context(**options: str | bool) -> ssl.SSLContext:
        named = {name.replace("_", "."): value for name, value in options.items()}
        made = credentials_of({"security.protocol": "ssl", **named})
        assert isinstance(made, SSLCredentials)
        assert isinstance(made.context, ssl.SSLContext)
        return made.context

    strict = context()
    assert (strict.check_hostname, strict.verify_mode) == (True, ssl.CERT_REQUIRED)
    nameless = context(ssl_endpoint_identification_algorithm="none")
    assert (nameless.check_hostname, nameless.verify_mode) == (False, ssl.CERT_REQUIRED)
    blind = context(enable_ssl_certificate_verification=False)
    assert (blind.check_hostname, blind.verify_mode) == (False, ssl.CERT_NONE)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"security.protocol": "ssh"}, "'ssh' is none of plaintext, ssl"),
        ({"security.protocol": "sasl_ssl"}, "sasl.mechanism GSSAPI: the streams know PLAIN"),
        ({"security.protocol": "sasl_ssl", "sasl.mechanism": "PLAIN", "sasl.username": "u"}, "sasl.password is missing"),
        ({"ssl.keystore.location": "keys.p12"}, "cannot use ssl.keystore.location"),
        ({"sasl.oauthbearer.config": "x"}, "cannot use sasl.oauthbearer.config"),
        ({"security.protocol": "ssl", "ssl.ca.location": "no-such-file.pem"}, "cannot be read"),
    ],
)
def test_what_cannot_be_kept_is_refused(options: dict[str, str], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        credentials_of(options)


def test_a_file_that_is_no_certificate_is_refused(tmp_path: Path) -> None:
    wrong = tmp_path / "ca.pem"
    wrong.write_text("not a certificate")
    with pytest.raises(SettingsError, match="cannot be read"):
        credentials_of({"security.protocol": "ssl", "ssl.ca.location": str(wrong)})
