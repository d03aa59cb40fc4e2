"""Landing: files of many shapes in, one NDJSON file per resource type and share out, everything counted.

The files are shared out to processes of this machine or to the workers of a Dask cluster. What one process does with
its share stands in `etl.landing.share`; the result does not depend on who does it, and neither on their number.
"""

from collections.abc import Collection, Sequence
from pathlib import Path

from etl.landing.answer import Landed, landed_of
from etl.landing.cluster import Cluster
from etl.landing.files import FoundFile, Source, find_files
from etl.landing.gate import Limits
from etl.landing.lines import PART
from etl.landing.rejects import RejectWriter
from etl.landing.share import Share, answer_of
from etl.landing.workers import Workers


def land(
    sources: Sequence[Source],
    folder: Path,
    mapped_types: Collection[str],
    limits: Limits = Limits(),  # noqa: B008  frozen
    rejects: RejectWriter | None = None,
    first_number: int = 1,
    workers: Workers = Workers(),  # noqa: B008  one process: nothing in it changes
    cluster: str | None = None,
) -> Landed:
    """Land all files of the sources into `folder`; bad files and entries are counted and never stop the rest.

    `first_number` is the number of the first file; a resource's n is file number * 2**32 + its position, so neither
    the order nor the number of workers changes it. `cluster` is the address of a Dask scheduler whose workers see the
    sources and `folder` under the same paths; without it the `workers` of this machine land, and are then ended.
    Raises SourceError when a source does not exist, SettingsError or UpstreamError when the cluster cannot be used.
    """
    folder.mkdir(parents=True, exist_ok=True)
    found, ignored = find_files(sources, first_number)
    mapped = frozenset(mapped_types)
    if cluster is None:
        shares = [Share(folder, *share, mapped, limits) for share in enumerate(_share_out(found, workers.count))]
        workers.land(shares)
        workers.end()
    else:
        found = [FoundFile(file.number, file.site, file.path.absolute(), file.name) for file in found]
        with Cluster(cluster) as dask:
            parts = enumerate(_share_out(found, dask.shares))
            shares = [Share(folder.absolute(), *share, mapped, limits) for share in parts]
            dask.land(shares)
    for left in folder.glob(f".*{PART}"):
        left.unlink(missing_ok=True)  # of workers that were killed and whose share another one took over
    return _together(folder, shares, ignored, rejects)


def _together(
    folder: Path, shares: Sequence[Share], ignored: list[tuple[str, str]], rejects: RejectWriter | None
) -> Landed:
    """The answers of all shares as one, in order of file numbers."""
    answers = [answer_of(share) for share in shares]
    results = sorted((result for answer in answers for result in answer.results), key=lambda each: each.found.number)
    shards: dict[str, list[Path]] = {}
    for answer in answers:
        for kind, path in answer.paths.items():
            shards.setdefault(kind, []).append(folder / path.name)
    if rejects is not None:
        for result in results:
            for reject in result.rejects:
                rejects.write(reject)
    ignored += [(result.found.site, result.found.name) for result in results if result.manifest]
    return landed_of(folder, dict(sorted(shards.items())), results, ignored)


def _share_out(found: Sequence[FoundFile], count: int) -> list[list[FoundFile]]:
    """The files in shares of about the same size on disk, the largest first; each share in order of number."""
    shares: list[list[FoundFile]] = [[] for _ in range(max(1, min(count, len(found))))]
    sizes = [0] * len(shares)
    for size, file in sorted(((_size(file), file) for file in found), key=lambda pair: (-pair[0], pair[1].number)):
        smallest = sizes.index(min(sizes))
        shares[smallest].append(file)
        sizes[smallest] += size
    return [sorted(share, key=lambda file: file.number) for share in shares]


def _size(file: FoundFile) -> int:
    try:
        return file.path.stat().st_size
    except OSError:
        return 0
