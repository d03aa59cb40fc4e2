"""Where the report comes from: run, code, vocabulary, mapping, parameters."""

from html import escape

from analytics.report.material import Material, Section


def provenance(material: Material) -> str:
    """Which run, which code, which vocabulary, which mapping, which parameters."""
    lines = dict(material.meta.lines())
    settings_table = material.maybe("settings", "param_hash")
    if settings_table is not None and "Parameter hash" not in lines:
        hashes = settings_table["param_hash"].drop_nulls().unique().sort().to_list()
        lines |= {"Parameter hash": ", ".join(hashes)} if hashes else {}
    pairs = "".join(f"<div><dt>{escape(what)}</dt><dd>{escape(value)}</dd></div>" for what, value in lines.items())
    return f'<dl class="provenance">{pairs}</dl>' if pairs else '<p class="absent">No provenance was given.</p>'


PROVENANCE = Section("provenance", "Provenance", (("Provenance", provenance),))
