"""A client of eBay's Browse API (buy/browse/v1): tokens, calls, errors.

Client id and secret come from the environment and, like the tokens, are kept in memory only. No
message holds them, also where a server repeats them.
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import requests
import requests.auth

from dnnlib import UserError
from dnnlib.public_web import Session
from dnnlib.retries import Backoff, Passing, retry_after
from dnnlib.util import one_line

PAGE_SIZE = 200  # The most that a call gives.
MAX_RESULTS = 10_000  # Of a query, whatever its total is.
CALLS_A_DAY = 5_000  # Searches, by default; eBay raises it on request.
CONDITIONS = {"new": "NEW", "used": "USED"}

_PRODUCTION, _SANDBOX = "https://api.ebay.com", "https://api.sandbox.ebay.com"
_TOKEN = "/identity/v1/oauth2/token"
_SEARCH = "/buy/browse/v1/item_summary/search"
_SCOPE = "https://api.ebay.com/oauth/api_scope"  # In the sandbox too.
_INVALID_TOKEN = 1001
_TIMEOUT = (15, 60)  # Seconds to connect, and without any data.


class QuotaUsedUp(Exception):
    """eBay takes no more calls for now; the message says what it answered."""


class _Busy(Passing):
    """eBay takes no more calls for a moment."""


@dataclass(frozen=True)
class Credentials:
    """What eBay's developer program gives to an application."""

    client_id: str = field(repr=False)
    client_secret: str = field(repr=False)


@dataclass(frozen=True)
class Search:
    """What to look for. The pictures of one folder come from one search.

    Attributes:
        query: words, or None.
        category: number of a category, or None.
        marketplace: as in EBAY_US.
        condition: one of CONDITIONS, or None for any.
        filter: further filters as eBay's documentation describes them, or None.
        additional_images: take all pictures of a listing, not only the first.
        sandbox: search eBay's sandbox.
    """

    query: str | None = None
    category: str | None = None
    marketplace: str = "EBAY_US"
    condition: str | None = None
    filter: str | None = None
    additional_images: bool = False
    sandbox: bool = False

    def check(self) -> None:
        """Raises a UserError that names the option which is wrong."""
        if not (self.query or "").strip() and not self.category:
            raise UserError("nothing to look for: give --query, --category or both")
        if self.category and not re.fullmatch(r"[0-9]+", self.category):
            raise UserError(
                f"--category={self.category}: expected the number of a category, like 15724 in "
                "the address of its page"
            )
        if not re.fullmatch(r"EBAY_(?:[A-Z]{2}|MOTORS_US)", self.marketplace):
            raise UserError(f"--marketplace={self.marketplace}: expected one like EBAY_US, EBAY_DE")
        if self.condition not in (None, *CONDITIONS):
            raise UserError(f"--condition={self.condition}: expected {' or '.join(CONDITIONS)}")

    def parameters(self, offset: int, limit: int) -> dict[str, str | int]:
        """Of a call."""
        filters = [self.filter] if self.filter else []
        if self.condition:
            filters.append(f"conditions:{{{CONDITIONS[self.condition]}}}")
        values = {"q": self.query, "category_ids": self.category, "filter": ",".join(filters)}
        given: dict[str, str | int] = {key: value for key, value in values.items() if value}
        return given | {"limit": limit, "offset": offset}


def environment_credentials() -> Credentials:
    """Of EBAY_CLIENT_ID and EBAY_CLIENT_SECRET.

    Raises:
        UserError: One is not set, or cannot be a credential.
    """
    values = []
    for name in ("EBAY_CLIENT_ID", "EBAY_CLIENT_SECRET"):
        value = os.environ.get(name, "").strip()
        if not value:
            raise UserError(
                f"{name} is not set: set EBAY_CLIENT_ID and EBAY_CLIENT_SECRET in the environment "
                "to the App ID and Cert ID of your keyset (https://developer.ebay.com/my/keys)"
            )
        if not (value.isascii() and value.isprintable()):
            raise UserError(f"{name} holds characters that no eBay credential has")
        values.append(value)
    return Credentials(*values)


def api_url(sandbox: bool = False) -> str:
    """Where the API is. $EBAY_API_URL replaces it for tests, with a server on this machine only."""
    url = os.environ.get("EBAY_API_URL")
    if not url:
        return _SANDBOX if sandbox else _PRODUCTION
    if not is_test_server(url):
        raise UserError("EBAY_API_URL is for tests: expected http://127.0.0.1:PORT, or not set")
    return url.rstrip("/")


def is_test_server(url: str) -> bool:
    """Whether an API is a server of tests on this machine."""
    try:
        parts = urlsplit(url)
        return parts.scheme == "http" and parts.hostname in ("127.0.0.1", "localhost", "::1")
    except ValueError:
        return False


