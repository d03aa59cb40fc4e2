"""Whatever bytes are damaged, landing ends, the counts add up, and every landed line is one JSON object."""

import gzip
import json
import random

import pytest

DAMAGE = ("flip", "cut", "double", "swap", "insert")


def damage(data: bytes, dice: random.Random) -> bytes:
    """The bytes with one to three random faults."""
    spoiled = bytearray(data)
    for _ in range(dice.randint(1, 3)):
        start, end = sorted(dice.sample(range(len(spoiled)), 2))
        how = dice.choice(DAMAGE)
        if how == "flip":
            spoiled[start] ^= 1 << dice.randrange(8)
        elif how == "cut":
            del spoiled[start : start + dice.randint(1, 40)]
        elif how == "double":
            spoiled[start:start] = spoiled[start:end][:200]
        elif how == "swap":
            spoiled[start], spoiled[end] = spoiled[end], spoiled[start]
        else:
            spoiled[start:start] = dice.choice(
                (b"\0", b"NaN", b"\\ud800", b"\xff", b'"', b"{", b"]", b"9" * 400, b"\n")
            )
    return bytes(spoiled)


@pytest.mark.parametrize("seed", range(12))
def test_damaged_files_never_stop_the_landing(ground, make, seed: int) -> None:
    dice = random.Random(seed)
    resources = [make["patient"](1, address=[{"city": "上海"}]), make["observation"](1), make["observation"](2)]
    bundle = json.dumps(make["bundle"](*resources), ensure_ascii=False, indent=dice.choice((None, 1))).encode()
    lines = "\n".join(json.dumps(each, ensure_ascii=False) for each in resources).encode()
    for number in range(15):
        ground.drop(f"{number}.json", damage(bundle, dice))
        ground.drop(f"{number}.ndjson", damage(lines, dice))
        ground.drop(f"{number}.json.gz", b"").write_bytes(damage(gzip.compress(bundle), dice))
    landed = ground.land()
    assert make["balanced"](landed)
    for line in make["lines_of"](landed):
        assert line["r"]["resourceType"] in ("Patient", "Observation")
