"""Every failure of the wire is one of our exceptions, with a sentence to act on and nothing that identifies anybody."""

from __future__ import annotations

import logging
import pickle
import socket
import ssl
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from orthanc_research import errors
from orthanc_research.capabilities import Capabilities
from orthanc_research.rest import Connection, Rest, is_unknown_outcome, once
from orthanc_research.rest._retry import Budget, retry_after

Handler = Callable[[httpx.Request], httpx.Response]
Opened = Callable[[Connection], Rest]


def fake(handler: Handler, *, pauses: list[float] | None = None, **options: Any) -> Rest:
    """A client whose server is a function; pauses between retries are noted, not slept."""
    rest = Rest(Connection.make("http://fake", **options), transport=httpx.MockTransport(handler))
    rest._client.policy._pause = (pauses if pauses is not None else []).append
    rest._client.policy.reached = True
    return rest


def body(status: int, orthanc_status: int | None = None, **more: Any) -> httpx.Response:
    content = {"HttpStatus": status, "Message": "Words", "OrthancStatus": orthanc_status, **more}
    return httpx.Response(status, content=orjson.dumps(content))


@contextmanager
def socket_server(answer: Callable[[socket.socket], None]) -> Iterator[str]:
    """A server that reads a request and then does what it is told; its address."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(0.2)
    stop = threading.Event()

    def serve() -> None:
        while not stop.is_set():
            try:
                peer, _ = listener.accept()
            except TimeoutError:
                continue
            with peer, suppress(OSError):
                peer.settimeout(5)
                peer.recv(65536)
                answer(peer)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        stop.set()
        thread.join()
        listener.close()


@pytest.mark.parametrize(
    ("response", "kind"),
    [
        (httpx.Response(401), errors.AccessError),
        (httpx.Response(403), errors.AccessError),
        (httpx.Response(404), errors.NotFoundError),
        (body(404, 17), errors.NotFoundError),
        (body(404, 7), errors.NotFoundError),
        (httpx.Response(405), errors.ServerError),
        (httpx.Response(409), errors.ConflictError),
        (httpx.Response(412), errors.ConflictError),
        (httpx.Response(415), errors.ServerError),
        (body(400, 15), errors.ServerError),
        (body(500, 27), errors.ServerError),
        (body(500, 9), errors.ModalityError),
        (body(422, 9), errors.ModalityError),
        (body(500, 2015), errors.ModalityError),
        (body(500, 2016), errors.ModalityError),
        (body(500, 2018), errors.ServerError),
        (body(500, 2031), errors.ServerError),
        (httpx.Response(500), errors.ServerError),
        (httpx.Response(503), errors.ServerError),
        (httpx.Response(302, headers={"location": "http://elsewhere:1/x?secret=1"}), errors.ResponseError),
        (httpx.Response(200, html="<html>Log in</html>"), errors.ResponseError),
        (httpx.Response(200, content=b'{"a": '), errors.ResponseError),
        (httpx.Response(200, content=b"[]"), errors.ResponseError),
        (httpx.Response(200, content=b'{"a": NaN}'), errors.ResponseError),
        (httpx.Response(200, content=b'"\xff"'), errors.ResponseError),
        (httpx.Response(200, content=b"[" * 100_000), errors.ResponseError),
    ],
)
def test_every_answer_that_is_not_one_becomes_its_exception(
    response: httpx.Response, kind: type[errors.OrthancError]
) -> None:
    with pytest.raises(errors.OrthancError) as caught:
        fake(lambda request: response).system.read()
    assert type(caught.value) is kind
    assert str(caught.value).endswith((".", "?"))
    assert "secret" not in str(caught.value)


def test_damaged_compression_is_told_and_asked_for_again() -> None:
    count = []

    def handler(request: httpx.Request) -> httpx.Response:
        count.append(1)
        return httpx.Response(200, stream=httpx.ByteStream(b"junk"), headers={"content-encoding": "gzip"})

    with pytest.raises(errors.ResponseError, match="compression does not decode"):
        fake(handler).system.read()
    assert len(count) == 5


def test_an_error_carries_what_orthanc_said() -> None:
    rest = fake(lambda request: body(400, 8, Details="Bad field", ErrorPayload={"Type": "Dimse"}))
    with pytest.raises(errors.ServerError, match=r"400 to GET /system: Words: Bad field\.") as caught:
        rest.system.read()
    error = caught.value
    assert (error.status, error.orthanc_status, error.message, error.details) == (400, 8, "Words", "Bad field")
    assert error.payload == {"Type": "Dimse"}


def test_what_was_asked_for_is_not_repeated_in_a_message() -> None:
    rest = fake(lambda request: body(400, 3, Details="Wildcards are not allowed: DOE^JOHN*"))
    with pytest.raises(errors.ServerError) as caught:
        rest.tools.find({"Level": "Study", "Query": {"PatientName": "DOE^JOHN*"}})
    assert "DOE" not in str(caught.value)
    assert "Wildcards are not allowed" in str(caught.value)


def test_patient_ids_are_left_out_of_messages() -> None:
    with pytest.raises(errors.NotFoundError) as caught:
        fake(lambda request: httpx.Response(404)).patients.read("ab12")
    assert "ab12" not in str(caught.value)


def test_no_credentials_and_wrong_credentials_read_differently() -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        return httpx.Response(401)

    with pytest.raises(errors.AccessError, match="asks for a user name and password"):
        fake(refuse).system.read()
    with pytest.raises(errors.AccessError, match="refused the user name and password"):
        fake(refuse, auth=("alice", "canary-secret")).system.read()


def test_a_redirect_is_not_followed_and_gets_no_credentials() -> None:
    seen: list[str] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(str(request.url))
        return httpx.Response(301, headers={"location": "https://evil.example/system"})

    with pytest.raises(errors.ResponseError, match=r"redirect to https://evil\.example;"):
        fake(handler, auth=("alice", "x")).system.read()
    assert seen == ["http://fake/system"]


def test_another_server_is_told_apart_from_an_orthanc() -> None:
    with pytest.raises(errors.ResponseError, match="not as an Orthanc does"):
        fake(lambda request: httpx.Response(200, json={"hello": 1})).capabilities()


# -- retries ----------------------------------------------------------------------------------------------------------


def test_a_busy_server_is_asked_again_and_its_wish_is_honoured() -> None:
    pauses: list[float] = []
    answers = iter(
        [httpx.Response(503, headers={"retry-after": "7"}), httpx.Response(502), httpx.Response(200, json={})]
    )
    assert fake(lambda request: next(answers), pauses=pauses).system.read() == {}
    assert pauses[0] == 7
    assert 0.5 <= pauses[1] <= 20


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 409, 413, 415])
def test_a_verdict_is_not_asked_for_twice(status: int) -> None:
    count = []

    def handler(request: httpx.Request) -> httpx.Response:
        count.append(1)
        return httpx.Response(status)

    with pytest.raises(errors.OrthancError):
        fake(handler).system.read()
    assert len(count) == 1


def test_a_500_is_asked_for_once_more_unless_orthanc_blames_the_request() -> None:
    for orthanc_status, times in ((None, 2), (11, 2), (27, 1), (9, 1)):
        count: list[int] = []

        def handler(
            request: httpx.Request, code: int | None = orthanc_status, count: list[int] = count
        ) -> httpx.Response:
            count.append(1)
            return body(500, code) if code else httpx.Response(500)

        with pytest.raises(errors.ServerError):
            fake(handler).system.read()
        assert len(count) == times, orthanc_status


@pytest.mark.parametrize("failure", [httpx.ReadError, httpx.RemoteProtocolError, httpx.ReadTimeout, httpx.WriteError])
def test_a_post_that_may_have_happened_is_never_sent_again(failure: type[httpx.TransportError]) -> None:
    count = []

    def handler(request: httpx.Request) -> httpx.Response:
        count.append(request.url.path)
        raise failure("broke", request=request)

    rest = fake(handler)
    with pytest.raises(errors.OrthancError) as caught:
        rest.tools.bulk_anonymize(["x"])
    assert count == ["/tools/bulk-anonymize"]
    assert is_unknown_outcome(caught.value)
    with pytest.raises(errors.OrthancError):
        rest.instances.upload(b"x")  # storing a file twice is storing it once
    assert count[1:] == ["/instances"] * 5


def test_a_delete_that_broke_and_now_finds_nothing_has_succeeded() -> None:
    answers: list[httpx.ReadError | httpx.Response] = [httpx.ReadError("broke"), httpx.Response(404)]

    def handler(request: httpx.Request) -> httpx.Response:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert fake(handler).studies.delete("x") == {"RemainingAncestor": None}
    with pytest.raises(errors.NotFoundError):
        fake(lambda request: httpx.Response(404)).studies.delete("x")


def test_a_refused_first_connection_fails_at_once_and_later_ones_are_tried_again() -> None:
    count = []

    def handler(request: httpx.Request) -> httpx.Response:
        count.append(1)
        raise httpx.ConnectError("refused")

    rest = fake(handler)
    rest._client.policy.reached = False
    with pytest.raises(errors.UnreachableError, match="is it running"):
        rest.system.read()
    assert len(count) == 1
    rest._client.policy.reached = True
    with pytest.raises(errors.UnreachableError):
        rest.tools.bulk_anonymize(["x"])  # nothing was sent, so even this may be tried again
    assert len(count) == 6


def test_who_is_there_to_ask_again_is_told_at_once() -> None:
    failures: list[Exception] = []
    count = []

    def handler(request: httpx.Request) -> httpx.Response:
        count.append(1)
        if failures:
            raise failures.pop(0)
        return httpx.Response(503)

    rest = fake(handler)
    rest._client.policy.reached = True
    with once():
        for failure in (httpx.ConnectError("refused"), httpx.ReadTimeout("slow")):
            failures[:] = [failure]
            with pytest.raises(errors.OrthancError):
                rest.system.read()
        assert len(count) == 2
        failures[:] = [httpx.RemoteProtocolError("a connection that a restart closed"), httpx.ReadError("again")]
        with pytest.raises(errors.UnreachableError):
            rest.system.read()
        assert len(count) == 4
        with pytest.raises(errors.ServerError):
            rest.system.read()
    assert len(count) == 5
    with pytest.raises(errors.ServerError):
        rest.system.read()
    assert len(count) == 10


def test_the_budget_of_retries_is_shared_and_ends() -> None:
    rest = fake(lambda request: httpx.Response(503))
    rest._client.policy.budget = Budget(3)
    with pytest.raises(errors.ServerError):
        rest.system.read()
    assert not rest._client.policy.budget.spend()


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("5", 5),
        ("1000000000", 300),
        ("9" * 400, 300),
        ("Thu, 01 Jan 1970 00:00:10 GMT", 10),
        ("Thu, 01 Jan 1960 00:00:10 GMT", 0),
        ("soon", None),
        ("-3", None),
        ("", None),
        (None, None),
    ],
)
def test_retry_after_is_read_and_capped(value: str | None, seconds: float | None) -> None:
    assert retry_after(value, now=0.0) == seconds


# -- real sockets -----------------------------------------------------------------------------------------------------


def test_a_closed_port_is_one_sentence_at_once(opened: Opened) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    start = time.monotonic()
    with (
        opened(Connection.make(f"http://127.0.0.1:{port}")) as rest,
        pytest.raises(
            errors.UnreachableError, match=rf"No Orthanc answers at http://127\.0\.0\.1:{port}: is it running"
        ),
    ):
        rest.system.read()
    assert time.monotonic() - start < 2


def test_an_unknown_host_is_unreachable(opened: Opened) -> None:
    with opened(Connection.make("http://no-such-host.invalid")) as rest, pytest.raises(errors.UnreachableError):
        rest.system.read()


def test_a_body_cut_short_is_detected(opened: Opened) -> None:
    def cut(peer: socket.socket) -> None:
        peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{}")

    with socket_server(cut) as url, opened(Connection.make(url)) as rest:
        rest._client.policy._pause = lambda seconds: None
        with pytest.raises(errors.UnreachableError, match="broke during GET /system"):
            rest.system.read()


def test_silence_ends_at_the_time_out(opened: Opened) -> None:
    with socket_server(lambda peer: time.sleep(1.5)) as url, opened(Connection.make(url, timeout=0.3)) as rest:
        rest._client.policy.budget = Budget(0)
        with pytest.raises(errors.DeadlineError, match="did not answer GET /system in time"):
            rest.system.read()


def test_a_trickle_ends_although_each_byte_is_in_time(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orthanc_research.rest._client.GRACE", 0.5)

    def trickle(peer: socket.socket) -> None:
        peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n")
        for _ in range(30):
            peer.sendall(b" ")
            time.sleep(0.1)

    with socket_server(trickle) as url, opened(Connection.make(url)) as rest:
        rest._client.policy.budget = Budget(0)
        start = time.monotonic()
        with pytest.raises(errors.DeadlineError, match="trickles"):
            rest.system.read()
        assert time.monotonic() - start < 2.5


def test_plain_http_behind_https_is_one_sentence(opened: Opened) -> None:
    with (
        socket_server(lambda peer: peer.sendall(b"HTTP/1.1 400 Bad\r\n\r\n")) as url,
        opened(Connection.make(url.replace("http:", "https:"))) as rest,
        pytest.raises(errors.UnreachableError, match="No secure connection"),
    ):
        rest.system.read()


# -- secrets ----------------------------------------------------------------------------------------------------------

CANARY = "canary-5ecret"


def test_secrets_are_in_no_repr_message_pickle_or_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    connection = Connection.make(f"http://alice:{CANARY}@127.0.0.1:1/pacs", headers={"X-Key": CANARY})
    token = Connection.make("http://127.0.0.1:1", token=CANARY)
    for c in (connection, token):
        with Rest(c) as rest, pytest.raises(errors.UnreachableError) as caught:
            rest.patients.read("0123-patient")
        text = repr(c) + repr(rest) + str(caught.value) + repr(caught.value) + caplog.text
        assert CANARY not in text
        assert "0123-patient" not in caplog.text
        assert CANARY.encode() not in pickle.dumps(c)
    assert connection.url == "http://127.0.0.1:1/pacs"
    assert connection.basic_auth() == ("alice", CANARY)


def test_a_pickled_connection_keeps_references_and_says_what_it_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_AUTH", "alice:secret")
    again = pickle.loads(pickle.dumps(Connection.make("http://h", auth="env:SOME_AUTH", timeout=5)))
    assert again.basic_auth() == ("alice", "secret")
    assert again.timeout == 5
    stripped = pickle.loads(pickle.dumps(Connection.make("http://h", auth=("alice", "secret"))))
    with pytest.raises(errors.QueryError, match="pickles carry no password"):
        Rest(stripped)


@pytest.mark.parametrize(
    ("url", "options", "words"),
    [
        (None, {}, "Say where Orthanc is"),
        ("localhost:8042", {}, "starts with http"),
        ("ftp://x", {}, "starts with http"),
        ("http://", {}, "names a host"),
        ("http://h:port", {}, "cannot be read"),
        ("http://h/app/explorer.html#study?uuid=1", {}, "no '\\?' or '#'"),
        ("http://h", {"auth": "alice:secret"}, "env:NAME"),
        ("http://h", {"auth": ("a", "b"), "token": "t"}, "not both"),
        ("http://h", {"auth": ("a",)}, "pair of strings"),
        ("http://h", {"timeout": 0}, "positive"),
        ("http://h", {"auth": 7}, "pair of strings"),
        ("http://h", {"auth": ["a", None]}, "pair of strings"),
        ("http://h", {"auth": ("a:b", "c")}, "no colon"),
        ("http://h", {"auth": ("a", "\ud800")}, "cannot be sent"),
        ("http://h", {"token": 7}, "token is text"),
        ("http://h", {"token": " \n"}, "visible ASCII"),
        ("http://h", {"timeout": "60"}, "positive"),
        ("http://h", {"timeout": True}, "positive"),
        ("http://h", {"timeout": float("nan")}, "positive"),
        ("http://h", {"timeout": float("inf")}, "a day at most"),
        ("http://h", {"headers": {"X": "a\r\nb"}}, "header X is no visible ASCII"),
        ("http://h", {"headers": {"X": 1}}, "header X is no visible ASCII"),
        ("http://h", {"headers": {"X": "ä"}}, "header X is no visible ASCII"),
        ("http://h", {"headers": {"X y": "a"}}, "name of a header"),
        ("http://h", {"headers": {"": "a"}}, "name of a header"),
        ("http://h", {"headers": ["a"]}, "headers is a mapping"),
        ("http://h", {"verify": 7}, "path of a CA file"),
        ("http://h", {"cert": ()}, "client certificate"),
        ("http://h", {"cert": 7}, "client certificate"),
        ("http://a..b", {}, "a host that cannot be one"),
        ("http://a b", {}, "a host that cannot be one"),
        ("http://" + "a" * 64, {}, "a host that cannot be one"),
        ("http://a\u2024b", {}, "a host that cannot be one"),
    ],
)
def test_bad_arguments_are_refused_before_anything_is_sent(
    url: str | None, options: dict[str, Any], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ORTHANC_URL", raising=False)
    with pytest.raises(errors.QueryError, match=words):
        Connection.make(url, **options)


@pytest.mark.parametrize("blank", ["{}\n", " {}", "{} "])
def test_a_token_with_blanks_around_it_is_sent_without_them(blank: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_TOKEN", blank.format(CANARY))
    for token in (blank.format(CANARY), "env:SOME_TOKEN"):
        with fake(lambda request: httpx.Response(200, json={}), token=token) as rest:
            assert rest._client._http.headers["authorization"] == f"Bearer {CANARY}"


@pytest.mark.parametrize("damage", ["{}\x01", "{}\r\nX-Other: 1", "{}\u20ac", "\x7f{}"])
def test_a_secret_that_cannot_be_sent_shows_itself_nowhere(damage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = damage.format(CANARY)
    monkeypatch.setenv("SOME_TOKEN", secret)
    for options in ({"token": secret}, {"token": "env:SOME_TOKEN"}, {"headers": {"X-Key": secret}}):
        with pytest.raises(errors.QueryError, match="visible ASCII") as caught:
            fake(lambda request: httpx.Response(200, json={}), **options)
        assert CANARY not in "".join(traceback.format_exception(caught.value))


def test_any_pair_is_a_login_and_one_that_masks_itself_stays_masked() -> None:
    class Masked(tuple[str, str]):
        __slots__ = ()

        def __repr__(self) -> str:
            return "***"

    made = Connection.make("http://h", auth=["alice", "secret"])
    assert made.auth == made.basic_auth() == ("alice", "secret")
    assert repr(Connection.make("http://h", auth=Masked(("alice", "secret"))).auth) == "***"


def test_a_login_from_a_variable_loses_its_line_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_AUTH", "alice:sec:ret \n")
    assert Connection.make("http://h", auth="env:SOME_AUTH").basic_auth() == ("alice", "sec:ret ")


def test_paths_are_paths_however_they_are_given(tmp_path: Path) -> None:
    made = Connection.make("https://h", verify=tmp_path / "ca.pem", cert=[tmp_path / "c.pem", "key.pem"])
    assert made.verify == str(tmp_path / "ca.pem")
    assert made.cert == (str(tmp_path / "c.pem"), "key.pem")


def test_the_environment_is_used_only_without_an_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORTHANC_URL", "http://env:8042/x/")
    monkeypatch.setenv("ORTHANC_USERNAME", "alice")
    monkeypatch.setenv("ORTHANC_PASSWORD", "secret")
    assert Connection.make().url == "http://env:8042/x"
    assert Connection.make().basic_auth() == ("alice", "secret")
    assert Connection.make("http://other").basic_auth() is None


def test_a_prefix_path_headers_and_token_are_sent() -> None:
    seen: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json={})

    rest = Rest(
        Connection.make("http://h/pacs/a", token="t0ken", headers={"X-Site": "b"}),
        transport=httpx.MockTransport(handler),
    )
    rest.studies.read("../../system?x=1#y")
    assert seen[0].url.raw_path == b"/pacs/a/studies/..%2F..%2Fsystem%3Fx%3D1%23y"
    assert seen[0].headers["authorization"] == "Bearer t0ken"
    assert seen[0].headers["x-site"] == "b"


def test_certificates_are_verified_unless_said_otherwise(tmp_path: Any) -> None:
    assert isinstance(Connection.make("https://h").tls(), ssl.SSLContext)
    assert Connection.make("https://h", verify=False).tls() is False


# -- never widen ------------------------------------------------------------------------------------------------------

OLD = Capabilities.from_system({"Version": "1.10.1"})
NEW = Capabilities.from_system(
    {"Version": "1.13.0", "HasLabels": True, "Capabilities": {"HasExtendedFind": True, "HasExtendedChanges": True}}
)


@pytest.mark.parametrize(
    "more",
    [
        {"ParentStudy": "x"},
        {"Labels": ["x"]},
        {"Labels": ["x"], "LabelsConstraint": "Any"},
        {"MetadataQuery": {"x": "y"}},
        {"OrderBy": [{"Type": "DicomTag", "Key": "StudyDate", "Direction": "ASC"}]},
        {"ResponseContent": ["MainDicomTags"]},
        {"RequestedTags": ["KVP"], "Expand": True},
    ],
)
def test_a_field_that_an_old_server_would_ignore_never_reaches_it(more: dict[str, Any]) -> None:
    paths: list[str] = []

    def handler(request: httpx.Request) -> httpx.Response:
        paths.append(request.url.path)
        return httpx.Response(200, json={"Version": "1.10.1"})

    with pytest.raises(errors.UnsupportedError) as caught:
        fake(handler).tools.find({"Level": "Instance", "Query": {}, **more})
    assert paths == ["/system"]
    assert caught.value.found == "1.10.1"
    assert caught.value.needed


def test_arguments_of_the_wrong_kind_are_one_sentence_and_nothing_is_sent() -> None:
    sent: list[str] = []

    def handler(request: httpx.Request) -> httpx.Response:
        sent.append(request.url.path)
        return httpx.Response(200, json=[])

    rest: Any = fake(handler)
    calls: list[Callable[[], Any]] = [
        lambda: rest.studies.read(".."),
        lambda: rest.studies.children("..", "Instance"),
        lambda: rest.jobs.read(""),
        lambda: rest.jobs.delete_output("..", "changes"),
        lambda: rest.studies.read(5),
        lambda: rest.studies.read(None),
        lambda: rest.tools.bulk_content("one-id"),
        lambda: rest.tools.bulk_delete("one-id"),
        lambda: rest.tools.search("Series", ""),
        lambda: rest.tools.find({"Level": "Series", "Query": {}, "Labels": []}),
        lambda: rest.tools.find({"Level": "Series", "Query": {}, "MetadataQuery": {}}),
        lambda: rest.tools.find({"Level": ["Series"], "Query": {}}),
        lambda: rest.tools.lookup(5),
        lambda: rest.modalities.echo("x", timeout="5"),
        lambda: rest.modalities.put("x", None, "h", 104),
        lambda: rest.peers.put("x", "http://[x"),
        lambda: rest.studies.anonymize("x", replace="y"),
    ]
    for number, call in enumerate(calls):
        with pytest.raises(errors.QueryError):
            call()
        assert sent == [], number
    with pytest.raises(TypeError):
        rest.studies.read()  # a call without its argument is Python's own mistake to tell


def test_a_call_shows_its_route_and_nothing_that_it_carries() -> None:
    rest = fake(lambda request: httpx.Response(200))
    secret = {"Authorization": "canary-5ecret"}
    shown = repr(rest.dicomweb.get.call("s", "u", http_headers=secret))
    shown += repr(rest.tools.find.call({"Level": "Study", "Query": {"PatientName": "canary-5ecret"}}))
    shown += repr(rest.studies.read.call("canary-5ecret")) + rest.studies.read.call("canary-5ecret").label
    shown += rest.studies.add_label.call("x", "canary-5ecret").label
    assert "5ecret" not in shown


def test_a_field_that_no_server_knows_is_refused() -> None:
    with pytest.raises(errors.QueryError, match="no field 'Querry'"):
        fake(lambda request: httpx.Response(200, json=[])).tools.find({"Level": "Study", "Querry": {}})


def test_versions_are_compared_as_numbers() -> None:
    for feature in ("requested-tags", "labels", "extended-find", "c-get", "bulk-delete-levels"):
        assert NEW.has(feature)
        assert not OLD.has(feature)
    assert Capabilities.from_system({"Version": "1.9.7"}).has("requested-tags") is False
    assert Capabilities.from_system({"Version": "mainline-abc", "HasLabels": True}).has("labels")
    assert Capabilities.from_system({"Version": "1.12.7"}).has("extended-find") is False  # a database without it
    with pytest.raises(errors.UnsupportedError, match=r"version 1\.10\.1; labels needs 1\.12\.0 or later"):
        OLD.require("labels")
