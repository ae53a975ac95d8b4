"""HTTP for URLs that strangers have written: public addresses only, bounded in size and time.

A table of listings may name any URL, also one of a router, a cloud's metadata service or a program
on this machine. So each host is resolved here, its addresses are checked, and the connection goes
to an address that was checked: no later answer of the DNS can change it. Redirects are followed one
by one under the same rules.

Other rules hold for a URL that the user gives, see `allowed_hosts` and `check`.

With a proxy in the environment (`HTTPS_PROXY`, `HTTP_PROXY`, `NO_PROXY`), the proxy resolves names
and connects. Then only URLs that name an address or localhost can be refused here, and what else
may be reached is for the proxy to say.
"""

from __future__ import annotations

import http.client
import http.cookiejar
import ipaddress
import os
import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urljoin, urlsplit

import requests
import requests.utils
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError, ReadTimeoutError
from urllib3.util.connection import create_connection

from dnnlib.retries import Passing, retry_after
from dnnlib.util import one_line
from dnnlib.web_answers import (
    SILENCE,
    Body,
    LimitedLines,
    Patience,
    Refused,
    TimedReader,
    is_page,
    unpack,
)

_TIMEOUT = (15, SILENCE)  # Seconds to connect, and without any data.
_CHUNK = 1 << 16
_LENGTH = re.compile("[0-9]{1,18}")  # As it is announced.
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")
_HEADERS = {
    # Without compression, so that the announced length is that of the file.
    "Accept-Encoding": "identity",
    "Accept": "image/*,*/*;q=0.5",
    "User-Agent": "dnnlib",
}


