"""Every shape in which FHIR arrives gives the same lines."""

import hashlib
import json

import pytest

from etl.errors import SourceError
from etl.landing import Source, land


def contents(make, landed) -> list[tuple[str, str]]:
    """Type and id of every landed resource."""
    return sorted((line["r"]["resourceType"], line["id"]) for line in make["lines_of"](landed))


@pytest.fixture
def resources(make) -> list[dict]:
    return [make["patient"](1), make["observation"](1, note=[{"text": "说明\n第二行"}]), make["observation"](2)]


@pytest.fixture
def expected(resources) -> list[tuple[str, str]]:
    return sorted((each["resourceType"], each["id"]) for each in resources)


@pytest.mark.parametrize(
    "kind",
    "transaction batch collection document message searchset history transaction-response batch-response".split(),
)
@pytest.mark.parametrize("indent", [None, 2])
def test_every_type_of_bundle_is_unfolded(ground, make, resources, expected, kind: str, indent: int | None) -> None:
    ground.drop("b.json", json.dumps(make["bundle"](*resources, kind=kind), indent=indent))
    assert contents(make, ground.land()) == expected


def test_files_lines_and_gzip_are_equal(ground, make, resources, expected) -> None:
    def as_lines(name: str, **more: object) -> list:
        ground.drop(name, "\n".join(json.dumps(each, ensure_ascii=False, **more) for each in resources))
        return contents(make, ground.land())

    for name in ("n.ndjson", "n.jsonl", "n.ndjson.gz", "n.json", "n.json.gz"):
        assert as_lines(name) == expected
        (ground.sources / name).unlink()
    assert as_lines("crlf.ndjson", separators=(" ,", " : ")) == expected
    (ground.sources / "crlf.ndjson").unlink()
    for each in resources:
        ground.drop(f"{each['id']}.json.gz", json.dumps(each, indent=4))
    assert contents(make, ground.land()) == expected


def test_a_nested_bundle_is_unfolded(ground, make, resources, expected) -> None:
    inner = make["bundle"](*resources[1:])
    ground.drop("b.json", make["bundle"](resources[0], inner))
    landed = ground.land()
    assert contents(make, landed) == expected
    assert {line["at"] for line in make["lines_of"](landed)} == {1, 2}


def test_a_bundle_in_a_line_is_unfolded(ground, make, resources, expected) -> None:
    ground.drop("b.ndjson", "\n\n" + json.dumps(make["bundle"](*resources)))
    landed = ground.land()
    assert contents(make, landed) == expected
    assert {line["at"] for line in make["lines_of"](landed)} == {3}


def test_the_line_has_the_agreed_form(ground, make) -> None:
    meta = '{"versionId":"2","lastUpdated":"2022-01-02T03:04:05Z"}'
    raw = '{"resourceType":"Patient","id":"p1","meta":' + meta + ',"active":true}'
    ground.drop("a.json", '{"resourceType":"Bundle","entry":[{"fullUrl":"urn:uuid:1","resource":' + raw + "}]}")
    (path,) = ground.land().shards["Patient"]
    digest = hashlib.sha1(raw.encode()).hexdigest()
    assert path.read_text() == (
        f'{{"n":{2**32 + 1},"site":"SITE1","id":"p1","url":"urn:uuid:1","bundle":1,"version":"2",'
        f'"updated":"2022-01-02T03:04:05Z","hash":"{digest}","file":1,"at":1,"r":{raw}}}\n'
    )


def test_numbers_and_texts_are_copied_verbatim(ground, make) -> None:
    text = json.dumps(make["observation"](1), indent=3).replace("11.5", "11.500").replace("g/dL", "g\\/d\\u004c")
    ground.drop("a.json", text)
    (path,) = ground.land().shards["Observation"]
    assert '"value":11.500,"unit":"g\\/d\\u004c"' in path.read_text()


def test_delete_entries_are_listed(ground, make) -> None:
    entries = [
        {"request": {"method": "DELETE", "url": "Patient/p9"}},
        {"request": {"method": "DELETE", "url": "https://a.example/fhir/Observation/o9"}},
        {"request": {"method": "DELETE", "url": "Patient?identifier=7"}},
        {"request": {"method": "PUT", "url": "Patient/p1"}, "resource": make["patient"](1)},
    ]
    ground.drop("deleted.ndjson", json.dumps({"resourceType": "Bundle", "type": "history", "entry": entries}))
    landed = ground.land()
    found = landed.deleted.select("site", "resource_type", "id", "n", "updated").rows()
    before = 1 << 32  # nothing came before them
    assert found == [("SITE1", "Observation", "o9", before, None), ("SITE1", "Patient", "p9", before, None)]
    assert contents(make, landed) == [("Patient", "p1")]


