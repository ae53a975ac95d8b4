"""HTTP for URLs that strangers have written: public addresses only, bounded in size and time.

A table of listings may name any URL, also one of a router, a cloud's metadata service or a program
on this machine. So each host is resolved here, its addresses are checked, and the connection goes
to an address that was checked: no later answer of the DNS can change it. Redirects are followed one
by one under the same rules.

With a proxy in the environment (`HTTPS_PROXY`, `HTTP_PROXY`, `NO_PROXY`), the proxy resolves names
and connects. Then only URLs that name an address or localhost can be refused here, and what else
may be reached is for the proxy to say.
"""

from __future__ import annotations

import http.client
import http.cookiejar
import io
import ipaddress
import os
import socket
import threading
import time
from urllib.parse import urljoin, urlsplit

import requests
import requests.utils
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError, ReadTimeoutError
from urllib3.util.connection import create_connection

from dnnlib.downloads import is_page
from dnnlib.retries import retry_after
from dnnlib.util import one_line

_TIMEOUT = (15, 30)  # Seconds to connect, and without any data.
_CHUNK = 1 << 16
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")
_HEADERS = {
    # Without compression, so that the announced length is that of the file.
    "Accept-Encoding": "identity",
    "Accept": "image/*,*/*;q=0.5",
    "User-Agent": "dnnlib",
}


class Refused(Exception):
    """An URL that gives nothing, however often it is tried; the message says why."""


class Passing(Exception):
    """A failure that may not happen again.

    Attributes:
        retry_after: seconds for which the server asks to be left alone, or None.
    """

    def __init__(self, reason: str, retry_after: float | None = None):
        super().__init__(reason)
        self.retry_after = retry_after