class PublicWeb:
    """A client that several threads may share. It keeps connections, and no cookies.

    Args:
        allow_private: also connect to private, loopback and other addresses that are not public.
        seconds: how long one answer may take from the first byte of its head to its last.
        max_bytes: how large an answer may be.
        max_redirects: how many redirects are followed for one URL.
        connections: how many connections to a host are kept.
        allowed_hosts: names that need no public address, since the user has given them.
        slowest: (bytes, seconds): that many must come in that time of waiting; None: any number.
    """

    def __init__(
        self,
        allow_private: bool = False,
        seconds: float = 60.0,
        max_bytes: int = 32 << 20,
        max_redirects: int = 5,
        connections: int = 8,
        allowed_hosts: frozenset[str] = frozenset(),
        slowest: tuple[int, float] | None = None,
    ):
        self._allow_private, self._allowed_hosts = allow_private, allowed_hosts
        self._max_bytes, self._max_redirects = max_bytes, max_redirects
        self._stop = threading.Event()
        self._session = Session()
        self._session.headers.update(_HEADERS)
        is_free = (lambda host: True) if allow_private else allowed_hosts.__contains__
        pools = _pool_classes(is_free, Patience(seconds, slowest, self._stop))
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, _Adapter(pools, pool_maxsize=connections))

    def stop(self) -> None:
        """Makes calls of `get`, those of other threads too, end soon."""
        self._stop.set()

    def get(self, url: str) -> tuple[bytes, bool]:
        """What a URL gives.

        Returns:
            The content, and whether the server has said where it ends.

        Raises:
            Refused: The URL, where it leads, or what comes is not acceptable.
            Passing: The connection or the server failed.
        """
        with self.open(url) as body:
            content = bytearray()
            for chunk in body.chunks:
                content += chunk
            return bytes(content), body.has_end

    @contextmanager
    def open(self, url: str, check: Callable[[str], None] | None = None) -> Iterator[Body]:
        """The answer to a URL, to be read inside the `with` block.

        Args:
            check: called with every URL that a redirect leads to, before it is asked for.

        Raises:
            Refused, Passing: see `get`; also while it is read.
        """
        with _described(), self._follow(url, check) as response:
            yield self._body(response)

    @contextmanager
    def _follow(self, url: str, check: Callable | None) -> Iterator[requests.Response]:
        response = None
        try:
            for _ in range(self._max_redirects + 1):
                try:
                    self._check_url(url)
                    response = self._open(url)
                    location = self._session.get_redirect_target(response)
                except requests.exceptions.InvalidHeader:
                    raise
                except ValueError as error:  # Also RequestExceptions such as InvalidURL.
                    raise Refused("not a valid URL") from error
                if location is None:
                    yield response
                    return
                response.close()
                url = _join(url, location)
                if check is not None:
                    check(url)
            raise Refused(f"more than {self._max_redirects} redirects")
        finally:
            if response is not None:
                response.close()

    def _check_url(self, url: str) -> None:
        """Refuses what can be refused without asking the DNS."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https"):
            raise Refused("only http and https URLs are downloaded")
        host = (parts.hostname or "").rstrip(".")
        if not host:
            raise Refused("not a valid URL")
        if self._allow_private or host in self._allowed_hosts:
            return
        if host == "localhost" or host.endswith(".localhost"):
            raise Refused(f"{host} is this machine, not a public address")
        with suppress(OSError):
            # Takes all spellings that a resolver takes: 127.1, 0x7f.0.0.1, 017700000001, 2130706433
            host = socket.inet_ntoa(socket.inet_aton(host))
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            return  # A name: see `_checked_addresses`.
        _check_address(str(address))

    def _open(self, url: str) -> requests.Response:
        return self._session.get(url, stream=True, timeout=_TIMEOUT)

    def _body(self, response: requests.Response) -> Body:
        code = response.status_code
        # The usual words, not the server's own.
        answer = f"the server answered {code} {http.client.responses.get(code, '')}".rstrip()
        if code >= 500 or code in (408, 429):
            raise Passing(answer, retry_after(response.headers))
        if code != 200:
            raise Refused(answer)
        text = response.headers.get("Content-Length")
        if text is not None and not _LENGTH.fullmatch(text.strip()):
            raise Refused(f"the server announces a length of {one_line(text, 60)!r}")
        encoding = response.headers.get("Content-Encoding", "").strip().lower()
        if encoding not in ("", "identity", "gzip", "x-gzip"):
            raise Refused(f"the server sends it encoded as {one_line(encoding, 60)!r}")
        # A server may take the format of an archive for its encoding.
        is_archive = re.search(r"\.(t?gz|gzip)$", urlsplit(response.url).path)
        is_packed = "gzip" in encoding and not is_archive
        length = None if text is None or is_packed else int(text)
        self._check_size(length or 0)
        # Chunks have an end, and so has gzip; without them and a length, a connection that broke
        # off looks like the end of the file. What is announced is counted by urllib3.
        is_chunked = "chunked" in response.headers.get("Transfer-Encoding", "").lower()
        has_end = text is not None or is_chunked or is_packed
        chunks = response.raw.stream(_CHUNK, decode_content=False)
        chunks = unpack(chunks) if is_packed else chunks
        return Body(length, has_end, self._checked(response, chunks))

    def _checked(self, response: requests.Response, chunks: Iterator[bytes]) -> Iterator[bytes]:
        received = 0
        for chunk in _read(chunks):
            if received == 0 and is_page(response, chunk):
                raise Refused(
                    "the server answered with an HTML page, not with a file: it may ask to log in, "
                    "or refuse large downloads"
                )
            received += len(chunk)
            self._check_size(received)
            yield chunk
        if received == 0:
            raise Passing("the server sent an empty file")

    def _check_size(self, size: int) -> None:
        if size > self._max_bytes:
            raise Refused(f"larger than the {self._max_bytes} bytes that are allowed")


def _read(chunks: Iterator[bytes]) -> Iterator[bytes]:
    try:
        yield from chunks
    except ValueError as error:  # What urllib3 makes of a chunk of a negative size.
        raise Passing("the sizes of the server's parts are none") from error


def _join(url: str, location: str) -> str:
    try:
        return urljoin(url, location)
    except ValueError as error:
        raise Refused("a redirect to what is not a valid URL") from error


def is_public(address: str) -> bool:
    """Whether an IPv4 or IPv6 address is one of the public internet.

    Addresses that hold another one are judged by it: IPv4-mapped, NAT64, 6to4.
    """
    ip = ipaddress.ip_address(address)
    if ip.version == 6:
        inner = ip.ipv4_mapped or ip.sixtofour
        if ip in _NAT64:
            inner = ipaddress.ip_address(int(ip) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
        if ip not in _GLOBAL_UNICAST:  # Such as fec0::/10, site-local.
            return False
    return ip.is_global and not (ip.is_multicast or ip.is_reserved or ip.is_unspecified)


def _check_address(address: str) -> None:
    if not is_public(address):
        raise Refused(f"{address} is not a public address")


def _checked_addresses(host: str, port: int) -> list[str]:
    """Addresses of a host, all of them public."""
    try:
        found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        if error.errno == socket.EAI_NONAME:
            raise Refused(f"there is no host {one_line(host)}") from error
        raise
    addresses = [info[4][0] for info in found]
    for address in addresses:
        _check_address(address)
    return addresses


class Session(requests.Session):
    """Requests without cookies, and without passwords of ~/.netrc, which are for other hosts.

    Of the environment, only proxies and certificates count. Redirects are left alone, also those
    that are not followed: `requests` would read their bodies.
    """

    def __init__(self) -> None:
        super().__init__()
        self.trust_env = False
        bundle = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE")
        self.verify = bundle or True
        self.cookies.set_policy(http.cookiejar.DefaultCookiePolicy(allowed_domains=[]))

    def request(self, method: str, url: str, **options) -> requests.Response:
        options |= {"proxies": requests.utils.get_environ_proxies(url), "allow_redirects": False}
        return super().request(method, url, **options)

    def resolve_redirects(self, *args, **options) -> Iterator[requests.Response]:
        return iter(())


class _Adapter(HTTPAdapter):
    """Makes connections of the given classes, also to a proxy."""

    def __init__(self, pools: dict[str, type], **options):
        self._pools = pools
        super().__init__(**options)

    def init_poolmanager(self, *args, **options) -> None:
        super().init_poolmanager(*args, **options)
        self.poolmanager.pool_classes_by_scheme = self._pools

    def proxy_manager_for(self, proxy: str, **options):
        manager = super().proxy_manager_for(proxy, **options)
        if not proxy.lower().startswith("socks"):  # Those have classes of their own.
            manager.pool_classes_by_scheme = self._pools
        return manager


def _pool_classes(is_free: Callable[[str], bool], patience: Patience) -> dict[str, type]:
    """Connection pools of urllib3 by scheme, whose connections keep the rules of this module.

    Args:
        is_free: whether a host needs no public address.
    """

    class Response(http.client.HTTPResponse):
        def __init__(self, sock: socket.socket, *args, **options):
            super().__init__(sock, *args, **options)
            self.fp = LimitedLines(TimedReader(self.fp.detach(), sock, patience))

        def begin(self) -> None:
            super().begin()
            # What could not be parsed, urllib3 would log together with the whole URL.
            self.msg.defects.clear()
            self.msg.set_payload(None)

    class Guarded:
        response_class = Response

        def _new_conn(self) -> socket.socket:
            if self.proxy is not None or is_free(self.host.rstrip(".").lower()):
                return super()._new_conn()
            return _connect(self)

    class Http(Guarded, urllib3.connection.HTTPConnection):
        pass

    class Https(Guarded, urllib3.connection.HTTPSConnection):
        pass

    class HttpPool(urllib3.HTTPConnectionPool):
        ConnectionCls = Http

    class HttpsPool(urllib3.HTTPSConnectionPool):
        ConnectionCls = Https

    return {"http": HttpPool, "https": HttpsPool}


def _connect(connection: urllib3.connection.HTTPConnection) -> socket.socket:
    """Connects to the first address of the host that answers, after all have been checked."""
    try:
        failure: OSError | None = None
        for address in _checked_addresses(connection.host, connection.port):
            try:
                return create_connection(
                    (address, connection.port),
                    connection.timeout,
                    connection.source_address,
                    connection.socket_options,
                )
            except OSError as error:
                failure = error
        raise failure or OSError("no address")
    except TimeoutError as error:
        raise ConnectTimeoutError(connection, "timed out") from error
    except OSError as error:
        raise NewConnectionError(connection, str(error)) from error


@contextmanager
def _described() -> Iterator[None]:
    """Failed requests in a few words: the text of an error may have the whole URL, with secrets."""
    try:
        yield
    except (requests.exceptions.SSLError, urllib3.exceptions.SSLError) as error:
        what = "the server's certificate is not valid or the connection is not secure"
        raise Refused(what) from error
    except requests.exceptions.InvalidHeader as error:
        raise Refused("the server's answer has headers that contradict each other") from error
    except (requests.Timeout, ReadTimeoutError) as error:
        raise Passing("timed out") from error
    except urllib3.exceptions.ProtocolError as error:
        raise Passing("the connection broke off") from error
    except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
        silent = error.args and isinstance(error.args[0], ReadTimeoutError)
        raise Passing("timed out" if silent else "the connection failed") from error