class BrowseApi:
    """Searches listings.

    Args:
        credentials: Of the application.
        url: Where the API is, without the slash at the end.
        marketplace: As in EBAY_US.
        count_call: Called before each call that counts. May raise QuotaUsedUp.
        backoff: How often and when what failed is tried again.
    """

    def __init__(
        self,
        credentials: Credentials,
        url: str,
        marketplace: str,
        count_call: Callable[[], None],
        backoff: Backoff,
    ):
        self._credentials, self._url, self._marketplace = credentials, url, marketplace
        self._count_call, self._backoff = count_call, backoff
        self._session = Session()
        self._token, self._renew_at = "", 0.0
        self._warned: set[str] = set()

    def search(self, parameters: Mapping[str, str | int]) -> dict[str, Any]:
        """A page of results, as eBay's documentation describes it. Prints eBay's warnings.

        Raises:
            UserError: eBay refuses the credentials or the query, or cannot be reached.
            QuotaUsedUp: eBay takes no more calls for now.
        """
        answer = self._search(parameters)
        if answer.is_token_invalid:
            self._token = ""
            answer = self._search(parameters)
        if answer.code != 200:
            raise UserError(self._redact(f"eBay {answer.text}"))
        if answer.content is None:
            raise UserError("eBay answered with something else than JSON: try again later")
        for warning in answer.problems("warnings"):
            if warning not in self._warned:
                self._warned.add(warning)
                print(self._redact(f"eBay warns: {warning}"), file=sys.stderr)
        return answer.content

    def _search(self, parameters: Mapping[str, str | int]) -> _Answer:
        if not self._token or time.monotonic() >= self._renew_at:
            self._renew_token()
        headers = {"X-EBAY-C-MARKETPLACE-ID": self._marketplace, "Accept": "application/json"}
        headers["Authorization"] = f"Bearer {self._token}"
        return self._send("GET", _SEARCH, self._count_call, params=parameters, headers=headers)

    def _renew_token(self) -> None:
        credentials = self._credentials
        answer = self._send(
            "POST",
            _TOKEN,
            auth=requests.auth.HTTPBasicAuth(credentials.client_id, credentials.client_secret),
            data={"grant_type": "client_credentials", "scope": _SCOPE},
        )
        content = answer.content or {}
        if answer.code != 200:
            raise UserError(
                self._redact(f"eBay gives no token, it {answer.text}")
                + ": check EBAY_CLIENT_ID and EBAY_CLIENT_SECRET; production and sandbox have "
                "different ones"
            )
        token, seconds = content.get("access_token"), content.get("expires_in")
        if not (isinstance(token, str) and token.isascii() and token.isprintable() and token):
            raise UserError("eBay's answer to the request for a token holds none: try again later")
        seconds = float(seconds) if isinstance(seconds, (int, float)) else 7200.0
        self._token = token
        self._renew_at = time.monotonic() + 0.9 * seconds

    def _send(
        self, method: str, path: str, before: Callable[[], None] | None = None, **options
    ) -> _Answer:
        """An answer that another attempt would not change."""

        def attempt() -> _Answer:
            if before is not None:
                before()
            return self._attempt(method, path, **options)

        try:
            return self._backoff.repeat(attempt, _wait)
        except _Busy as error:
            raise QuotaUsedUp(f"eBay {error}") from None
        except Passing as error:
            times = f"{self._backoff.attempts} times"
            raise UserError(f"eBay {error}, {times}: try again later") from None

    def _attempt(self, method: str, path: str, **options) -> _Answer:
        try:
            # Redirects are not followed: the token is for eBay alone.
            answer = _Answer(
                self._session.request(method, self._url + path, timeout=_TIMEOUT, **options)
            )
        except requests.exceptions.SSLError:
            raise UserError("eBay's certificate is not valid: check proxy and clock") from None
        except requests.RequestException as error:  # Its text may hold what is secret.
            timed_out = isinstance(error, requests.Timeout)
            what = "did not answer in time" if timed_out else "cannot be reached"
            raise Passing(what) from None
        failure, wait = self._redact(answer.text), answer.retry_after
        if answer.code == 429:
            if wait is None or wait > self._backoff.longest:
                raise QuotaUsedUp(f"eBay {failure}")
            raise _Busy(failure, wait)
        if answer.code >= 500:
            raise Passing(failure, wait)
        return answer

    def _redact(self, text: str) -> str:
        for secret in (self._credentials.client_secret, self._credentials.client_id, self._token):
            text = text.replace(secret, "…") if secret else text
        return one_line(text, 500)


def _wait(error: Passing, pause: float) -> None:
    print(f"eBay {error}; trying again in {pause:.1f} s", file=sys.stderr)
    time.sleep(pause)


class _Answer:
    """What the server said. `content` is a JSON object, or None if it is something else."""

    def __init__(self, response: requests.Response):
        self.code = response.status_code
        self.retry_after = retry_after(response.headers)
        self._reason = response.reason
        try:
            content = response.json()
        except ValueError:
            content = None
        self.content: dict[str, Any] | None = content if isinstance(content, dict) else None

    @property
    def is_token_invalid(self) -> bool:
        errors = (self.content or {}).get("errors")
        return self.code == 401 or (
            self.code != 200
            and isinstance(errors, list)
            and any(isinstance(e, dict) and e.get("errorId") == _INVALID_TOKEN for e in errors)
        )

    @property
    def text(self) -> str:
        """`answered 400 Bad Request: error 12001: The call must have …`."""
        content = self.content or {}
        parts = self.problems("errors")
        if isinstance(content.get("error"), str):  # As the token server has it.
            parts += [content["error"], content.get("error_description")]
        text = f"answered {self.code} {self._reason or ''}".rstrip()
        return ": ".join([text, *(str(part) for part in parts if part)])

    def problems(self, key: str) -> list[str]:
        """Errors or warnings as text: `error 12001: message longMessage`."""
        entries = (self.content or {}).get(key)
        texts = []
        for entry in entries if isinstance(entries, list) else []:
            if isinstance(entry, dict):
                message = str(entry.get("message") or "")
                long = str(entry.get("longMessage") or "")
                text = long if long.startswith(message) else f"{message} {long}".rstrip()
                texts.append(f"{key[:-1]} {entry.get('errorId')}: {text}")
        return texts
