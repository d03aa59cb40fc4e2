"""The processes that land: never more shares than somebody lands."""

from etl.landing import Source, Workers, land


def test_there_is_one_process_until_the_others_are_started_and_after_they_are_ended() -> None:
    workers = Workers(3)
    assert workers.count == 1
    with workers:
        assert workers.count == 3
        workers.end()
        assert workers.count == 1
    assert workers.count == 1


def test_what_is_landed_without_starting_them_is_landed_here(ground, make) -> None:
    ground.drop("a.json", make["bundle"](make["patient"](1)))
    ground.drop("b.json", make["bundle"](make["patient"](2)))
    landed = land([Source("S", ground.sources)], ground.folder / "out", ["Patient"], workers=Workers(2))
    assert landed.counts["n"].sum() == 2
    assert landed.sizes().keys() == {"Patient"}
    assert landed.sizes()["Patient"] > 0
