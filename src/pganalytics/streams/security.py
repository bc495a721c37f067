"""[kafka.options] for the one client that is not librdkafka: Faust's consumer speaks through aiokafka.

Security options of librdkafka are translated; one that cannot be is refused, because a client that silently leaves out a
part of its security is worse than none.
"""

import ssl
from collections.abc import Mapping

from faust.auth import Credentials, SASLCredentials, SSLCredentials

from pganalytics.runtime.errors import SettingsError

PROTOCOLS = ("plaintext", "ssl", "sasl_plaintext", "sasl_ssl")
MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
KNOWN = frozenset(
    "security.protocol sasl.mechanism sasl.mechanisms sasl.username sasl.password ssl.ca.location ssl.certificate.location "
    "ssl.key.location ssl.key.password ssl.endpoint.identification.algorithm enable.ssl.certificate.verification".split()
)
FAMILIES = ("security.", "sasl.", "ssl.", "enable.ssl.", "enable.sasl.")

Options = Mapping[str, str | int | float | bool]


def credentials_of(options: Options) -> Credentials | None:
    """What Faust needs to log in; None for plain text. Raises SettingsError."""
    texts = {name.lower(): str(value) for name, value in options.items()}
    unknown = sorted(name for name in texts if name.startswith(FAMILIES) and name not in KNOWN)
    if unknown:
        raise SettingsError(*(f"kafka.options: the streams cannot use {name}; remove it" for name in unknown))
    protocol = texts.get("security.protocol", "plaintext").lower()
    if protocol not in PROTOCOLS:
        raise SettingsError(f"kafka.options: security.protocol {protocol!r} is none of {', '.join(PROTOCOLS)}")
    context = _context(texts) if protocol.endswith("ssl") else None
    if protocol.startswith("sasl"):
        return _login(texts, context)
    return SSLCredentials(context=context) if context is not None else None


def _login(texts: Mapping[str, str], context: ssl.SSLContext | None) -> Credentials:
    mechanism = texts.get("sasl.mechanism", texts.get("sasl.mechanisms", "GSSAPI")).upper()
    if mechanism not in MECHANISMS:
        raise SettingsError(
            f"kafka.options: sasl.mechanism {mechanism}: the streams know {', '.join(MECHANISMS)}; choose one of them"
        )
    if missing := [name for name in ("sasl.username", "sasl.password") if not texts.get(name)]:
        raise SettingsError(*(f"kafka.options: {name} is missing; {mechanism} needs it" for name in missing))
    return SASLCredentials(
        username=texts["sasl.username"], password=texts["sasl.password"], mechanism=mechanism, ssl_context=context
    )


def _context(texts: Mapping[str, str]) -> ssl.SSLContext:
    """As librdkafka would verify: the certificate and the host name, unless the options say otherwise."""
    try:
        context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=texts.get("ssl.ca.location"))
        if certificate := texts.get("ssl.certificate.location"):
            context.load_cert_chain(certificate, texts.get("ssl.key.location"), texts.get("ssl.key.password"))
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(f"kafka.options: a certificate or key in ssl.* cannot be read: {error}") from error
    if texts.get("ssl.endpoint.identification.algorithm", "https").lower() == "none":
        context.check_hostname = False
    if texts.get("enable.ssl.certificate.verification", "true").lower() == "false":
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
