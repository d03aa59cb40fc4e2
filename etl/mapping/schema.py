"""Which elements a mapping reads: a tree that grows while paths are compiled and ends as one DuckDB struct type.

Only what the mapping's paths name is read from the landed files; everything else costs nothing.
"""

from dataclasses import dataclass, field

from etl.mapping.structure import Choice, Element, elements, is_primitive

_SQL_TYPES = {
    "decimal": "DOUBLE",
    "boolean": "BOOLEAN",
    **dict.fromkeys(("integer", "positiveInt", "unsignedInt"), "BIGINT"),
}


@dataclass
class Need:
    """One element that is read, with the elements below it that are read; with none below it is read as JSON."""

    type: str
    many: bool
    children: dict[str, "Need"] = field(default_factory=dict)

    def child(self, element: Element) -> "Need":
        """The node of an element below, made on first use."""
        return self.children.setdefault(element.name, Need(element.type, element.many))

    def primitive_sibling(self, name: str) -> "Need":
        """The node of `_name`, which carries the extensions of a primitive element."""
        return self.children.setdefault(f"_{name}", Need("Element", many=False))

    def sql_type(self) -> str:
        """The DuckDB type that holds this element."""
        if is_primitive(self.type):
            scalar = _SQL_TYPES.get(self.type, "VARCHAR")
        elif not self.children:
            scalar = "JSON"
        else:
            inner = ", ".join(f'"{name}" {need.sql_type()}' for name, need in sorted(self.children.items()))
            scalar = f"STRUCT({inner})"
        return f"{scalar}[]" if self.many else scalar

    def json_structure(self) -> str:
        """The same as DuckDB's `from_json` wants it."""
        if is_primitive(self.type):
            scalar = f'"{_SQL_TYPES.get(self.type, "VARCHAR")}"'
        elif not self.children:
            scalar = '"JSON"'
        else:
            inner = (f'"{name}":{need.json_structure()}' for name, need in sorted(self.children.items()))
            scalar = "{" + ",".join(inner) + "}"
        return f"[{scalar}]" if self.many else scalar


def element_of(fhir_type: str, name: str) -> Element | Choice | None:
    """The element of a type, or None when the type does not have it."""
    if fhir_type == "Element":
        fhir_type = "Extension"
    return elements(fhir_type).get(name)
