"""A second cohort, invented apart from `sample_bundles`: what happened to each child, before a hospital writes it down.

Four other hospitals with twelve children each; numbers are drawn with a fixed seed, the stories are not. Every state,
response and event occurs at every hospital. Nothing here knows FHIR, OMOP or the study's code: the truth is planted.
"""

import random
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

HOSPITALS = {
    "NORD": "Europe/Berlin",
    "XINAN": "Asia/Shanghai",
    "WEST": "America/New_York",
    "OST": "Asia/Urumqi",
}
LOCK = date(2026, 1, 31)
POOR = {
    "BCR::ABL1",
    "TCF3::HLF",
    "KMT2A-r",
    "hypodiploidy_lt44",
    "iAMP21",
    "Ph-like",
    "MEF2D-r",
    "MYC-r",
    "IKZF1-del",
    "TP53",
    "complex_karyotype",
}
SUBTYPES = (
    "BCR::ABL1",
    "Ph-like",
    "KMT2A-r",
    "IKZF1-del",
    "ETV6::RUNX1",
    "hypodiploidy_lt44",
    "normal/other",
    "UNKNOWN",
    "TCF3::HLF",
    "iAMP21",
    "TP53",
    "DUX4-r",
)


@dataclass
class Marrow:
    """One marrow: day from the first bag of course 1; `mrd` in %, or a word: neg, pos, bq, below0.1 (a high limit)."""

    day: int
    blasts: float | None
    mrd: float | str


@dataclass
class Course:
    """One course: planned days, delivered days, one interruption (hours) after `held_after` delivered days."""

    start: int
    days: int
    held: int = 0
    held_after: int = 0
    step: bool = False
    state: str = ""
    pre: Marrow | None = None
    post: Marrow | None = None
    response: int | None = None
    mrd_neg: int | None = None
    crs: int | None = 0
    icans: int | None = 0
    antigen_left: float | None = None  # CD19+ % of blasts; 5 is lost
    b_cells: float | None = None  # 10*9/L on the day after the end; 0.004 is lost


@dataclass
class Kid:
    """One child: its courses, events and days, all in days from the first bag."""

    number: int
    hospital: str
    zero: date
    sex: str
    born: date
    weight: float
    height: float
    indication: str
    burden: int | None
    subtype: str
    stratum: str
    courses: list[Course]
    diagnosed: int
    relapse_before: int | None = None
    refractory_before: int | None = None
    delay: tuple[int, str] | None = None  # days before, reason
    hsct: int | None = None
    cart: int | None = None
    relapse: int | None = None
    second_malignancy: int | None = None
    death: int | None = None
    contact: int = 700
    efs: tuple[int, int, str] = (0, 0, "")
    high_mrd: int | None = 0
    t_cells: dict[str, tuple[float, float]] = field(default_factory=dict)  # before, after
    il6: tuple[str, str] = ("<2.44", "85.5")

    def day(self, offset: int) -> date:
        """The date so many days from the first bag."""
        return self.zero + timedelta(days=offset)

    def start(self, course: Course) -> datetime:
        """The local time of a course's first bag: eight in the evening."""
        return datetime.combine(self.day(course.start), datetime.min.time()) + timedelta(hours=20)


def _courses(story: int) -> list[Course]:
    """The courses of a story (0 to 11): states, marrows, responses, side effects."""
    neg = "neg"
    return {
        0: lambda: [
            Course(0, 28, 0, 0, True, "RR", Marrow(-3, 62.0, 55.0), Marrow(29, 2.0, neg), 1, 1, 2, 1, 95.0, 0.004)
        ],
        1: lambda: [
            Course(0, 28, 30, 9, False, "MRDpos", Marrow(-2, 2.0, 0.5), Marrow(31, 1.0, neg), 1, 1, 1, 0, 95.0, 0.045),
            Course(45, 28, 0, 0, False, "MRDneg", Marrow(40, 1.0, neg), Marrow(74, 1.0, neg), None, 1),
        ],
        2: lambda: [
            Course(0, 21, 0, 0, True, "RR", Marrow(-1, 40.0, 38.0), Marrow(22, 38.0, 30.0), 0, 0, 3, 2, 5.0, 0.045)
        ],
        3: lambda: [
            Course(0, 28, 72, 14, False, "MRDpos", Marrow(-6, 1.5, 2.3), Marrow(33, 1.0, neg), 1, 1, 0, 0, 90.0, 0.004)
        ],
        4: lambda: [
            Course(0, 28, 0, 0, False, "MRDpos", Marrow(-5, 2.5, 0.03), Marrow(30, 2.0, 0.02), 0, 0, 1, 0, 5.0, None)
        ],
        5: lambda: [Course(0, 14, 0, 0, False, "MRDneg", Marrow(-4, 1.0, neg), Marrow(15, 1.0, neg), None, 1)],
        6: lambda: [
            Course(0, 28, 0, 0, False, "MRDneg", Marrow(-4, 0.5, neg), Marrow(29, 0.5, neg), None, 1, None),
            Course(42, 21, 0, 0, False, "MRDneg", Marrow(40, 0.5, neg), Marrow(64, 0.5, neg), None, 1),
        ],
        7: lambda: [Course(0, 28, 0, 0, False, "MRDpos", Marrow(-3, 1.0, 0.01), Marrow(29, 1.0, "bq"), 1, 1)],
        8: lambda: [Course(0, 28, 0, 0, False, "MRDneg", Marrow(-2, 1.0, neg), Marrow(30, 1.0, neg), None, 1, 1)],
        9: lambda: [
            Course(0, 28, 0, 0, False, "MRDpos", Marrow(-2, 1.0, "pos"), Marrow(29, 1.0, neg), 1, 1, 0, 0, 90.0, 0.045)
        ],
        10: lambda: [Course(0, 28, 0, 0, False, "UNKNOWN", Marrow(-2, 1.0, "below0.1"), Marrow(29, 1.0, neg), None, 1)],
        11: lambda: [
            Course(0, 28, 6, 7, False, "MRDneg", Marrow(-7, 1.0, neg), Marrow(29, 1.0, neg), None, 1),
            Course(43, 28, 0, 0, False, "MRDneg", Marrow(41, 1.0, neg), Marrow(72, 1.0, 0.15), None, 0),
            Course(85, 14, 0, 0, False, "MRDpos", Marrow(82, 1.0, 0.08), Marrow(100, 1.0, neg), 1, 1),
        ],
    }[story]()


