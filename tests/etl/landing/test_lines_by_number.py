"""Any landed lines are found again by their numbers, in any shards of any runs, and nothing else comes with them."""

import json
import random
import time
from contextlib import suppress
from pathlib import Path

import msgspec
import numpy as np
import pytest

from etl.landing.lines import Line, ShardWriter, index_path, read_lines, write_lines


def line(number: int, text: str) -> Line:
    resource = msgspec.Raw(json.dumps(text, ensure_ascii=False).encode())
    return Line(number, "S", f"p{number}", None, 1, None, None, "", 1, 1, resource)


def shard(folder: Path, numbers: list[int], kind: str = "Patient", size: int = 40) -> Path:
    """A shard with a line for each number, of changing length, some with Chinese text."""
    folder.mkdir(exist_ok=True)
    with ShardWriter(folder, 0) as writer:
        for start in range(0, len(numbers), 7):
            writer.write({kind: [line(number, "汉" * (number % size)) for number in numbers[start : start + 7]]})
    return writer.paths[kind]


def numbers_of(lines) -> list[int]:
    return [json.loads(line)["n"] for line in lines]


def test_the_index_names_every_line_and_where_it_starts(ground, make) -> None:
    for number in range(4):
        ground.drop(f"{number}.json", make["bundle"](make["patient"](number), make["observation"](number)))
    landed = ground.land(workers=2)
    seen = 0
    for path in (path for paths in landed.shards.values() for path in paths):
        index = np.load(index_path(path))
        data = path.read_bytes()
        lines = data.splitlines(keepends=True)
        starts = np.cumsum([0, *(len(line) for line in lines)])[:-1]
        assert index.dtype == np.int64
        assert index.tolist() == [[json.loads(line)["n"], start] for line, start in zip(lines, starts, strict=True)]
        seen += len(lines)
    assert seen == 8


@pytest.mark.parametrize("seed", range(5))
def test_exactly_the_lines_asked_for_are_given(tmp_path, seed: int) -> None:
    dice = random.Random(seed)
    everything = sorted(dice.sample(range(10**12), 300))
    runs = [everything[:100], everything[100:101], everything[101:]]
    shards = [shard(tmp_path / str(run), numbers) for run, numbers in enumerate(runs)]
    there = [*dice.sample(everything, 60), everything[0], everything[-1], everything[100]]
    asked = there + [dice.randrange(10**12) for _ in range(50)] + there[:5]
    expected = sorted(set(asked) & set(everything))
    assert numbers_of(read_lines(shards, asked)) == expected
    assert numbers_of(read_lines(shards, np.array(asked))) == expected
    target = tmp_path / "picked.ndjson"
    assert write_lines(shards, set(asked), target) == len(expected)
    assert target.read_bytes() == b"".join(read_lines(shards, asked))


def test_all_numbers_give_the_whole_file_and_none_give_nothing(tmp_path) -> None:
    path = shard(tmp_path, [*range(1, 50), *range(60, 90)])
    target = tmp_path / "picked.ndjson"
    assert write_lines([path], range(100), target) == 79
    assert target.read_bytes() == path.read_bytes()
    for none in ([], [0], [55], [90], np.empty(0, np.int64)):
        assert list(read_lines([path], none)) == []
        assert write_lines([path], none, target) == 0
        assert target.read_bytes() == b""


def test_a_share_that_breaks_off_leaves_no_shard_and_its_repetition_replaces_it(tmp_path) -> None:
    whole = shard(tmp_path, [1, 2, 3])
    before = whole.read_bytes()
    with suppress(KeyboardInterrupt), ShardWriter(tmp_path, 0) as writer:
        writer.write({"Patient": [line(1, "x")]})
        raise KeyboardInterrupt
    assert whole.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([whole.name, index_path(whole).name])
    again = shard(tmp_path, [4, 5])
    assert numbers_of(read_lines([again], [1, 2, 3, 4, 5])) == [4, 5]


def test_a_few_lines_of_many_are_found_without_reading_the_rest(tmp_path) -> None:
    """Picking costs far less than one pass over the file."""
    path = shard(tmp_path, list(range(120_000)), size=200)
    asked = random.Random(1).sample(range(120_000), 500)
    started = time.process_time()
    assert len(list(read_lines([path], asked))) == 500
    picking = time.process_time() - started
    started = time.process_time()
    for text in path.read_bytes().splitlines():
        json.loads(text)
    assert picking < (time.process_time() - started) / 5
