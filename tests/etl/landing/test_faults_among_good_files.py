"""Each fault dropped among good files costs its own entry, line or file, under its own reason, and nothing else."""

import gzip
import json
import zlib
from pathlib import Path

import pytest

from etl.landing import REASONS, Limits

GOOD = 5  # resources of the good files


def entry(text: str) -> bytes:
    """A Bundle of a good Patient, a resource given as text, and a good Observation."""
    first = '{"resourceType":"Patient","id":"p90"}'
    last = '{"resourceType":"Observation","id":"o90","status":"final","code":{"text":"x"}}'
    return (
        '{"resourceType":"Bundle","type":"collection","entry":['
        + ",".join(f'{{"fullUrl":"urn:x:{n}","resource":{each}}}' for n, each in enumerate((first, text, last)))
        + "]}"
    ).encode()


OBSERVATION = '{"resourceType":"Observation","id":"bad","status":"final","code":{"text":"x"},%s}'
IN_ENTRY = {
    "duplicate key": (OBSERVATION % '"status":"amended"', "duplicate_key"),
    "duplicate key deep inside": (OBSERVATION % '"subject":{"reference":"a","reference":"b"}', "duplicate_key"),
    "duplicate key by escape": (OBSERVATION % '"\\u0073tatus":"final"', "duplicate_key"),
    "duplicate key in an unmapped type": ('{"resourceType":"Claim","id":"a","id":"b"}', "duplicate_key"),
    "400 digits": (OBSERVATION % ('"valueQuantity":{"value":%s}' % ("9" * 400)), "number_too_long"),
    "400 digits behind the point": (OBSERVATION % ('"valueQuantity":{"value":0.%s}' % ("3" * 400)), "number_too_long"),
    "60 digits": (OBSERVATION % ('"valueQuantity":{"value":%s}' % ("7" * 64)), "number_too_long"),
    "beyond a double": (OBSERVATION % '"valueQuantity":{"value":1e999}', "number_too_long"),
    "400 digits in an unmapped type": ('{"resourceType":"Claim","id":"a","x":%s}' % ("9" * 400), "number_too_long"),
    "NaN": (OBSERVATION % '"valueQuantity":{"value":NaN}', "not_finite"),
    "Infinity": (OBSERVATION % '"valueQuantity":{"value":-Infinity}', "not_finite"),
    "escaped NUL": (OBSERVATION % '"valueString":"a\\u0000b"', "nul"),
    "raw NUL": (OBSERVATION % '"valueString":"a\0b"', "nul"),
    "lone surrogate": (OBSERVATION % '"valueString":"\\ud800"', "lone_surrogate"),
    "nested too deep": (OBSERVATION % ('"extension":' + "[" * 300 + "]" * 300), "too_deep"),
    "extensions too deep": (
        OBSERVATION % ('"extension":' + '[{"url":"u","extension":' * 60 + "[]" + "}]" * 60), "too_deep",
    ),
    "no resourceType": ('{"id":"a"}', "missing_resource_type"),
    "not an object": ("[1]", "missing_resource_type"),
    "unknown resourceType": ('{"resourceType":"Pateint","id":"a"}', "unknown_resource_type"),
    "id too long": ('{"resourceType":"Patient","id":"%s"}' % ("a" * 65), "invalid_id"),
    "unknown element": (OBSERVATION % '"statsu":"final"', "invalid_resource"),
    "number as text": (OBSERVATION % '"valueQuantity":{"value":"80"}', "invalid_resource"),
    "boolean as number": ('{"resourceType":"Patient","id":"a","active":1}', "invalid_resource"),
    "two choices": (OBSERVATION % '"valueString":"a","valueInteger":1', "invalid_resource"),
    "no code": ('{"resourceType":"Observation","id":"a","status":"final"}', "invalid_resource"),
    "no status": ('{"resourceType":"Observation","id":"a","code":{"text":"x"}}', "invalid_resource"),
    "status of no value set": (
        '{"resourceType":"Observation","id":"a","status":"foo","code":{"text":"x"}}', "invalid_resource",
    ),
    "31 April": (OBSERVATION % '"effectiveDateTime":"2024-04-31"', "invalid_resource"),
    "a date with a space": (OBSERVATION % '"effectiveDateTime":"2024-04-30 10:00:00+08:00"', "invalid_resource"),
    "a zone without colon": (OBSERVATION % '"effectiveDateTime":"2024-04-30T10:00:00+0800"', "invalid_resource"),
    "a code with a blank": (OBSERVATION % '"category":[{"coding":[{"code":"a "}]}]', "invalid_resource"),
    "a broken contained resource": (
        OBSERVATION % '"contained":[{"resourceType":"Patient","id":"x","gender":7}]', "invalid_resource",
    ),
    "an unknown contained resource": (OBSERVATION % '"contained":[{"resourceType":"Foo"}]', "invalid_resource"),
    "a broken nested Bundle": ('{"resourceType":"Bundle","entry":7}', "invalid_bundle"),
}  # fmt: skip