_STORIES = {
    0: {"indication": "RR", "relapse_before": -10, "hsct": 75, "contact": 800, "high_mrd": 1, "stratum": "RR"},
    1: {
        "indication": "RR",
        "relapse_before": -45,
        "burden": 1,
        "relapse": 300,
        "death": 420,
        "stratum": "RR",
        "efs": (300, 1, "relapse"),
    },
    2: {
        "indication": "RR",
        "refractory_before": -12,
        "burden": None,
        "death": 150,
        "high_mrd": 1,
        "stratum": "RR",
        "efs": (22, 1, "refractory"),
    },
    3: {"indication": "CR_MRDpos", "cart": 120, "high_mrd": 1, "contact": 650, "stratum": "CR_MRDpos"},
    4: {"indication": "CR_MRDpos", "relapse": 200, "contact": 560, "stratum": "CR_MRDpos", "efs": (200, 1, "relapse")},
    5: {"indication": "CHEMO_DELAY", "delay": (20, "infection"), "contact": 500, "stratum": "CR_MRDneg"},
    6: {
        "indication": "CHEMO_DELAY",
        "delay": (14, "liver"),
        "contact": 610,
        "stratum": "CR_MRDneg",
        "second_malignancy": 400,
        "efs": (400, 1, "second_malignancy"),
    },
    7: {"indication": "CHEMO_DELAY", "delay": (25, "intolerance"), "contact": 720, "stratum": "CR_MRDpos"},
    8: {
        "indication": "RR",
        "relapse_before": -60,
        "burden": 1,
        "hsct": 90,
        "death": 199,
        "stratum": "RR",
        "efs": (199, 1, "death_in_remission"),
    },
    9: {"indication": "CR_MRDpos", "contact": 480, "high_mrd": None, "stratum": "CR_MRDpos"},
    10: {
        "indication": "CHEMO_DELAY",
        "delay": (30, "infection"),
        "contact": 505,
        "high_mrd": None,
        "stratum": "UNKNOWN",
    },
    11: {"indication": "CHEMO_DELAY", "delay": (16, "liver"), "contact": 455, "stratum": "CR_MRDneg"},
}


def _change(kid: Kid) -> None:
    """What single children have beside their story."""
    first = kid.courses[0]
    assert first.pre is not None
    if kid.number == 501:  # the night in which Berlin's clocks go back falls into the interruption
        kid.zero, kid.born = date(2023, 10, 19), kid.born + (date(2023, 10, 19) - kid.zero)
    if kid.number == 529:  # "< 5 %" blasts
        first.pre.blasts = None


def children() -> list[Kid]:
    """The forty-eight children, always the same."""
    draw, kids = random.Random(20260), []
    for place, hospital in enumerate(HOSPITALS):
        for story in range(12):
            number = 500 + 12 * place + story
            # March and October: in Berlin and New York the clocks are changed while a bag runs.
            zero = date(2023, (3, 10, 5)[story % 3], 14 + draw.randrange(6))
            age = 365 * draw.randrange(2, 16) + draw.randrange(300)
            weight = round(10 + age / 365 * 2.6, 1)
            told = dict(_STORIES[story])
            kid = Kid(
                number=number,
                hospital=hospital,
                zero=zero,
                sex="MF"[draw.randrange(2)],
                born=zero - timedelta(days=age),
                weight=weight,
                height=round(78 + age / 365 * 6.2, 1),
                burden=told.pop("burden", 0),
                subtype=SUBTYPES[(story + 5 * place) % 12],
                courses=_courses(story),
                diagnosed=-(100 + draw.randrange(500)),
                **told,
            )
            if kid.death is not None:
                kid.contact = kid.death
            if not kid.efs[0]:
                kid.efs = (kid.contact, 0, "")
            first = round(0.2 + draw.random(), 2)
            _change(kid)
            kid.t_cells = {
                name: (round(first * share, 2), round(first * share * 1.3, 2))
                for name, share in (("CD3", 1.0), ("CD4", 0.4), ("CD8", 0.5))
            }
            kids.append(kid)
    return kids
