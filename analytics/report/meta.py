"""What the report says about the run that made it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime


@dataclass(frozen=True)
class ReportMeta:
    """Provenance of one run. `synthetic` puts the word into the title and the sentence that forbids to read evidence.

    `created` is printed as given, so the caller decides its zone (UTC by habit). `extra` holds further lines for the
    provenance table (words → value), such as the database or the versions of libraries. `definitions` says in words
    what each parameter of the study means (name → text). Empty fields are not printed.
    """

    synthetic: bool
    run_id: str = ""
    study: str = "Blinatumomab in children with B-cell precursor acute lymphoblastic leukaemia"
    study_version: str = ""
    software: str = ""
    vocabulary_release: str = ""
    mapping_sha: str = ""
    param_hash: str = ""
    cdm_name: str = ""
    cdm_version: str = "5.4"
    data_lock: date | None = None
    created: datetime | None = None
    extra: Mapping[str, str] = field(default_factory=dict)
    definitions: Mapping[str, str] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """The report's title; it carries the word "synthetic" when the cohort is."""
        return f"{self.study}: synthetic cohort" if self.synthetic else self.study

    def lines(self) -> list[tuple[str, str]]:
        """The provenance as (what, value), without empty values."""
        when = self.created.isoformat(sep=" ", timespec="seconds") if self.created else ""
        pairs = [
            ("Run", self.run_id),
            ("Made on", when),
            ("Software", self.software),
            ("Study version", self.study_version),
            ("Parameter hash", self.param_hash),
            ("CDM", f"{self.cdm_name} (OMOP CDM {self.cdm_version})" if self.cdm_name else ""),
            ("Vocabulary release", self.vocabulary_release),
            ("Mapping (SHA-256)", self.mapping_sha),
            ("Data lock", self.data_lock.isoformat() if self.data_lock else ""),
            *((what, value) for what, value in self.extra.items()),
        ]
        return [(what, value) for what, value in pairs if value]
