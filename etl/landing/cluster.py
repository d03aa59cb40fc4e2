"""Landing on an existing Dask cluster: shares go to its scheduler, lines and answers to a folder that all see.

Dask schedules, balances, and gives the share of a lost worker to another one; nothing of that is ours. `distributed` is
imported only here, and only when a cluster is asked for (`pip install blina[cluster]`).
"""

from collections.abc import Sequence
from importlib import import_module
from types import TracebackType
from typing import Any, Final, Self

from etl.errors import SettingsError, UpstreamError
from etl.landing.share import Share, land_share

_WAIT_SECONDS: Final = 10
_SHARES_PER_WORKER: Final = 3
"""So many shares for each worker, so that a slow or lost one does not hold up the rest."""


class Cluster:
    """A connection to a Dask scheduler; a context manager."""

    def __init__(self, address: str) -> None:
        """Raises SettingsError without `distributed`, UpstreamError when no scheduler or no worker answers."""
        try:
            distributed: Any = import_module("distributed")
        except ImportError:
            raise SettingsError("A cluster needs Dask's distributed: pip install blina[cluster]") from None
        try:
            self._client: Any = distributed.Client(address, timeout=_WAIT_SECONDS, set_as_default=False)
        except (OSError, ValueError) as error:  # TimeoutError is an OSError; a malformed address is a ValueError
            raise UpstreamError(f"{address}: no Dask scheduler answers ({type(error).__name__})") from None
        self._address = address
        workers = len(self._client.scheduler_info(n_workers=-1)["workers"])
        if not workers:
            self._client.close()
            raise UpstreamError(f"{address}: the Dask scheduler has no workers")
        self.shares = workers * _SHARES_PER_WORKER

    def land(self, shares: Sequence[Share]) -> None:
        """Land all shares; raises UpstreamError when the cluster cannot."""
        futures = self._client.map(_land, shares, pure=False)
        try:
            self._client.gather(futures)
        except Exception as error:  # whatever happened there; its kind is told, its text may hold anything
            raise UpstreamError(
                f"{self._address}: a share could not be landed ({type(error).__name__}); the workers must have this "
                "version of blina and see the sources and the folder of the database under the same paths"
            ) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()


def _land(share: Share) -> int:
    """Land a share on a worker. What goes wrong travels as the name of its kind: no value leaves the folder."""
    try:
        return land_share(share)
    except Exception as error:
        raise UpstreamError(f"share {share.number}: {type(error).__name__}") from None
