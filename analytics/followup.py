"""Deaths, transplants, CAR-T and the last clinical contact (`death_date@1`, `hsct@1`, `cart@1`, `last_contact@1`)."""

from datetime import date

import polars as pl

from analytics.concept_sets import ConceptSets
from analytics.courses import days_between
from analytics.disease import condition_in
from analytics.findings import Findings
from analytics.records import Records
from analytics.study import Study

_CONTACTS = {
    "measurement": ("measurements", "measurement_date", None),
    "drug_exposure": ("drugs", "drug_exposure_start_date", "drug_type_concept_id"),
    "procedure_occurrence": ("procedures", "procedure_date", None),
    "condition_occurrence": ("conditions", "condition_start_date", None),
}


def derive_deaths(records: Records, sets: ConceptSets, study: Study, findings: Findings) -> pl.DataFrame:
    """person_id, death_date, death_table, death_id, month_only: the most precise dated source, up to the data lock."""
    sources = pl.concat([_registered(records), _followed_up(records, sets), _expired(records, study)])
    by_person = sources.with_columns(month=pl.col("date").dt.truncate("1mo")).sort(
        "person_id", "imprecise", "rank", "date", "source_id"
    )
    # A first of the month beside another day of the same month is a month-only date in a CDM without lineage.
    rounded = (pl.col("date") == pl.col("month")) & (pl.col("date").n_unique().over("person_id", "month") > 1)
    by_person = by_person.with_columns(imprecise=pl.col("imprecise") | rounded).sort(
        "person_id", "imprecise", "rank", "date", "source_id"
    )
    best = by_person.unique("person_id", keep="first", maintain_order=True)
    findings.count("dq_death_month_only", by_person.filter("imprecise").unique("person_id"), best)
    exact = by_person.filter(~pl.col("imprecise"))
    conflict = exact.group_by("person_id").agg(pl.col("date").n_unique()).filter(pl.col("date") > 1)
    findings.count("dq_death_source_conflict", conflict, best)
    middle = pl.col("date") + pl.duration(days=study.get("death_date.month_only_day") - 1)
    best = best.select(
        "person_id",
        death_date=pl.when("imprecise").then(middle).otherwise("date"),
        death_table="source_table",
        death_id="source_id",
        month_only="imprecise",
    )
    late = pl.lit(value=False) if records.lock is None else pl.col("death_date") > records.lock
    findings.count("dq_after_lock", best.filter(late), best)
    return best.filter(~late)


def _registered(records: Records) -> pl.DataFrame:
    return records.deaths.filter(pl.col("death_date").is_not_null()).select(
        "person_id",
        date="death_date",
        imprecise=pl.col("person_id").is_in(records.imprecise("death")),
        rank=pl.lit(0),
        source_table=pl.lit("death"),
        source_id="person_id",
    )


def _followed_up(records: Records, sets: ConceptSets) -> pl.DataFrame:
    rows = records.observations.filter(
        sets.within("observation_concept_id", "CS_FOLLOWUP_STATUS"), sets.within("value_as_concept_id", "CS_FU_DEAD")
    )
    return rows.select(
        "person_id",
        date="observation_date",
        imprecise=pl.col("observation_id").is_in(records.imprecise("observation")),
        rank=pl.lit(1),
        source_table=pl.lit("observation"),
        source_id="observation_id",
    )


def _expired(records: Records, study: Study) -> pl.DataFrame:
    words = "|".join(study.get("death_date.expired"))
    rows = records.visits.filter(
        pl.col("discharged_to_source_value").str.contains(words), pl.col("visit_end_date").is_not_null()
    )
    return rows.select(
        "person_id",
        date="visit_end_date",
        imprecise=pl.lit(value=False),
        rank=pl.lit(2),
        source_table=pl.lit("visit_occurrence"),
        source_id="visit_occurrence_id",
    )


def derive_therapies(
    patients: pl.DataFrame, records: Records, sets: ConceptSets, study: Study, findings: Findings
) -> pl.DataFrame:
    """person_id, event (hsct or cart), date, grade, source_table, source_id: the first of each after the first bag.

    Grade C: recorded as done elsewhere (R39).
    """
    middle = pl.col("procedure_date") + pl.duration(days=study.get("death_date.month_only_day") - 1)
    is_month = pl.col("procedure_occurrence_id").is_in(records.imprecise("procedure_occurrence"))
    elsewhere = "|".join(study.get("hsct.external_words"))
    says_elsewhere = pl.col("procedure_source_value").str.contains(elsewhere).fill_null(value=False)
    procedures = records.procedures.with_columns(
        date=pl.when(is_month).then(middle).otherwise("procedure_date"),
        grade=pl.when(says_elsewhere).then(pl.lit("C")).otherwise(pl.lit("A")),
    )
    given = records.drugs.filter(
        pl.col("drug_type_concept_id").is_in(study.get("exposure_type.administration_type_concept_ids"))
    )
    found = []
    for event, concept_set in (("hsct", "CS_HSCT"), ("cart", "CS_CART")):
        done = sets.within("procedure_concept_id", concept_set) | sets.within(
            "procedure_source_concept_id", concept_set
        )
        infused = sets.within("drug_concept_id", concept_set) | sets.within("drug_source_concept_id", concept_set)
        found += [
            procedures.filter(done).select(
                "person_id", "date", "grade", event=pl.lit(event), source_table=pl.lit("procedure_occurrence"),
                source_id="procedure_occurrence_id",
            ),
            given.filter(infused).select(
                "person_id", date="drug_exposure_start_date", event=pl.lit(event), source_table=pl.lit("drug_exposure"),
                source_id="drug_exposure_id", grade=pl.lit("A"),
            ),
            _told(records, sets, study, event, concept_set),
        ]  # fmt: skip
    events = pl.concat(found, how="diagonal").join(patients.select("person_id", "first_blina_date"), on="person_id")
    earliest = pl.when(pl.col("event") == "hsct").then(study.get("hsct.from_day")).otherwise(study.get("cart.from_day"))
    in_time = days_between(pl.col("first_blina_date"), pl.col("date")) >= earliest
    if records.lock is not None:
        in_time = in_time & (pl.col("date") <= records.lock)
    events = events.filter(in_time)
    is_told = pl.col("source_table").is_in(["observation", "condition_occurrence"])
    recorded = events.filter(~is_told)
    told = events.filter(is_told).join(recorded, on=["person_id", "event"], how="anti")
    events = pl.concat([recorded, told])
    findings.count("dq_hsct_external", events.filter((pl.col("event") == "hsct") & (pl.col("grade") == "C")), events)
    ordered = events.sort("person_id", "event", "date", "source_table", "source_id")
    return ordered.unique(["person_id", "event"], keep="first", maintain_order=True).drop("first_blina_date")


