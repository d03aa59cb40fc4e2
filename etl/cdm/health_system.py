"""Where care was given, by whom, and who paid."""

from sqlalchemy import Table

from etl.cdm.columns import METADATA, concept, count, day, key, link, number, row_id, text

location = Table(
    "location",
    METADATA,
    key("location_id"),
    text("address_1", 50),
    text("address_2", 50),
    text("city", 50),
    text("state", 2),
    text("zip", 9),
    text("county", 20),
    text("location_source_value", 50),
    concept("country_concept_id", standard=True),
    text("country_source_value", 80),
    number("latitude"),
    number("longitude"),
)

care_site = Table(
    "care_site",
    METADATA,
    key("care_site_id"),
    text("care_site_name", 255),
    concept("place_of_service_concept_id", standard=True),
    link("location_id", "location"),
    text("care_site_source_value", 50),
    text("place_of_service_source_value", 50),
)

provider = Table(
    "provider",
    METADATA,
    key("provider_id"),
    text("provider_name", 255),
    text("npi", 20),
    text("dea", 20),
    concept("specialty_concept_id", standard=True),
    link("care_site_id", "care_site"),
    count("year_of_birth"),
    concept("gender_concept_id", "Gender", standard=True),
    text("provider_source_value", 50),
    text("specialty_source_value", 50),
    concept("specialty_source_concept_id"),
    text("gender_source_value", 50),
    concept("gender_source_concept_id"),
)

payer_plan_period = Table(
    "payer_plan_period",
    METADATA,
    key("payer_plan_period_id"),
    link("person_id", "person", required=True),
    day("payer_plan_period_start_date", required=True),
    day("payer_plan_period_end_date", required=True),
    concept("payer_concept_id"),
    text("payer_source_value", 50),
    concept("payer_source_concept_id"),
    concept("plan_concept_id"),
    text("plan_source_value", 50),
    concept("plan_source_concept_id"),
    concept("sponsor_concept_id"),
    text("sponsor_source_value", 50),
    concept("sponsor_source_concept_id"),
    text("family_source_value", 50),
    concept("stop_reason_concept_id"),
    text("stop_reason_source_value", 50),
    concept("stop_reason_source_concept_id"),
)

cost = Table(
    "cost",
    METADATA,
    key("cost_id"),
    row_id("cost_event_id", required=True),
    text("cost_domain_id", 20, required=True, fk=("domain", "domain_id")),
    concept("cost_type_concept_id", required=True, standard=True),
    concept("currency_concept_id"),
    number("total_charge"),
    number("total_cost"),
    number("total_paid"),
    number("paid_by_payer"),
    number("paid_by_patient"),
    number("paid_patient_copay"),
    number("paid_patient_coinsurance"),
    number("paid_patient_deductible"),
    number("paid_by_primary"),
    number("paid_ingredient_cost"),
    number("paid_dispensing_fee"),
    row_id("payer_plan_period_id"),
    number("amount_allowed"),
    concept("revenue_code_concept_id"),
    text("revenue_code_source_value", 50),
    concept("drg_concept_id"),
    text("drg_source_value", 3),
)