class PublicWeb:
    """A client that several threads may share. It keeps connections, and no cookies.

    Args:
        allow_private: also connect to private, loopback and other addresses that are not public.
        seconds: how long one answer may take from the first byte of its head to its last.
        max_bytes: how large an answer may be.
        max_redirects: how many redirects are followed for one URL.
        connections: how many connections to a host are kept.
    """

    def __init__(
        self,
        allow_private: bool = False,
        seconds: float = 60.0,
        max_bytes: int = 32 << 20,
        max_redirects: int = 5,
        connections: int = 8,
    ):
        self._allow_private = allow_private
        self._max_bytes, self._max_redirects = max_bytes, max_redirects
        self._stop = threading.Event()
        self._session = requests.Session()
        # Of the environment, only proxies and certificates count: no passwords of ~/.netrc.
        self._session.trust_env = False
        bundle = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE")
        self._session.verify = bundle or True
        self._session.headers.update(_HEADERS)
        policy = http.cookiejar.DefaultCookiePolicy(allowed_domains=[])
        self._session.cookies.set_policy(policy)
        pools = _pool_classes(allow_private, seconds, self._stop)
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, _Adapter(pools, pool_maxsize=connections))

    def stop(self) -> None:
        """Makes calls of `get`, those of other threads too, end soon."""
        self._stop.set()

    def get(self, url: str) -> tuple[bytes, bool]:
        """What an URL gives.

        Returns:
            The content, and whether the server has announced this length for it.

        Raises:
            Refused: The URL, where it leads, or what comes is not acceptable.
            Passing: The connection or the server failed.
        """
        try:
            for _ in range(self._max_redirects + 1):
                self._check_url(url)
                with self._open(url) as response:
                    location = self._session.get_redirect_target(response)
                    if location is None:
                        return self._content(response)
                    url = urljoin(url, location)
        except requests.exceptions.SSLError as error:
            what = "the server's certificate is not valid or the connection is not secure"
            raise Refused(what) from error
        except requests.RequestException as error:
            if isinstance(error, ValueError):  # InvalidURL, InvalidSchema and the like
                raise Refused("not a valid URL") from error
            # The text of the error may have the whole URL in it, with secrets.
            raise Passing(_describe(error)) from error
        except ValueError as error:  # host names that cannot be encoded
            raise Refused("not a valid URL") from error
        raise Refused(f"more than {self._max_redirects} redirects")

    def _check_url(self, url: str) -> None:
        """Refuses what can be refused without asking the DNS."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https"):
            raise Refused("only http and https URLs are downloaded")
        host = (parts.hostname or "").rstrip(".")
        if not host:
            raise Refused("not a valid URL")
        if self._allow_private:
            return
        if host == "localhost" or host.endswith(".localhost"):
            raise Refused(f"{host} is this machine, not a public address")
        try:
            # Takes all spellings that a resolver takes: 127.1, 0x7f.0.0.1, 017700000001, 2130706433
            host = socket.inet_ntoa(socket.inet_aton(host))
        except OSError:
            pass
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            return  # A name: see `_checked_addresses`.
        _check_address(str(address))

    def _open(self, url: str) -> requests.Response:
        proxies = requests.utils.get_environ_proxies(url)
        return self._session.get(
            url, stream=True, allow_redirects=False, timeout=_TIMEOUT, proxies=proxies
        )

    def _content(self, response: requests.Response) -> tuple[bytes, bool]:
        code = response.status_code
        answer = f"the server answered {code} {one_line(response.reason, 60)}".rstrip()
        if code >= 500 or code in (408, 429):
            raise Passing(answer, retry_after(response.headers))
        if code != 200:
            raise Refused(answer)
        text = response.headers.get("Content-Length", "")
        encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
        length = int(text) if text.isdecimal() and encoding == "identity" else None
        self._check_size(length or 0)
        received = bytearray()
        for chunk in response.iter_content(_CHUNK):
            if not received and is_page(response, chunk):
                raise Refused("the server answered with an HTML page, not with a file")
            received += chunk
            self._check_size(len(received))
        if length is not None and len(received) != length:
            raise Passing(f"short file: got {len(received)} of {length} bytes")
        if not received:
            raise Passing("the server sent an empty file")
        return bytes(received), length is not None

    def _check_size(self, size: int) -> None:
        if size > self._max_bytes:
            raise Refused(f"larger than the {self._max_bytes} bytes that are allowed")


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


def _pool_classes(allow_private: bool, seconds: float, stop: threading.Event) -> dict[str, type]:
    """Connection pools of urllib3 by scheme, whose connections keep the rules of this module."""

    class Response(http.client.HTTPResponse):
        def __init__(self, sock: socket.socket, *args, **options):
            super().__init__(sock, *args, **options)
            self.fp = io.BufferedReader(_TimedReader(self.fp.detach(), sock, seconds, stop))

    class Guarded:
        response_class = Response

        def _new_conn(self) -> socket.socket:
            if allow_private or self.proxy is not None:
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


class _TimedReader(io.RawIOBase):
    """Reads from a socket for a limited time in all.

    A timeout of the socket alone starts anew with every byte, so a server could hold us for ever.
    """

    def __init__(
        self, raw: io.RawIOBase, sock: socket.socket, seconds: float, stop: threading.Event
    ):
        self._raw, self._sock, self._stop = raw, sock, stop
        self._seconds, self._end = seconds, time.monotonic() + seconds

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int | None:
        left = self._end - time.monotonic()
        if self._stop.is_set():
            raise Refused("interrupted")
        if left <= 0:
            raise Refused(f"it takes longer than the {self._seconds:g} s that are allowed")
        self._sock.settimeout(min(left, _TIMEOUT[1]))
        try:
            return self._raw.readinto(buffer)
        except TimeoutError:
            if left > _TIMEOUT[1]:
                raise
            what = f"it takes longer than the {self._seconds:g} s that are allowed"
            raise Refused(what) from None

    def close(self) -> None:
        self._raw.close()
        super().close()


def _describe(error: requests.RequestException) -> str:
    """A failed request in a few words without the URL."""
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the connection broke off"
    silent = error.args and isinstance(error.args[0], ReadTimeoutError)
    return "timed out" if silent or isinstance(error, requests.Timeout) else "the connection failed"
