"""Several processes as one run: join them, agree, share what each holds, end together.

JAX's runtime joins them, as its user says or as the launcher (srun, mpirun) does.
In a process that stands alone all of it does nothing.
"""

import atexit
import contextlib
import os
import secrets
import select
import socket
import sys
import threading
import time
import zlib
from collections.abc import Iterator
from typing import Any, NoReturn

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from msajax import launcher


@contextlib.contextmanager
def joined(
    coordinator: str = "",
    num_processes: int = 0,
    process_id: int = 0,
    *,
    patience: int = 300,
) -> Iterator[None]:
    """Joins the processes of one run for the time of a `with` block.

    Before anything else asks jax for a device. Where one process fails or is
    killed, the others end too.

    Args:
      coordinator: 'host:port' of process 0 where all meet; '' asks the launcher.
      num_processes: of the run; 0 asks the launcher, and is 1 where there is none.
      process_id: of this one, with a num_processes that is not 0.
      patience: seconds to wait for the others.

    Raises:
      ValueError: the values do not fit each other.
    """
    launched = launcher.is_one_of_several()
    _check(coordinator, num_processes, process_id, launched)
    if num_processes == 1 or not (num_processes or launched):
        yield
        return
    address, rank = coordinator, process_id if num_processes else launcher.rank()
    if not coordinator:
        address, rank = launcher.meeting_place(patience)
    if rank == 0:
        _check_free(address)
    print(
        f"joining the other processes of this run at {address}; if they do not come in "
        f"{patience} s, jax ends this one",
        file=sys.stderr,
    )
    # jax's service would receive SIGTERM in place of msajax.run.signals.
    jax.config.update("jax_enable_preemption_service", False)
    if launched and coordinator and (told := launcher.size_and_rank_of_mpirun()):
        num_processes, process_id = told
    jax.distributed.initialize(
        coordinator or None,
        num_processes or None,
        process_id if num_processes else None,
        initialization_timeout=patience,
    )
    try:
        lifeline = _Lifeline(coordinator.rpartition(":")[0])
        yield
        multihost_utils.sync_global_devices("end")
    except BaseException as error:
        # Once the error is reported: jax's own way out would wait for the others.
        atexit.register(_end, 1)
        if isinstance(error, jax.errors.JaxRuntimeError):
            time.sleep(5)  # of a lost process, which the lifeline tells better
        raise
    else:
        lifeline.leave()
        jax.distributed.shutdown()


def is_alone() -> bool:
    """Whether this process is all of the run."""
    return jax.process_count() == 1


def is_first() -> bool:
    """Whether this process is the one that writes logs and results."""
    return not _several() or jax.process_index() == 0


def agree(*flags: bool) -> tuple[bool, ...]:
    """For each flag, whether any process raised it. All have to ask; all get the same answer."""
    if not _several():
        return flags
    found = multihost_utils.process_allgather(np.array(flags))
    return tuple(bool(flag) for flag in found.any(axis=0))


def least(value: int) -> int:
    """The smallest value of all processes. All have to ask."""
    return int(_of_each(value).min())


def from_first(value: int) -> int:
    """The first process's value. All have to ask."""
    return int(_of_each(value)[0])


@contextlib.contextmanager
def first_alone(name: str) -> Iterator[None]:
    """A `with` block that the first process does before the others do it."""
    if not is_first():
        barrier(name)
    yield
    if is_first():
        barrier(name)


def check_same(what: str, text: str) -> None:
    """Ends the run if a text is not the same in all processes.

    Raises:
      ValueError: names `what`.
    """
    sums = _of_each(zlib.crc32(text.encode()))
    if (sums != sums[0]).any():
        other = int(np.flatnonzero(sums != sums[0])[0])
        raise ValueError(
            f"{what} of process {other} is not that of process 0; start all processes of "
            "a run with the same command and the same files"
        )


def barrier(name: str) -> None:
    """Waits until all processes are here."""
    if _several():
        multihost_utils.sync_global_devices(name)


def to_global(tree: Any) -> Any:
    """Replicated arrays as arrays of all processes, the form that Orbax saves.

    One device of each process holds them; nothing is copied.
    """
    if not _several():
        return tree
    processes = range(jax.process_count())
    holders = [jax.local_devices(process_index=i)[0] for i in processes]
    sharding = NamedSharding(Mesh(np.asarray(holders), ("process",)), PartitionSpec())

    def one(x: jax.Array) -> jax.Array:
        own = [x.addressable_data(0)]
        return jax.make_array_from_single_device_arrays(x.shape, sharding, own)

    return jax.tree.map(one, tree)


def to_local(tree: Any, like: Any) -> Any:
    """The inverse of `to_global`: arrays of this process, on the devices of `like`."""
    if not _several():
        return tree

    def one(x: jax.Array, old: jax.Array) -> jax.Array:
        return jax.device_put(x.addressable_data(0), old.sharding)

    return jax.tree.map(one, tree, like)


