"""A mapping file turned into SQL, once per run: what is read of each resource, and what each rule writes.

Stage 1 reads every landed resource of a type once and evaluates all paths of its mapping (`Plan.expressions`). Stage 2
writes rows by rule (`RulePlan`) from those values, from resolved concepts and from resolved references. No value of a
patient is in a plan; plans can be printed.
"""

from dataclasses import dataclass, field

from etl.mapping.language import Concept, ResourceMapping, Rule
from etl.mapping.schema import Need
from etl.sql import quote

FAN_OUT_TABLES = frozenset({"condition_occurrence", "procedure_occurrence", "observation", "device_exposure"})
"""Tables that take one row per `Maps to` target; elsewhere a second target would double a dose or a value."""

REFERENCED_TABLES = {
    "Patient": "person",
    "Encounter": "visit_occurrence",
    "Practitioner": "provider",
    "PractitionerRole": "provider",
    "Organization": "care_site",
    "Location": "care_site",
    "Specimen": "specimen",
    "Condition": "condition_occurrence",
    "Procedure": "procedure_occurrence",
    "Device": "device_exposure",
}
"""The table that a reference to a resource means when the column's own name does not say it."""


LAST_VISIT = "lv.day"
"""SQL of the day of the person's last visit, where the rule's rows are joined with `stage.last_visits`."""


@dataclass(frozen=True)
class Reference:
    """A reference to another resource: where its text stands in the stage table, and the types it may point to."""

    name: str
    column: str
    to: tuple[str, ...]
    required: bool = False


@dataclass(frozen=True)
class Follow:
    """A coding set, the first of `paths`, read from the resource that a reference points to, or (`contained`, SQL)
    that is contained."""

    name: str
    reference: str
    to: str
    paths: tuple[str, ...]
    contained: str


@dataclass(frozen=True)
class Referral:
    """A reference taken from a resource (`referrer`) whose `element` refers to this one."""

    name: str
    referrer: str
    element: str
    path: str
    to: tuple[str, ...]


def followed_column(paths: tuple[str, ...]) -> str:
    """The stage column in which a resource keeps a coding set for those that follow a reference to it."""
    return "followed_" + "_".join(paths).replace(".", "_")


@dataclass(frozen=True)
class ConceptPlan:
    """A concept: the stage column of its coding sets, what it follows, and a column (`late`) for when that is empty."""

    name: str
    column: str
    concept: Concept
    follows: tuple[str, ...] = ()
    late: str | None = None

    @property
    def key(self) -> str:
        """The column beside the coding sets that holds their key (`stage.concepts.k`), NULL where there is no set."""
        return f"h_{self.column}"


def way_of(concept: Concept) -> str:
    """How a concept is resolved, as a text: equal sets of equal ways of one site have the same answer."""
    return "|".join((concept.kind, concept.vocabulary or "", *concept.prefer))


def concept_alias(name: str) -> str:
    """The alias under which a rule's SQL reads the row of `stage.concepts` of one of its concepts."""
    return f'"r_{name}"'


@dataclass(frozen=True)
class Lookup:
    """A reference column of a rule: the reference field, and the CDM table whose row it means."""

    reference: str
    table: str
    in_element: bool = False


@dataclass(frozen=True)
class Unlisted:
    """A code (`given`, SQL) that a column looks up: if it is none of `listed`, the site's code map is asked.

    What that does not know either goes to the work list. `words` (SQL) is the same where it is a text or a display and
    no code, else NULL.
    """

    column: str
    given: str
    listed: tuple[str, ...]
    words: str

    @property
    def test(self) -> str:
        """SQL that is true of a code that the list lacks."""
        return f"{self.given} NOT IN ({', '.join(quote(code) for code in self.listed)})"


@dataclass(frozen=True)
class RulePlan:
    """One rule as SQL.

    `columns` holds SQL in terms of `s` (the resource's stage row), `e` (the element of `for_each`), `r_<concept>` (its
    row of `stage.concepts`), `t` (the routed target), `i_<n>` for looked-up references, `l_<n>` for rows of another
    rule, `u_<n>` for codes in the site's map and `lv` for the person's last visit. `each` is the stage column with the
    elements, which rules of the same `for_each` share. `unless` (SQL) is true where another rule has no row. `above`
    are columns that hold the key of the rule's own row of another resource, whether or not there is one.
    """

    rule: Rule
    when: str | None
    each: str | None
    columns: dict[str, str]
    concepts: dict[str, ConceptPlan]
    each_concepts: dict[str, ConceptPlan]
    lookups: dict[str, Lookup]
    links: tuple[str, ...]
    precisions: dict[str, tuple[str, str]]
    claimed: tuple[str, ...]
    unlisted: tuple[Unlisted, ...] = ()
    unless: str | None = None
    above: tuple[str, ...] = ()

    @property
    def reads_last_visit(self) -> bool:
        """Whether a column bears the day of the person's last visit."""
        return any(LAST_VISIT in sql for sql in self.columns.values())

    @property
    def condition(self) -> str | None:
        """SQL of what must hold for a row, None when nothing must."""
        return " AND ".join(filter(None, (self.when, self.unless))) or None


@dataclass
class Plan:
    """All SQL of one resource type's mapping. `expressions` are stage-1 columns on `r`, the resource.

    `unfolded`: by stage column with a list of elements, the name that one element bears, and the SQL of what rules read
    of it.
    """

    mapping: ResourceMapping
    need: Need
    expressions: dict[str, str] = field(default_factory=dict)
    unfolded: dict[str, tuple[str, str]] = field(default_factory=dict)
    references: dict[str, Reference] = field(default_factory=dict)
    follows: dict[str, Follow] = field(default_factory=dict)
    referrals: dict[str, Referral] = field(default_factory=dict)
    concepts: dict[str, ConceptPlan] = field(default_factory=dict)
    outcome: str = "NULL"
    missing: str = "NULL"
    rules: list[RulePlan] = field(default_factory=list)
