"""The first step of a verified session: a token for feedback, had through the supporter, who learns nothing of it.

Host:  ``offer_grant`` → (seeker asks) ``TokenAsked`` → ``give_token`` or ``no_token``
Guest: ``GrantOffered`` → ``ask_token`` → ``TokenArrived`` or ``TokenRefused``

Here is only who may say what, and once; whether grant and token hold is for ``feedback`` (see ``feedback.tokens``).
"""

from __future__ import annotations

from typing import Any

from warmline_protocol.errors import UsageError
from warmline_protocol.feedback.messages import Grant, TokenAsk, TokenGiven, TokenMissing
from warmline_protocol.session import events
from warmline_protocol.session.messages import Body
from warmline_protocol.session.pair_asks import PairAsks
from warmline_protocol.wire import to_wire


class PairFeedback(PairAsks):
    """Adds the token exchange to :class:`~.pair_asks.PairAsks`."""

    def __init__(self, *args: Any, **rest: Any) -> None:
        super().__init__(*args, **rest)
        self._token_step = ""
        """How far the exchange is: offered, asked, done."""

    def offer_grant(self, grant: Grant, now_ms: int) -> None:
        """The supporter shows under which grant a token can be had."""
        self._check_step("", host=True)
        self._say_step(grant, "offered", now_ms)

    def ask_token(self, ask: TokenAsk, now_ms: int) -> None:
        """The seeker asks for a signature of something blinded."""
        self._check_step("offered", host=False)
        self._say_step(ask, "asked", now_ms)

    def give_token(self, given: TokenGiven, now_ms: int) -> None:
        """What the issuer signed."""
        self._check_step("asked", host=True)
        self._say_step(given, "done", now_ms)

    def no_token(self, missing: TokenMissing, now_ms: int) -> None:
        """None can be had; before the seeker asked, or after."""
        if self._token_step == "done":
            raise UsageError("the token was given already")
        self._check_step(self._token_step, host=True)
        self._say_step(missing, "done", now_ms)

    def _check_step(self, step: str, *, host: bool) -> None:
        self._check_open()
        if self.is_host != host or self._token_step != step:
            raise UsageError("this is not the time for that")

    def _say_step(self, body: Body, step: str, now_ms: int) -> None:
        self._token_step = step
        self._enqueue(body, now_ms, told=False)
        self._pump(now_ms)

    def _hear_ask(self, body: Body) -> bool:
        match body:
            case Grant() if not self.is_host and not self._token_step:
                self._token_step = "offered"
                self._emit(events.GrantOffered(to_wire(body)))
            case TokenAsk(blinded=blinded) if self.is_host and self._token_step == "offered":
                self._token_step = "asked"
                self._emit(events.TokenAsked(blinded))
            case TokenGiven(signed=signed) if not self.is_host and self._token_step == "asked":
                self._token_step = "done"
                self._emit(events.TokenArrived(signed))
            case TokenMissing(why=why) if not self.is_host and self._token_step != "done":
                self._token_step = "done"
                self._emit(events.TokenRefused(why))
            case _:
                return super()._hear_ask(body)
        return True

    def _asks_fields(self) -> dict[str, Any]:
        return super()._asks_fields() | {"token_step": self._token_step}

    def _restore_asks(self, fields: dict[str, Any]) -> None:
        super()._restore_asks(fields)
        self._token_step = fields["token_step"]
