"""https in front of a real Orthanc: certificates are checked, client certificates and tokens are sent."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme
from faults import Proxy

from orthanc_research import errors
from orthanc_research.rest import Connection, Rest

Opened = Callable[[Connection], Rest]


@dataclass(frozen=True)
class Authority:
    ca: trustme.CA
    file: str
    folder: Path

    def server(self, name: str, *, client: bool = False) -> ssl.SSLContext:
        """What a server called `name` presents; with `client` it wants a certificate of this authority."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.ca.issue_cert(name).configure_cert(context)
        if client:
            context.verify_mode = ssl.CERT_REQUIRED
            self.ca.configure_trust(context)
        return context


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    folder = tmp_path_factory.mktemp("tls")
    ca = trustme.CA()
    ca.cert_pem.write_to_path(str(folder / "ca.pem"))
    return Authority(ca, str(folder / "ca.pem"), folder)


def test_a_certificate_of_the_given_authority_is_accepted(rest: Rest, authority: Authority, opened: Opened) -> None:
    c = rest.connection
    with (
        Proxy(c.url, tls=authority.server("127.0.0.1")) as proxy,
        opened(Connection.make(proxy.url, auth=c.auth, verify=authority.file)) as through,
    ):
        assert through.system.read()["Version"] == rest.capabilities().version


def test_a_certificate_of_nobody_we_know_is_refused_at_once(rest: Rest, authority: Authority, opened: Opened) -> None:
    c = rest.connection
    with (
        Proxy(c.url, tls=authority.server("127.0.0.1")) as proxy,
        opened(Connection.make(proxy.url, auth=c.auth)) as through,
        through.counting() as requests,
    ):
        with pytest.raises(errors.UnreachableError, match=r"certificate of https://.* was not accepted"):
            through.system.read()
        assert len(requests) == 1


def test_a_certificate_of_another_host_is_refused(rest: Rest, authority: Authority, opened: Opened) -> None:
    c = rest.connection
    with (
        Proxy(c.url, tls=authority.server("pacs.example.org")) as proxy,
        opened(Connection.make(proxy.url, auth=c.auth, verify=authority.file)) as through,
        pytest.raises(errors.UnreachableError, match="was not accepted"),
    ):
        through.system.read()


def test_checking_can_be_switched_off_by_name_alone(rest: Rest, authority: Authority, opened: Opened) -> None:
    c = rest.connection
    with (
        Proxy(c.url, tls=authority.server("pacs.example.org")) as proxy,
        opened(Connection.make(proxy.url, auth=c.auth, verify=False)) as through,
    ):
        assert through.system.read()["Version"]


def test_a_client_certificate_is_sent(rest: Rest, authority: Authority, opened: Opened) -> None:
    c = rest.connection
    mine = authority.ca.issue_cert("researcher@example.org")
    pem = authority.folder / "me.pem"
    pem.write_bytes(mine.private_key_and_cert_chain_pem.bytes())
    with Proxy(c.url, tls=authority.server("127.0.0.1", client=True)) as proxy:
        with opened(Connection.make(proxy.url, auth=c.auth, verify=authority.file, cert=str(pem))) as through:
            assert through.system.read()["Version"]
        with opened(Connection.make(proxy.url, auth=c.auth, verify=authority.file)) as without:
            without._client.policy._pause = lambda seconds: None
            with pytest.raises(errors.UnreachableError):
                without.system.read()


def test_certificate_files_that_are_not_there_are_one_sentence(authority: Authority) -> None:
    with pytest.raises(errors.QueryError, match="verify="):
        Rest(Connection.make("https://h", verify="/no/such/ca.pem"))
    with pytest.raises(errors.QueryError, match="cert="):
        Rest(Connection.make("https://h", cert="/no/such/cert.pem"))
    with pytest.raises(errors.QueryError, match="cert="):
        Rest(Connection.make("https://h", cert=authority.file))  # a certificate without its key


def test_the_right_token_opens_and_the_wrong_one_does_not(rest: Rest, authority: Authority, opened: Opened) -> None:
    c = rest.connection
    with Proxy(c.url, tls=authority.server("127.0.0.1"), token="s3same", auth=c.basic_auth()) as proxy:
        with opened(Connection.make(proxy.url, token="s3same", verify=authority.file)) as through:
            assert through.system.read()["Version"]
        with (
            opened(Connection.make(proxy.url, token="wr0ng", verify=authority.file)) as wrong,
            pytest.raises(errors.AccessError, match="or the token") as caught,
        ):
            wrong.system.read()
        assert "wr0ng" not in str(caught.value)
