"""The study derived again under the definitions of its parameter `sensitivity` (S7, S10, S13), from the same rows."""

from collections.abc import Mapping

from analytics.cdm import Cdm
from analytics.concept_sets import resolve_concept_sets
from analytics.derive import Derived, derive_from
from analytics.records import read_records
from analytics.study import Study
from etl.errors import StudyError


def derive_variants(cdm: Cdm, study: Study) -> dict[str, Derived]:
    """What is derived under each changed definition, by its name in the parameter `sensitivity`.

    The CDM is read once. Raises StudyError when a variant changes the data lock, or a parameter that is not there.
    """
    variants: Mapping[str, Mapping[str, object]] = study.get("sensitivity")
    if locked := [name for name, values in variants.items() if any(path.startswith("data_lock") for path in values)]:
        raise StudyError("a sensitivity variant cannot change the data lock", problems=locked)
    if not variants:
        return {}
    sets = resolve_concept_sets(cdm, study)
    records = read_records(cdm, sets, study)
    return {name: derive_from(cdm, sets, records, study.varied(values)) for name, values in variants.items()}
