"""The error tree: four trunks, told apart by what the reader should do next.

`Refused`         change the request, or ask the operator; nothing was sent.
`Unavailable`     something is missing right now; wait or repair it, then try again; nothing was sent.
`OutcomeUnknown`  it was sent and not answered; find out first, never send again.
`Fault`           our own mistake; report it.
"""

from __future__ import annotations

from collections.abc import Sequence


class ProductError(Exception):
    """What all errors carry: a stable code, a sentence, and what to do next."""

    def __init__(
        self,
        code: str,
        message: str,
        *,
        next_step: str = "",
        details: Sequence[str] = (),
        retry_after_seconds: float | None = None,
        broker_code: int | None = None,
        broker_text: str | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.next_step = next_step
        self.details = tuple(details)
        self.retry_after_seconds = retry_after_seconds
        self.broker_code = broker_code
        self.broker_text = broker_text
        """The broker's own words: untrusted text, quoted and never interpreted."""

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


class Refused(ProductError):
    """The request may not be carried out as it is; nothing was sent."""


class Unavailable(ProductError):
    """Something that the request needs is missing at the moment; nothing was sent."""


class OutcomeUnknown(ProductError):
    """The request left, and no proof of its outcome came back; reconcile before anything else."""


class Fault(ProductError):
    """The product itself failed."""


class ConfigurationError(Exception):
    """The start is refused: one line for each setting that is wrong, each naming its variable."""

    EXIT_CODE = 78  # EX_CONFIG of sysexits.h

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)