@pytest.fixture(autouse=True)
def good_files(ground, make) -> None:
    """Good files before, between and behind the faulty one."""
    ground.drop("a.json", make["bundle"](make["patient"](1), make["observation"](1)))
    ground.drop("n.ndjson", "\n".join(json.dumps(make["patient"](n)) for n in (2, 3)))
    ground.drop("z/z.json.gz", make["observation"](4))


def check(ground, make, landed, reason: str, kept: int) -> None:
    assert make["balanced"](landed)
    assert len(list(make["lines_of"](landed))) == GOOD + kept
    assert make["outcomes"](landed)["rejected", reason] == 1
    assert [line["reason"] for line in ground.rejects()] == [reason]
    assert reason in REASONS


@pytest.mark.parametrize("fault", IN_ENTRY)
def test_a_fault_in_an_entry_costs_that_entry_only(ground, make, fault: str) -> None:
    text, reason = IN_ENTRY[fault]
    ground.drop("m.json", entry(text))
    landed = ground.land()
    check(ground, make, landed, reason, kept=2)
    assert ground.rejects()[0]["place"] == "2#2"


@pytest.mark.parametrize("fault", IN_ENTRY)
def test_a_fault_in_a_line_costs_that_line_only(ground, make, fault: str) -> None:
    text, reason = IN_ENTRY[fault]
    ground.drop("m.ndjson", '{"resourceType":"Patient","id":"p90"}\n' + text + "\n")
    landed = ground.land()
    check(ground, make, landed, reason, kept=1)
    assert ground.rejects()[0]["place"] == "2#2"


@pytest.mark.parametrize("fault", IN_ENTRY)
def test_the_rejects_hold_no_value(ground, fault: str) -> None:
    ground.drop("m.json", entry(IN_ENTRY[fault][0].replace("final", "zhang-san")))
    ground.land()
    assert "zhang-san" not in ground.rejects_path.read_text()


def test_a_file_of_empty_lines_is_empty(ground, make) -> None:
    ground.drop("m.ndjson", b"\n\n")
    check(ground, make, ground.land(), "empty_file", kept=0)


def bomb() -> bytes:
    return gzip.compress(b'{"resourceType":"Patient","id":"' + b"a" * 50_000_000 + b'"}')


def cut(data: bytes) -> bytes:
    return gzip.compress(data)[:-12]


PATIENT = '{"resourceType":"Patient","id":"a","address":[{"city":"上海市徐汇区"}]}'
TWICE = (
    b'{"resourceType":"Bundle","entry":[{"resource":{"resourceType":"Patient","id":"1"},'
    b'"resource":{"resourceType":"Patient","id":"2"}}]}'
)
FILES = {
    "empty": (b"", "empty_file"),
    "white space": (b" \n\n", "empty_file"),
    "text": (b"Dear colleague, the data come tomorrow.", "not_fhir"),
    "JSON, not FHIR": (b'{"name":"x","value":[1,2]}', "not_fhir"),
    "a JSON list": (b"[1,2,3]", "not_fhir"),
    "flipped byte in the syntax": (entry(PATIENT).replace(b"[{", b"[\x7a", 1), "invalid_json"),
    "cut off": (entry(PATIENT)[:-9], "invalid_json"),
    "something behind the end": (entry(PATIENT) + b" x", "invalid_json"),
    "entry of the wrong shape": (b'{"resourceType":"Bundle","entry":{"resource":1}}', "invalid_bundle"),
    "doubled key in the frame": (TWICE, "duplicate_key"),
    "flipped byte in a text": (PATIENT.encode().replace(b"\xe5\xbe", b"\xe5\x3e"), "invalid_utf8"),
    "flipped high bit": (PATIENT.encode("ascii", "ignore").replace(b'y":"', b'y":"Sh\xe1nghai'), "invalid_utf8"),
}


