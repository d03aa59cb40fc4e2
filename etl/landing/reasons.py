"""Why a file, line, entry or resource is refused or left out: the one table of reason codes.

A code is short, stable and says nothing of a patient. Details in the rejects file add an element path at most.
"""

from typing import Final

REASONS: Final[dict[str, str]] = {
    # the file as a whole
    "empty_file": "The file (or the file inside the gzip) holds nothing but white space.",
    "unreadable": "The operating system could not read the file.",
    "too_large": "The file is larger, after decompression, than Limits.max_file_bytes.",
    "gzip_ratio": "The gzip expands more than Limits.max_gzip_ratio times: a bomb. Reading stopped there.",
    "gzip_broken": "The gzip stream is damaged or cut off.",
    "not_fhir": "JSON without a resourceType, or content that is no JSON at all.",
    "invalid_bundle": "A Bundle whose frame (entry, resource, fullUrl, request) has the wrong shape.",
    # the bytes of one resource, or of a file where no single resource can be told apart
    "invalid_json": "Not JSON: a syntax error, a cut-off, something behind the end.",
    "invalid_utf8": "Neither UTF-8 nor, plausibly, GB18030.",
    "duplicate_key": "An object says the same key twice; parsers disagree on which one counts.",
    "number_too_long": "A number with more digits in a row than Limits.max_number_digits, or beyond a double.",
    "not_finite": "NaN or Infinity.",
    "nul": "A NUL character, raw or as \\u0000; PostgreSQL cannot store it.",
    "lone_surrogate": "Half a surrogate pair; no text can hold it.",
    "too_deep": "Nested deeper than Limits.max_depth.",
    "too_many_nodes": "More values than Limits.max_nodes in one resource.",
    "line_too_long": "One NDJSON line is longer than Limits.max_line_bytes.",
    # the resource
    "missing_resource_type": "An entry's resource or an NDJSON line without a resourceType.",
    "unknown_resource_type": "A resourceType that FHIR R4B does not know.",
    "invalid_id": "An id that is not 1 to 64 of A-Z a-z 0-9 - . characters.",
    "invalid_resource": "The resource breaks the FHIR R4B structure; the detail names the elements.",
}
"""Reason code → what it means; codes of outcome "rejected"."""

NO_MAPPING: Final = "no mapping"
"""The reason of a skipped resource: its type has no mapping."""

ID_FROM_CONTENT: Final = "id_from_content"
"""The reason beside outcome "landed" of a resource that had no id: its id is a hash of its content."""

ZONE_ASSUMED: Final = "zone_assumed"
"""The reason beside outcome "landed" of a resource with a time that has no offset: read in the site's zone (A14)."""
