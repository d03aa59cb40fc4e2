"""The planted truth of the second cohort as two frames in the study's words, to be compared row by row."""

from datetime import timedelta

import polars as pl
from second_story import POOR, Course, Kid


def end_day(course: Course) -> int:
    """The day (from the first bag of course 1) on which a course ends: evening starts, so hours pass midnight."""
    return course.start + (20 + 24 * course.days + course.held) // 24


def regimen(kid: Kid, course: Course) -> str:
    """The nominal dose in the study's words."""
    if kid.weight >= 45:
        return "9->28 ug/d" if course.step else "28 ug/d"
    return "5->15 ug/m2/d" if course.step else "15 ug/m2/d"


def shown_mrd(written: float | str) -> float | None:
    """The MRD in % that a table shows."""
    if isinstance(written, float):
        return written
    return {"neg": 0.0, "pos": None, "bq": None, "below0.1": None}[written]


def patients_frame(kids: list[Kid]) -> pl.DataFrame:
    """One row per child, `number` as key."""
    rows = []
    for kid in kids:
        flag = None if kid.subtype == "UNKNOWN" else int(kid.subtype in POOR)
        rows.append(
            {
                "number": kid.number,
                "site": kid.hospital,
                "sex": kid.sex,
                "birth_date": kid.born,
                "diagnosis_date": kid.day(kid.diagnosed),
                "first_blina_date": kid.zero,
                "indication": kid.indication,
                "burden_reduction_chemo": kid.burden,
                "pre_course1_state": kid.courses[0].state,
                "km_stratum": kid.stratum,
                "genetic_subtype": kid.subtype,
                "poor_cytogenetics": flag,
                "bcr_abl1": None if flag is None else int(kid.subtype == "BCR::ABL1"),
                "high_mrd_ge1pct": kid.high_mrd,
                "n_courses": len(kid.courses),
                "hsct_day": kid.hsct,
                "cart_day": kid.cart,
                "efs_days": kid.efs[0],
                "efs_event": kid.efs[1],
                "efs_event_type": kid.efs[2],
                "os_days": kid.contact,
                "os_event": int(kid.death is not None),
                "last_contact_date": kid.day(kid.contact),
            }
        )
    return pl.DataFrame(rows, infer_schema_length=None)


def courses_frame(kids: list[Kid]) -> pl.DataFrame:
    """One row per course, `number` and `course_no` as key."""
    rows = []
    for kid in kids:
        for no, course in enumerate(kid.courses, start=1):
            assert course.pre is not None
            assert course.post is not None
            antigen = None if no > 1 or course.antigen_left is None else int(course.antigen_left < 20)
            b_cells = None if no > 1 or course.b_cells is None else int(course.b_cells < 0.01)
            rows.append(
                {
                    "number": kid.number,
                    "course_no": no,
                    "start_day": course.start,
                    "end_day": end_day(course),
                    "start_date": kid.day(course.start),
                    "end_date": kid.zero + timedelta(days=end_day(course)),
                    "infusion_days": float(course.days),
                    "interruption_hours": float(course.held),
                    "planned_days": course.days,
                    "dose_regimen": regimen(kid, course),
                    "state_pre": course.state,
                    "blasts_pre_pct": course.pre.blasts,
                    "mrd_pre_pct": shown_mrd(course.pre.mrd),
                    "assessment_day": course.post.day,
                    "blasts_post_pct": course.post.blasts,
                    "mrd_post_pct": shown_mrd(course.post.mrd),
                    "response_cr": course.response,
                    "mrd_neg_post": course.mrd_neg,
                    "cd19_loss_complete": antigen,
                    "cd19_loss_2missing": b_cells,
                    "crs_grade": course.crs,
                    "icans_grade": course.icans,
                }
            )
    return pl.DataFrame(rows, infer_schema_length=None)


def windows_frame(kids: list[Kid]) -> pl.DataFrame:
    """One row per child, course 1, analyte and window with a planted value."""
    rows: list[tuple[int, int, str, str, int, float, str, str | None]] = []
    for kid in kids:
        first = kid.courses[0]
        assert first.post is not None
        cells = {name: (("pre", -1, pair[0]), ("post", first.post.day, pair[1])) for name, pair in kid.t_cells.items()}
        if first.b_cells is not None:
            cells["CD19"] = (("post", first.post.day, first.b_cells),)  # type: ignore[assignment]
        for analyte, windows in cells.items():
            rows += [(kid.number, 1, analyte, window, day, value, "10*9/L", None) for window, day, value in windows]
        for window, day, written in (("baseline", -1, kid.il6[0]), ("peak", 2, kid.il6[1])):
            sign = "<" if written.startswith("<") else None
            rows.append((kid.number, 1, "IL-6", window, day, float(written.lstrip("<")), "pg/mL", sign))
    names = ["number", "course_no", "analyte", "window", "day", "value", "unit", "operator"]
    return pl.DataFrame(rows, schema=names, orient="row").with_columns(pl.col("course_no").cast(pl.Int32))