@pytest.mark.parametrize("fault", FILES)
def test_a_faulty_file_costs_that_file_only(ground, make, fault: str) -> None:
    content, reason = FILES[fault]
    ground.drop("m.json", content)
    landed = ground.land()
    check(ground, make, landed, reason, kept=0)
    assert ground.rejects()[0] | {"resource_type": "(file)", "key": None, "place": "2"} == ground.rejects()[0]


@pytest.mark.parametrize(
    ("content", "reason"),
    [(bomb(), "gzip_ratio"), (cut(PATIENT.encode()), "gzip_broken"), (b"\x1f\x8bxxxx", "gzip_broken")],
    ids=["bomb", "cut off", "no gzip at all"],
)  # fmt: skip
@pytest.mark.parametrize("name", ["m.json.gz", "m.ndjson.gz"])
def test_a_faulty_gzip_costs_that_file_only(ground, make, name: str, content: bytes, reason: str) -> None:
    ground.drop("m", b"").rename(ground.sources / name).write_bytes(content)
    check(ground, make, ground.land(), reason, kept=0)


def test_a_bomb_is_not_unfolded(ground) -> None:
    """The reader stops soon after the first free megabyte."""
    path: Path = ground.sources / "m.json.gz"
    path.write_bytes(zlib.compress(b"0" * 400_000_000, wbits=31))
    landed = ground.land()
    assert landed.files.filter(name="m.json.gz")["bytes"][0] == 0


def test_limits_are_held(ground, make) -> None:
    ground.drop("m.json", make["patient"](7, address=[{"line": ["x" * 100_000]}]))
    assert make["outcomes"](ground.land(Limits(max_file_bytes=50_000)))["rejected", "too_large"] == 1
    ground.drop("m.json", make["patient"](7, address=[{"line": ["x"] * 300}]))
    assert make["outcomes"](ground.land(Limits(max_nodes=200)))["rejected", "too_many_nodes"] == 1


def test_long_digits_in_a_text_are_no_fault(ground, make) -> None:
    ground.drop("m.json", make["patient"](7, address=[{"text": "1" * 400}]))
    assert ("rejected", "number_too_long") not in make["outcomes"](ground.land())


def test_a_half_surrogate_in_a_full_url_costs_nothing_else(ground, make) -> None:
    good = '{"fullUrl":"urn:uuid:\\ud800","resource":{"resourceType":"Patient","id":"p7"}}'
    ground.drop("m.json", '{"resourceType":"Bundle","type":"collection","entry":[' + good + "]}")
    landed = ground.land()
    assert sorted(line["id"] for line in make["lines_of"](landed)).count("p7") == 1
    assert make["balanced"](landed)


def test_an_id_of_a_full_url_is_held_to_the_form_of_ids(ground, make) -> None:
    entries = [{"fullUrl": 'urn:uuid:a"b', "resource": {"resourceType": "Patient", "gender": "male"}}]
    ground.drop("m.json", {"resourceType": "Bundle", "type": "collection", "entry": entries})
    landed = ground.land()
    assert make["outcomes"](landed)["landed", "id_from_content"] == 1
    assert len(list(make["lines_of"](landed))) == GOOD + 1


def test_a_large_sound_resource_is_kept(ground, make) -> None:
    photo = [{"contentType": "image/png", "data": "QUJD" * 400_000}]
    ground.drop("m.json", make["patient"](7, photo=photo))
    assert len(list(make["lines_of"](ground.land()))) == GOOD + 1


