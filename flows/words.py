"""What a build did, in words and tables for the person at the keyboard."""

from etl.build_report import BuildReport
from flows.console import table


def build_words(report: BuildReport) -> str:
    """Counts by resource type and reason, standard concepts by domain, rows by table, seconds by stage."""
    parts = [
        _resources(report),
        _reasons(report),
        _standard(report),
        _rows(report),
        _seconds(report),
        _closing(report),
    ]
    return "\n\n".join(part for part in parts if part)


def _resources(report: BuildReport) -> str:
    found = report.as_dict()["resources"]
    rows = [
        (kind, one["landed"], one["kept"], sum(one["skipped"].values()), sum(one["rejected"].values()))
        for kind, one in found.items()
    ]
    total = report.totals
    rows.append(("all", total["landed"], total["kept"], total["skipped"], total["rejected"]))
    return table(("resource type", "landed", "= kept", "+ skipped", "+ rejected"), rows)


def _reasons(report: BuildReport) -> str:
    found = report.as_dict()["resources"]
    rows = [
        (f"{outcome}: {reason}", kind, n)
        for outcome in ("rejected", "skipped")
        for kind, one in found.items()
        for reason, n in one[outcome].items()
    ]
    return table(("why", "resource type", "n"), rows) if rows else ""


def _standard(report: BuildReport) -> str:
    rows = [
        (domain, rows, standard, f"{100 * standard / rows:.1f} %")
        for domain, (rows, standard) in report.standard_share.items()
    ]
    return table(("domain", "rows", "with a standard concept", "share"), rows) if rows else ""


def _rows(report: BuildReport) -> str:
    return table(("table of cdm", "rows"), list(report.rows.items()))


def _seconds(report: BuildReport) -> str:
    rows = [(stage, f"{seconds:.2f}") for stage, seconds in report.seconds.items()]
    return table(("stage", "seconds"), [*rows, ("all", f"{sum(report.seconds.values()):.2f}")])


def _closing(report: BuildReport) -> str:
    changed = [name for name in report.changed_tables if name.startswith("cdm.")]
    lines = [
        f"run {report.run_id}: {report.files:,} files, {report.bytes:,} bytes; computed: {report.computed}; "
        + (f"{len(changed)} tables of cdm changed" if changed else "nothing in cdm changed")
    ]
    if report.unmapped:
        lines.append(f"{report.unmapped:,} codes have no standard concept: `blina mappings worklist --db …` lists them")
    lines += [f"told: {n:,} {note}" for note, n in report.noted.items()]
    if report.left_aside:
        lines.append(
            f"told: {report.left_aside:,} files were not read: their names do not end in .json, .ndjson, .jsonl or "
            ".gz, or they are the list of a bulk export"
        )
    if report.reversed_ends:
        lines.append(f"told: {report.reversed_ends:,} rows whose end was before their start")
    lines += [f"vocabulary: {warning}" for warning in report.vocabulary_warnings]
    if report.unresolved_codes:
        lines.append(f"{len(report.unresolved_codes):,} targets of code maps are not in this vocabulary")
    if report.unresolved_references:
        n = sum(report.unresolved_references.values())
        lines.append(f"{n:,} references lead to nothing that was read; the rows are there without the link")
    rejected, before = report.rejected_now, report.totals["rejected"] - report.rejected_now
    if rejected:
        where = f": see {report.rejects / 'rejects.ndjson'}" if report.rejects else "; --rejects DIR keeps the list"
        lines.append(f"{rejected:,} resources or files were REJECTED{where}. Everything else is loaded.")
    if before > 0:
        lines.append(f"{before:,} of earlier runs stay rejected (the table above has the reasons)")
    return "\n".join(lines)
