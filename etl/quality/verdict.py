"""What was judged: counts, failed checks, the gate."""

from dataclasses import dataclass

from etl.quality.status import Score


@dataclass(frozen=True)
class Expectation:
    """One expectation as Great Expectations judged it: its type, what it looked at, how many rows it refused."""

    kind: str
    subject: str
    severity: str
    success: bool
    examined: int
    refused: int


@dataclass(frozen=True)
class Verdict:
    """The judgement over a result frame.

    `failed` holds the ids of failed checks, `errors` of those that could not be asked, `refused` of those among both on
    which the gate hangs. `cdm`, `study` and `overall` are scores; `gate_ok` says whether the study may run.
    """

    failed: tuple[str, ...]
    errors: tuple[str, ...]
    refused: tuple[str, ...]
    overall: Score
    cdm: Score
    study: Score
    expectations: tuple[Expectation, ...]
    great_expectations: str

    @property
    def gate_ok(self) -> bool:
        """Whether every check on which the gate hangs holds or does not apply."""
        return not self.refused

    @property
    def passed(self) -> int:
        """How many checks passed."""
        return self.overall.passed