def test_many_resources_written_with_nulls_are_kept_and_their_doubled_keys_found(ground, make) -> None:
    lines = [json.dumps(make["observation"](n, bodySite=None)) for n in range(50)]
    lines[20] = lines[20][:-1] + ',"status":"final"}'
    ground.drop("m.ndjson", "\n".join(lines))
    landed = ground.land()
    check(ground, make, landed, "duplicate_key", kept=49)
    assert ground.rejects()[0]["place"] == "2#21"


def test_a_time_without_offset_is_kept_as_written_and_counted(ground, make) -> None:
    ground.drop("b.json", OBSERVATION % '"effectiveDateTime":"2024-04-30T10:00:00"')
    landed = ground.land()
    found = [line["r"].get("effectiveDateTime") for line in make["lines_of"](landed)]
    assert found.count("2024-04-30T10:00:00") == 1
    assert landed.counts.filter(reason="zone_assumed").select("outcome", "n").rows() == [("landed", 1)]


KEPT = '{"resourceType":"Observation","id":"k%d","status":"final","code":{"text":"x"},%s}'
MISLEADING = {
    "a zone that is written shorter again": '"issued":"2024-01-02T03:04:05+00:00"',
    "a text that starts with an escaped colon": '"valueString":"\\u003afinal"',
    "a text with an escaped quote before a colon": '"valueString":"a\\u0022:b"',
    "a text with a quote before a colon": '"valueString":"\\":\\":"',
    "white space before a colon": '"valueString" : "a"',
    "white space before a colon in a text": '"valueString":"a : b"',
    "a tab before a colon": '"valueQuantity"\t:{"value"\t:1.50}',
    "an explicit null": '"bodySite":null',
}


@pytest.mark.parametrize("text", MISLEADING.values(), ids=MISLEADING)
@pytest.mark.parametrize("shape", ["lines", "bundle"])
def test_no_other_resource_hides_a_doubled_key(ground, make, text: str, shape: str) -> None:
    """The proof counts keys over a whole block; what changes the count elsewhere must not make up for a fault."""
    doubled = '{"resourceType":"Observation","id":"bad","status":"final","status":"final","code":{"text":"x"}}'
    for copies in (1, 2, 3):
        kept = [KEPT % (number, text) for number in range(copies)]
        resources = [*kept[:1], doubled, *kept[1:]]
        if shape == "lines":
            ground.drop("m.ndjson", "\n".join(resources))
        else:
            entries = ",".join(f'{{"resource":{each}}}' for each in resources)
            ground.drop("m.json", '{"resourceType":"Bundle","type":"collection","entry":[' + entries + "]}")
        check(ground, make, ground.land(), "duplicate_key", kept=copies)


@pytest.mark.parametrize("frame", ['"type":"batch",', '"id":"\\u003a","type":"batch",', '"type" : "batch",'])
def test_a_doubled_key_in_an_entry_beside_its_resource_costs_the_file(ground, make, frame: str) -> None:
    good = '{"fullUrl":"urn:x:1","fullUrl":"urn:x:1","resource":{"resourceType":"Patient","id":"p7"}}'
    ground.drop("m.json", '{"resourceType":"Bundle",' + frame + '"entry":[' + good + "]}")
    check(ground, make, ground.land(), "duplicate_key", kept=0)


@pytest.mark.parametrize(
    "when",
    ["2024-04-30 10:00:00Z", "2024-04-30t10:00:00Z", "2024-04-30T10:00:00z", "2024-04-30T10:00:00+0800",
     "2024-04-30T10:00:00.5+0800", "2024-04-30T10:00:00+14:30", "2024-04-30T10:00Z"],
)  # fmt: skip
@pytest.mark.parametrize("place", ["effectiveDateTime", "issued"])
def test_a_date_spelled_otherwise_is_refused_among_many_well_spelled(ground, make, when: str, place: str) -> None:
    lines = [json.dumps(make["observation"](n, issued="2024-03-01T08:00:00.123-05:00")) for n in range(40)]
    lines[17] = json.dumps(make["observation"](17, **{place: when}))
    ground.drop("m.ndjson", "\n".join(lines))
    check(ground, make, ground.land(), "invalid_resource", kept=39)
    assert ground.rejects()[0]["place"] == "2#18"