def _told(records: Records, sets: ConceptSets, study: Study, event: str, concept_set: str) -> pl.DataFrame:
    """A therapy that is told of (an observation, or a condition "status post"), grade C; counts where no other does."""
    columns = ("observation_concept_id", "observation_source_concept_id", "value_as_concept_id")
    said = pl.any_horizontal(sets.within(one, concept_set) for one in columns)
    told = []
    for table, rows, day, holds in (
        ("observation", records.observations, "observation_date", said),
        ("condition_occurrence", records.conditions, "condition_start_date", condition_in(sets, concept_set)),
    ):
        middle = pl.col(day) + pl.duration(days=study.get("death_date.month_only_day") - 1)
        is_month = pl.col(f"{table}_id").is_in(records.imprecise(table))
        told.append(rows.filter(holds & pl.col(day).is_not_null()).select(
            "person_id", date=pl.when(is_month).then(middle).otherwise(day), grade=pl.lit("C"), event=pl.lit(event),
            source_table=pl.lit(table), source_id=f"{table}_id",
        ))  # fmt: skip
    return pl.concat(told)


def derive_last_contacts(
    patients: pl.DataFrame, deaths: pl.DataFrame, records: Records, sets: ConceptSets, study: Study, findings: Findings
) -> pl.DataFrame:
    """person_id, last_contact_date, contact_table, contact_id: the latest clinical record up to lock and death.

    The end of a finished visit (or the lock when it crosses the lock, A24), results, administrations, procedures,
    conditions recorded in a visit, and a follow-up that says "alive". The date of death if the person died.
    """
    contacts = _contacts(records, sets, study).join(patients.select("person_id"), on="person_id", how="semi")
    contacts = contacts.join(deaths.select("person_id", "death_date"), on="person_id", how="left")
    after_death = (pl.col("date") > pl.col("death_date")).fill_null(value=False)
    findings.count("dq_after_death", contacts.filter(after_death), contacts)
    ordered = contacts.filter(~after_death).sort("person_id", "date", "source_table", "source_id")
    last = ordered.unique("person_id", keep="last", maintain_order=True)
    joined = patients.select("person_id").join(last, on="person_id", how="left")
    joined = joined.drop("death_date").join(
        deaths.select("person_id", "death_date", "death_table", "death_id"), on="person_id", how="left"
    )
    dead = pl.col("death_date").is_not_null()
    return joined.select(
        "person_id",
        last_contact_date=pl.coalesce("death_date", "date"),
        contact_table=pl.when(dead).then("death_table").otherwise("source_table"),
        contact_id=pl.when(dead).then("death_id").otherwise("source_id"),
    )


def _contacts(records: Records, sets: ConceptSets, study: Study) -> pl.DataFrame:
    """person_id, date, source_table, source_id of every clinical contact up to the lock."""
    wanted, frames = study.get("last_contact.tables"), []
    lock = records.lock or date.max
    types = study.get("exposure_type.administration_type_concept_ids")
    if "visit_occurrence" in wanted:
        visits = records.visits.filter(pl.col("visit_start_date") <= lock)
        end = pl.min_horizontal(pl.coalesce("visit_end_date", "visit_start_date"), pl.lit(lock))
        frames.append(_as_contacts(visits.with_columns(day=end), "visit_occurrence", "day"))
    for table, (name, day, type_column) in _CONTACTS.items():
        if table not in wanted:
            continue
        rows: pl.DataFrame = getattr(records, name)
        if type_column is not None:
            rows = rows.filter(pl.col(type_column).is_in(types))
        if table == "condition_occurrence":
            rows = rows.filter(pl.col("visit_occurrence_id").is_not_null())
        frames.append(_as_contacts(rows, table, day))
    alive = records.observations.filter(
        sets.within("observation_concept_id", "CS_FOLLOWUP_STATUS"), sets.within("value_as_concept_id", "CS_FU_ALIVE")
    )
    frames.append(_as_contacts(alive, "observation", "observation_date"))
    return pl.concat(frames).filter(pl.col("date") <= lock)


def _as_contacts(rows: pl.DataFrame, table: str, day: str) -> pl.DataFrame:
    return rows.select("person_id", date=day, source_table=pl.lit(table), source_id=f"{table}_id")


def day_of(events: pl.DataFrame, event: str, patients: pl.DataFrame) -> pl.DataFrame:
    """person_id, <event>_day: days from the first bag."""
    joined = events.filter(pl.col("event") == event).join(
        patients.select("person_id", "first_blina_date"), on="person_id"
    )
    return joined.select("person_id", days_between(pl.col("first_blina_date"), pl.col("date")).alias(f"{event}_day"))