def test_gb18030_is_decoded_and_counted(ground, make) -> None:
    text = json.dumps(
        make["observation"](1, valueQuantity=None, valueString="贝林妥欧单抗，持续静脉泵入24小时"), ensure_ascii=False
    )
    text = text.replace('"valueQuantity": null, ', "")
    ground.drop("a.json", text.encode("gb18030"))
    ground.drop(
        "b.ndjson", text.replace("o1", "o2").encode("gb18030") + b"\n" + json.dumps(make["patient"](1)).encode()
    )
    landed = ground.land()
    assert landed.files["decoded_from"].to_list() == ["gb18030", "gb18030"]
    texts = [line["r"].get("valueString") for line in make["lines_of"](landed)]
    assert texts.count("贝林妥欧单抗，持续静脉泵入24小时") == 2
    assert make["balanced"](landed)


def test_a_byte_order_mark_is_cut_off(ground, make) -> None:
    ground.drop("a.json", b"\xef\xbb\xbf" + json.dumps(make["patient"](1)).encode())
    ground.drop("b.ndjson", b"\xef\xbb\xbf" + json.dumps(make["patient"](2)).encode())
    assert contents(make, ground.land()) == [("Patient", "p1"), ("Patient", "p2")]


def test_a_missing_id_comes_from_the_url_or_the_content(ground, make) -> None:
    without = {key: value for key, value in make["patient"](1).items() if key != "id"}
    entries = [
        {"fullUrl": "urn:uuid:53FEFA32-fcbb-4ff8-8a92-55ee120877b7", "resource": without},
        {"fullUrl": "http://a.example/fhir/Patient/x7", "resource": without},
        {"resource": without},
    ]
    ground.drop("a.json", {"resourceType": "Bundle", "type": "collection", "entry": entries})
    landed = ground.land()
    ids = [line["id"] for line in make["lines_of"](landed)]
    assert ids[:2] == ["53fefa32-fcbb-4ff8-8a92-55ee120877b7", "x7"]
    assert ids[2].startswith("content-")
    assert make["outcomes"](landed)["landed", "id_from_content"] == 1
    assert make["balanced"](landed)


def test_files_that_are_no_fhir_by_name_are_left_aside(ground, make) -> None:
    manifest = {"transactionTime": "2024-01-01T00:00:00Z", "request": "x", "output": [], "error": []}
    ground.drop("manifest.json", manifest)
    ground.drop("README.md", "# read me")
    ground.drop("p.json", make["patient"](1))
    landed = ground.land()
    assert landed.ignored["name"].to_list() == ["README.md", "manifest.json"]
    assert make["outcomes"](landed) == {("landed", ""): 1}


def test_unmapped_types_are_counted_as_skipped(ground, make) -> None:
    ground.drop("b.json", make["bundle"]({"resourceType": "Claim", "id": "c", "whatever": 1}, make["patient"](1)))
    landed = ground.land()
    assert make["outcomes"](landed)["skipped", "no mapping"] == 1
    assert list(landed.shards) == ["Patient"]


def test_a_primitive_extension_may_stand_for_a_required_value(ground, make) -> None:
    absent = {
        "extension": [{"url": "http://hl7.org/fhir/StructureDefinition/data-absent-reason", "valueCode": "unknown"}]
    }
    observation = {**make["observation"](1), "_status": absent}
    del observation["status"]
    ground.drop("o.json", observation)
    assert contents(make, ground.land()) == [("Observation", "o1")]


def test_the_same_input_gives_the_same_bytes_with_one_worker_and_two(ground, make) -> None:
    for number in range(6):
        ground.drop(f"{number}.json", make["bundle"](make["patient"](number), make["observation"](number)))
    ground.drop("6.json", b"{")
    one, again, two = ground.land(), ground.land(), ground.land(workers=2)
    texts = [
        sorted(line for paths in landed.shards.values() for path in paths for line in path.read_bytes().splitlines())
        for landed in (one, again, two)
    ]
    assert texts[0] == texts[1] == texts[2]
    assert one.counts.equals(two.counts)
    assert one.files.equals(two.files)


def test_a_source_that_is_not_there_is_an_error(tmp_path) -> None:
    with pytest.raises(SourceError, match="nowhere"):
        land([Source("S", tmp_path / "nowhere")], tmp_path / "out", ["Patient"])
