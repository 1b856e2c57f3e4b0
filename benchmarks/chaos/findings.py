"""What can be found wrong, and where it was found."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum


class Defect(StrEnum):
    """A kind of broken promise."""

    LOST = "lost"
    """Acknowledged, and not there, or not as it was acknowledged."""
    DOUBLED = "doubled"
    """There more often than it was asked for."""
    DIFFERENT = "different"
    """Two figures that should be equal are not."""
    DOCTOR = "doctor"
    """`farthing doctor` names a difference."""
    REFUSED = "refused"
    """A correct request, repeated after an error, was refused."""
    UNANSWERED = "unanswered"
    """A repeated request got no answer, although the service was well."""
    STALLED = "duties stalled"
    """A duty did not run within the bound after the fault was over."""
    NOT_BACK = "service not back"
    """The service did not come back within the bound."""
    EXITED = "process exited"
    """A process that nobody had killed ended."""
    READINESS = "readiness"
    """Readiness said something that was not so."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One defect; `where` names the phase and the round it was seen after."""

    defect: Defect
    detail: str
    where: str


@dataclass(slots=True)
class Findings:
    """Everything that was found wrong; each is printed as it is found."""

    found: list[Finding] = field(default_factory=list)
    where: str = ""
    """Set by the run as it goes from round to round."""

    def add(self, defect: Defect, detail: str) -> None:
        self.found.append(Finding(defect, detail, self.where))
        print(f"    !! {defect}: {detail}", flush=True)

    def count(self, defect: Defect) -> int:
        return sum(finding.defect is defect for finding in self.found)

    def __iter__(self) -> Iterator[Finding]:
        return iter(self.found)

    def __bool__(self) -> bool:
        return bool(self.found)