class _Lifeline:
    """A connection of every process to the first, which the system closes with the process.

    JAX's runtime alone notices a lost process after its heartbeat's 100 seconds,
    and a collective on a GPU waits for it until then.
    """

    def __init__(self, host: str):
        first = jax.process_index() == 0
        server = socket.create_server(("", 0)) if first else None
        port = server.getsockname()[1] if server else 0
        words = f"{host or socket.gethostname()} {port} {secrets.token_hex(16)}"
        told = np.frombuffer(words.encode().ljust(300), np.uint8)
        told = np.asarray(multihost_utils.broadcast_one_to_all(told)).tobytes()
        host, port, token = told.decode().split()
        if server:
            with server:
                self._peers = _accept(server, jax.process_count() - 1, token)
        else:
            try:
                self._peers = [socket.create_connection((host, int(port)), timeout=60)]
                self._peers[0].sendall(token.encode())
            except OSError as error:
                raise ValueError(
                    f"process 0 cannot be reached at {host}:{port} ({error}); if its name "
                    "is not known here, give config.parallel.coordinator=ADDRESS:PORT; a "
                    "firewall has to let all ports through between the processes"
                ) from error
        self._left = False
        threading.Thread(target=self._watch, daemon=True).start()

    def leave(self) -> None:
        """Says that the run is at its end: from here on none can be lost."""
        self._left = True

    def _watch(self) -> None:
        select.select(self._peers, [], [])  # nothing is ever said: readable is closed
        time.sleep(0.5)  # a signal to all is heard first
        if self._left:
            return
        print(
            "\nerror: another process of this run has stopped, so this one stops too; see "
            "its message, then rerun the commands to resume from the last checkpoint",
            file=sys.stderr,
        )
        for peer in self._peers:
            with contextlib.suppress(OSError):
                peer.shutdown(socket.SHUT_RDWR)
        time.sleep(jax.process_index() == 0)  # the others end by themselves first
        _end(1)


def _accept(server: socket.socket, count: int, token: str) -> list[socket.socket]:
    """The connections of those who know the token."""
    server.settimeout(60)
    peers = []
    while len(peers) < count:
        try:
            peer, _ = server.accept()
        except TimeoutError as error:
            raise ValueError(
                f"{len(peers)} of {count} other processes have connected to port "
                f"{server.getsockname()[1]} of process 0 in 60 s; a firewall has to let "
                "all ports through between the processes"
            ) from error
        peer.settimeout(5)
        with contextlib.suppress(OSError):
            if peer.recv(64) == token.encode():
                peers.append(peer)
                continue
        peer.close()  # no process of ours
    return peers


def _several() -> bool:
    # Without the runtime there is one; asking for their number would start the backend.
    return jax.distributed.is_initialized()


def _end(status: int) -> NoReturn:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _of_each(value: int) -> np.ndarray:
    """A number of every process, at most 4 bytes: [processes]."""
    if not _several():
        return np.array([value])
    return multihost_utils.process_allgather(np.asarray(value)).reshape(-1)


def _check_free(address: str) -> None:
    """Refuses a port that another program has: JAX's runtime would end without a word."""
    port = int(address.rpartition(":")[2])
    dual = socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if dual else socket.AF_INET
    try:
        socket.create_server(("", port), family=family, dualstack_ipv6=dual).close()
    except OSError as error:
        raise ValueError(
            f"the processes are to meet at {address}, but process 0 cannot open port {port} "
            f"({os.strerror(error.errno or 0)}); give another one to all of them by "
            "config.parallel.coordinator=HOST:PORT, or end the program that has it (an "
            "earlier run?)"
        ) from error


def _check(coordinator: str, count: int, number: int, launched: bool) -> None:
    if coordinator and not launcher.is_address(coordinator):
        raise ValueError(
            f'config.parallel.coordinator is "{coordinator}"; give HOST:PORT, the machine '
            "of process 0 and a free port there"
        )
    if launched and not (coordinator or count or launcher.tells_where_to_meet()):
        raise ValueError(
            "this mpirun does not tell where process 0 is (Open MPI 4 does); give "
            "config.parallel.coordinator=HOST:PORT, the machine of process 0 and a free port"
        )
    if count > 1 and not coordinator:
        raise ValueError(
            f"config.parallel.num_processes is {count}, but parallel.coordinator does not "
            "say where they meet; give HOST:PORT of process 0"
        )
    if count > 1 and not 0 <= number < count:
        raise ValueError(
            f"config.parallel.process_id is {number}; of num_processes={count} give one "
            f"from 0 to {count - 1}"
        )
    if count < 0 or (count < 2 and (number or (coordinator and not launched))):
        raise ValueError(
            f'config.parallel.coordinator is "{coordinator}", num_processes {count}, '
            f"process_id {number}; by hand give all three, under srun or mpirun none "
            "(or the coordinator), for one process none"
        )
